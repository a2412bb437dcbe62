"""Promises of the decoder's training: pictures of the state they are given, parts that come late come late, runs that resume."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_world import LENGTH, WORLDS, run

from doom_dream_env.world_model import WorldModel
from training import decoder, dynamics, perceptual
from training.dataset import Dataset
from training.dynamics import cached_states, load_trainee
from training.loop import Compute, save_checkpoint, seeded
from training.losses import motion_mismatch

CPU = Compute(torch.device("cpu"), 0, 1, False)
SMALL = {"batch": 6, "dreams": 12, "looked-at": 2}


def paint(toy: Path, out: Path, steps: int, *switches: str, **flags: Any) -> None:
    """Run the stage as its command line would."""
    run("decoder", toy, out, steps, switches=switches, **(SMALL | flags))


@pytest.fixture(scope="module")
def dynamics_run(toy: Path, joint_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short dynamics stage. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("dynamics")
    (out / "joint.safetensors").write_bytes((joint_run / "joint.safetensors").read_bytes())
    run("dynamics", toy, out, 2)
    return out


@pytest.fixture
def out(dynamics_run: Path, tmp_path: Path) -> Path:
    """A run folder in which the stage can start."""
    for name in (dynamics.CHECKPOINT, "states-train.safetensors"):
        (tmp_path / name).write_bytes((dynamics_run / name).read_bytes())
    return tmp_path


def log(out: Path, stage: str = "decoder") -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]


def test_pictures_show_the_state_they_were_made_of(toy: Path, out: Path) -> None:
    """After a few steps the picture of the right state is nearer to the frame than that of another; what ships is the average."""
    paint(toy, out, 80, **{"perceptual-from": 1.0, "adversarial-from": 1.0, "batch": 16, "noise": 0.0})
    data, model = Dataset(toy, WORLDS), WorldModel.from_pretrained(out / "weights")
    rows = np.arange(0, len(data), 3)
    real = torch.from_numpy(data.frames(rows)).float()
    picture = model.decode(model.encode(torch.from_numpy(data.frames(rows))[None])[0]).float()
    right, wrong = (float((picture - other).square().mean()) for other in (real, real.roll(1, 0)))
    assert right < 0.8 * wrong, (right, wrong)
    saved = load_file(out / decoder.CHECKPOINT)
    shipped = load_file(out / "weights" / "decoder.safetensors")
    for name, value in shipped.items():
        torch.testing.assert_close(value, saved[f"module.average.0.{name.removeprefix('decoder.')}"].half())
    assert not torch.equal(saved["module.average.0.pixels.weight"], saved["module.decoder.pixels.weight"])


def test_late_parts_come_late(toy: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "LISTENING", 0.5)
    heard: list[int] = []
    moved: list[int] = []
    monkeypatch.setattr(decoder, "motion_mismatch", lambda *pictures: (moved.append(len(pictures[0])), motion_mismatch(*pictures))[1])
    scores = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (heard.append(1), scores(*a, **k))[1])
    paint(toy, out, 8, **{"perceptual-from": 0.25, "adversarial-from": 0.5})
    assert len(heard) == 4, "the decoder heard of the critic in other steps than the last two"
    assert moved == [6 // 2] * 6, "the motion of each pair counts from the third of eight steps on"
    written = {name.split(".")[1] for name in load_file(out / decoder.CHECKPOINT) if name.startswith("module.")}
    assert written == {"decoder", "average", "critic"}


def test_a_killed_run_resumes_along_the_same_curve(toy: Path, out: Path, dynamics_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"perceptual-from": 0.3, "adversarial-from": 0.4}
    paint(toy, out, 6, **late)
    expected = load_file(out / decoder.CHECKPOINT)
    (out / decoder.CHECKPOINT).unlink()

    def killed(path: Path, *arguments: Any) -> None:
        save_checkpoint(path, *arguments)
        if arguments[2] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(decoder, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        paint(toy, out, 6, **late)
    halfway = load_file(out / decoder.CHECKPOINT)
    monkeypatch.setattr(decoder, "save_checkpoint", save_checkpoint)
    paint(toy, out, 6, **late)
    found = load_file(out / decoder.CHECKPOINT)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    for part in ("module.decoder.pixels.weight", "module.critic.heads.0.0.parametrizations.weight.original"):
        assert not torch.equal(halfway[part], expected[part]), f"{part} learned nothing after the interruption"


def test_the_yardstick_trains_an_encoder_and_leaves_the_weights_alone(toy: Path, out: Path) -> None:
    paint(toy, out, 4, "--autoencoder", **{"perceptual-from": 0.5, "adversarial-from": 1.0})
    saved = load_file(out / decoder.AUTOENCODER)
    learned = {name for name in saved if name.startswith("module.average.1.")}
    assert learned and not (out / "weights").exists() and not (out / decoder.CHECKPOINT).exists()


def test_dreams_for_the_decoder_are_dreams_of_the_rows_they_name(toy: Path, dynamics_run: Path) -> None:
    data, trainee = Dataset(toy, WORLDS), load_trainee(dynamics_run / dynamics.CHECKPOINT)
    states = cached_states(trainee, data, dynamics_run / "states-train.safetensors", CPU)
    rows, dreamed = decoder.dreams(trainee, data, states, 30, CPU, 0)
    assert rows.shape == (len(dreamed), 2) and dreamed.shape[1] == 2 and set(data.scenario[rows.ravel()]) == {0, 1}
    half = np.flatnonzero(data.age[rows[:, 0]] == 1)[0]  # from here on they begin where episodes do
    late, early = (set(data.age[part.ravel()]) for part in (rows[:half], rows[half:]))
    assert late == set(range(decoder.CONTEXT, LENGTH)), "dreams past an episode's end, or into its context"
    assert early == set(range(1, min(decoder.AHEAD + 1, LENGTH)))
    assert np.array_equal(data.age[rows[:, 0]] + 1, data.age[rows[:, 1]]), "pairs of moments that do not follow each other"
    again, same = decoder.dreams(trainee, data, states, 30, CPU, 0)
    assert np.array_equal(rows, again) and torch.equal(dreamed, same)


def test_shots_are_found_before_they_fall() -> None:
    pool, last = np.arange(11), np.r_[np.full(6, 5), np.full(6, 11)]
    ammunition = np.zeros((12, 4))
    ammunition[:, 1] = [9, 9, 9, 9, 8, 8, 9, 8, 8, 8, 8, 7]  # an episode's end is no shot, nor is what belongs to the one before
    data = SimpleNamespace(variables=ammunition, last=last, windows=lambda length: pool[pool < last[pool]])
    assert decoder.firing(data).tolist() == [1, 2, 3, 6, 8, 9, 10]


def test_rounding_to_8_bit_passes_the_gradient_on() -> None:
    picture = torch.tensor([-0.2, 0.1234, 0.5, 1.3], requires_grad=True)
    shown = decoder.quantised(picture)
    torch.testing.assert_close(shown * 255, (picture.detach().clamp(0, 1) * 255).round())
    shown.sum().backward()
    assert picture.grad is not None and picture.grad.tolist() == [1, 1, 1, 1]


def test_a_critic_learns_to_tell_pictures_apart() -> None:
    name, judge = perceptual.network() or ("", None)
    assert judge is not None and "AlexNet" in name
    torch.manual_seed(0)
    critic = perceptual.Critic(judge.chns)
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3)
    dice = seeded(0)
    stripes = (torch.arange(48) // 4 % 2).float().expand(4, 3, 48, 48)
    flat, losses = torch.full((4, 3, 48, 48), 0.5), []
    for _ in range(12):
        loss = perceptual.hinge(critic(judge, stripes, dice), critic(judge, flat, dice))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0], losses


def test_what_the_networks_look_at_is_magnified_pixel_by_pixel() -> None:
    picture = torch.rand(2, 3, 5, 7, requires_grad=True)
    large = perceptual.magnified(picture, 2)
    assert large.shape == (2, 3, 10, 14) and all(torch.equal(large[..., i::2, j::2], picture) for i in (0, 1) for j in (0, 1))
    large.sum().backward()
    assert picture.grad is not None and bool((picture.grad == 4).all())


def test_pictures_are_changed_at_random_before_the_critic_looks() -> None:
    picture = torch.rand(3, 3, 32, 40, requires_grad=True)
    one, other, again = (perceptual.augmented(picture, seeded(number)) for number in (0, 1, 0))
    assert one.shape == picture.shape and torch.equal(one, again) and not torch.allclose(one, other)
    one.square().sum().backward()
    assert picture.grad is not None and bool((picture.grad != 0).any(dim=1).float().mean() > 0.4)
