"""Promises of the networks beside the decoder: perceptual network, critic, moving average."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from conftest import make_model
from torch import nn

from training.models.critic import Critic, augmented, hinge
from training.models.perceptual import level_channels, magnified, perceptual_network
from training.models.picture_model import DecoderModules, PictureModel, load_picture_model
from training.ranks import SampleGenerator


def test_a_critic_learns_to_tell_pictures_apart() -> None:
    name, network = perceptual_network() or ("", None)
    assert network is not None and "AlexNet" in name
    torch.manual_seed(0)
    critic = Critic(level_channels(network))
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3)
    generator = SampleGenerator.alone(4, 0)
    stripes = (torch.arange(48) // 4 % 2).float().expand(4, 3, 48, 48)
    flat = torch.full((4, 3, 48, 48), 0.5)
    losses = []
    for _ in range(12):
        loss = hinge(critic(network, stripes, generator), critic(network, flat, generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0], losses


def test_what_the_networks_look_at_is_magnified_pixel_by_pixel() -> None:
    picture = torch.rand(2, 3, 5, 7, requires_grad=True)
    large = magnified(picture, 2)
    assert large.shape == (2, 3, 10, 14)
    assert all(torch.equal(large[..., i::2, j::2], picture) for i in (0, 1) for j in (0, 1))
    large.sum().backward()
    assert picture.grad is not None and bool((picture.grad == 4).all())


def test_pictures_are_changed_at_random_before_the_critic_looks() -> None:
    picture = torch.rand(3, 3, 32, 40, requires_grad=True)
    one, other, again = (augmented(picture, SampleGenerator.alone(3, number)) for number in (0, 1, 0))
    assert one.shape == picture.shape and torch.equal(one, again) and not torch.allclose(one, other)
    one.square().sum().backward()
    assert picture.grad is not None and bool((picture.grad != 0).any(dim=1).float().mean() > 0.4)


def test_the_moving_average_begins_fast_and_takes_all_numbers_along() -> None:
    """Its decay after n steps is min(limit, n / (9 + n)); counters, which are no averages, are copied."""
    limit = 0.6
    model = make_model()
    learning = PictureModel(model.decoder, model.encoder)
    modules = DecoderModules(learning, Critic([1] * 5), limit)
    expected = copy.deepcopy(learning.state_dict())
    for steps in range(1, 31):
        with torch.no_grad():
            for tensor in learning.state_dict().values():
                tensor.add_(1) if not tensor.is_floating_point() else tensor.add_(0.01 * torch.randn_like(tensor))
        decay = min(limit, steps / (9 + steps))
        for name, tensor in learning.state_dict().items():
            if tensor.is_floating_point():
                expected[name].lerp_(tensor, 1 - decay)
            else:
                expected[name].copy_(tensor)
        modules.update_average(steps)
    for name, tensor in modules.averaged.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=0, rtol=1e-6, msg=name)


def test_a_picture_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = make_model()
    modules = DecoderModules(PictureModel(model.decoder), Critic([1] * 5), 0.9)
    path = tmp_path / "decoder.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in modules.state_dict().items()}, path)
    loaded = load_picture_model(path, model.config)
    assert isinstance(loaded, nn.Module) and not loaded.training
    z = torch.randn(2, model.config.state_width)
    torch.testing.assert_close(loaded(z)[0], model.decoder(z))
    with pytest.raises(ValueError, match="no autoencoder of these weights' size"):
        load_picture_model(path, model.config, autoencoder=True)
