"""Promises of the decoder and its moving average: what is drawn is known, remembered and repeatable."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import make_model

from doom_dream_env.envs.drawing import Drawing
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.decoder import CODES, UNKNOWN, VALUES, digits_of, drawn, join_digits
from training.models.picture_model import DecoderModules

N = 3


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return make_model(seed=3)


def states(model: WorldModel, seed: int = 0) -> torch.Tensor:
    return torch.randn(N, model.config.state_width, generator=torch.Generator().manual_seed(seed))


def test_digits_are_drawn_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([0.3, 0.6, 0.1, 0.0])
    luck = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn(chances.expand(20_000, 4), luck), minlength=4) / 20_000
    torch.testing.assert_close(counts, chances, atol=0.01, rtol=0)
    codes = torch.arange(VALUES**2)
    assert torch.equal(join_digits(*digits_of(codes)), codes)


def test_a_drawing_repeats_with_its_chance_and_depends_on_all_it_is_given(model: WorldModel) -> None:
    z = states(model)
    noise = torch.rand(N, *model.decoder.noise_shape, generator=torch.Generator().manual_seed(0))
    before = torch.randint(VALUES**2, (N, *CODES), generator=torch.Generator().manual_seed(1))
    action = torch.eye(9)[:N]
    picture, codes = model.draw(z, before, action, noise=noise)
    assert picture.shape == (N, 120, 160, 3) and picture.dtype == torch.uint8
    assert codes.shape == (N, *CODES) and 0 <= int(codes.min()) and int(codes.max()) < VALUES**2
    assert torch.equal(model.paint(codes), picture)
    assert torch.equal(model.draw(z, before, action, noise=noise)[1], codes)
    assert torch.equal(model.draw(z[1:2], before[1:2], action[1:2], noise=noise[1:2])[1], codes[1:2])
    other = {
        "state": model.draw(z + 1, before, action, noise=noise),
        "codes before": model.draw(z, None, action, noise=noise),
        "action": model.draw(z, before, None, noise=noise),
        "chance": model.draw(z, before, action, noise=1 - noise),
    }
    for what, (_, found) in other.items():
        assert not torch.equal(found, codes), f"the {what} makes no difference"


def test_what_is_known_of_a_picture_is_heeded(model: WorldModel) -> None:
    decoder = model.decoder
    places = decoder.places(states(model))
    nothing = torch.full((N, *CODES), UNKNOWN)
    some = nothing.clone()
    some[:, 10, 10] = 5
    change = (decoder.hidden(places, some) - decoder.hidden(places, nothing)).abs().amax((0, 3))
    assert change[10, 10] > 0 and change[9, 11] > 0 and change[0, 0] < change[10, 10]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"codes": torch.zeros(N, 12, 16).long()}, r"codes must have shape \(3, 24, 32\), got \(3, 12, 16\)"),
        ({"noise": torch.zeros(1, 2, 2, 24, 32)}, r"noise must have shape \(3, 2, 2, 24, 32\)"),
    ],
)
def test_a_drawing_refuses_other_shapes(model: WorldModel, given: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.draw(states(model), **given)  # type: ignore[arg-type]


def test_a_series_of_drawings_remembers_and_stays_where_nothing_moves(model: WorldModel) -> None:
    z = states(model)
    drawing = Drawing(model)
    drawing.begin(seed=4)
    first = drawing.draw(z)
    assert torch.equal(drawing.draw(z.clone()), first), "a picture at which nothing has moved was drawn anew"
    second = drawing.draw(z + 0.1)
    drawing.begin(seed=4)
    assert torch.equal(drawing.draw(z), first) and torch.equal(drawing.draw(z + 0.1), second)
    drawing.begin(seed=4)
    drawing.draw(z)
    follows = torch.tensor([True, False, True])
    third = drawing.draw(z + 0.1, follows=follows)
    assert torch.equal(third[0], second[0]) and not torch.equal(third[1], second[1])


def test_the_moving_average_begins_fast(model: WorldModel) -> None:
    """Its decay after n steps is min(limit, n / (9 + n))."""
    limit = 0.6
    learning = copy.deepcopy(model.decoder).requires_grad_(True)
    modules = DecoderModules(learning, limit)
    expected = copy.deepcopy(learning.state_dict())
    for steps in range(1, 31):
        with torch.no_grad():
            for tensor in learning.state_dict().values():
                tensor.add_(0.01 * torch.randn_like(tensor))
        for name, tensor in learning.state_dict().items():
            expected[name].lerp_(tensor, 1 - min(limit, steps / (9 + steps)))
        modules.update_average(steps)
    for name, tensor in modules.averaged.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=0, rtol=1e-5, msg=name)
