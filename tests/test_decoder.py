"""Promises of the stage decoder: it paints the states it is given, late parts come late, runs resume."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_world import LENGTH, TOY_SCENARIOS, run, toy_config

from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.data.latents import cached_states
from training.data.picture_pairs import DreamedPairs, PairSampler, shot_rows
from training.engine import fit as loop
from training.engine.checkpoint import save_checkpoint
from training.engine.compute import Compute
from training.models.motion import motion_mismatch
from training.models.picture_model import AVERAGE
from training.models.training_model import load_training_model
from training.stages import (
    AUTOENCODER_CHECKPOINT,
    DECODER_CHECKPOINT,
    DYNAMICS_CHECKPOINT,
    REPRESENTATION_CHECKPOINT,
    STATES,
    decoder,
)

CPU = Compute(torch.device("cpu"), 0, 1, False)
SMALL: dict[str, Any] = {"batch": 6, "dreams": 12, "perceptual_batch": 2}


def paint(toy: Path, out: Path, steps: int, **settings: Any) -> None:
    """Run the stage at toy size."""
    run("decoder", toy, out, steps, **(SMALL | settings))


@pytest.fixture(scope="module")
def dynamics_run(toy: Path, representation_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short stage dynamics. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("dynamics")
    (out / REPRESENTATION_CHECKPOINT).write_bytes((representation_run / REPRESENTATION_CHECKPOINT).read_bytes())
    run("dynamics", toy, out, 2)
    return out


@pytest.fixture
def out(dynamics_run: Path, tmp_path: Path) -> Path:
    """A run folder in which the stage can start."""
    for name in (DYNAMICS_CHECKPOINT, STATES):
        (tmp_path / name).write_bytes((dynamics_run / name).read_bytes())
    return tmp_path


# ---- the stage -------------------------------------------------------------------------------------------------------


def test_pictures_show_the_state_they_were_made_of(toy: Path, out: Path) -> None:
    """After a few steps the picture of a state is nearer to its frame than to another; what ships is the average."""
    paint(toy, out, 200, perceptual_from=1.0, adversarial_from=1.0, batch=16, noise=0.0)
    data = Dataset(toy, TOY_SCENARIOS)
    model = WorldModel.from_pretrained(out / "weights")
    frames = torch.from_numpy(data.frames(np.arange(0, len(data), 3)))
    real = frames.float()
    picture = model.decode(model.encode(frames[None])[0]).float()
    right, wrong = (float((picture - other).square().mean()) for other in (real, real.roll(1, 0)))
    assert right < 0.8 * wrong, (right, wrong)

    saved = load_file(out / DECODER_CHECKPOINT)
    shipped = load_file(out / "weights" / "decoder.safetensors")
    for name, value in shipped.items():
        torch.testing.assert_close(value, saved[f"{AVERAGE}{name}"].half())
    last = "decoder.pixels.weight"
    assert not torch.equal(saved[f"{AVERAGE}{last}"], saved[f"module.picture_model.{last}"])


def test_late_parts_come_late(toy: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    moved: list[int] = []
    gradients = torch.autograd.grad

    def counting_grad(*arguments: Any, **options: Any) -> Any:
        counted.append(1)
        return gradients(*arguments, **options)

    def counting_motion(*pictures: torch.Tensor) -> torch.Tensor:
        moved.append(len(pictures[0]))
        return motion_mismatch(*pictures)

    monkeypatch.setattr(torch.autograd, "grad", counting_grad)
    monkeypatch.setattr(decoder, "motion_mismatch", counting_motion)
    paint(toy, out, 8, perceptual_from=0.25, adversarial_from=0.5, critic_warmup=0.5)
    assert len(counted) == 4, "the critic counted for the decoder in other steps than the last two"
    assert moved == [6 // 2] * 6, "the motion of each pair counts from the third of eight steps on"
    written = {name.split(".")[1] for name in load_file(out / DECODER_CHECKPOINT) if name.startswith("module.")}
    assert written == {"picture_model", "average", "critic"}


def test_a_killed_run_resumes_along_the_same_curve(toy: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"perceptual_from": 0.3, "adversarial_from": 0.4}
    paint(toy, out, 6, **late)
    expected = load_file(out / DECODER_CHECKPOINT)
    (out / DECODER_CHECKPOINT).unlink()

    def killed(path: Path, *arguments: Any) -> None:
        save_checkpoint(path, *arguments)
        if arguments[2] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            paint(toy, out, 6, **late)
    halfway = load_file(out / DECODER_CHECKPOINT)
    paint(toy, out, 6, **late)
    found = load_file(out / DECODER_CHECKPOINT)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    critic = "module.critic.heads.0.0.parametrizations.weight.original"
    for part in ("module.picture_model.decoder.pixels.weight", critic):
        assert not torch.equal(halfway[part], expected[part]), f"{part} learned nothing after the interruption"


def test_the_autoencoder_trains_an_encoder_and_leaves_the_weights_alone(toy: Path, out: Path) -> None:
    paint(toy, out, 4, autoencoder=True, perceptual_from=0.5, adversarial_from=1.0)
    saved = load_file(out / AUTOENCODER_CHECKPOINT)
    learned = {name for name in saved if name.startswith(f"{AVERAGE}encoder.")}
    assert learned and not (out / "weights").exists() and not (out / DECODER_CHECKPOINT).exists()


def test_finished_weights_get_another_decoder_and_stay_the_same_world(toy: Path, out: Path, tmp_path: Path) -> None:
    paint(toy, out, 1)
    again = tmp_path / "again"
    paint(toy, again, 2, weights=str(out / "weights"))
    one, two = (WorldModel.from_pretrained(folder / "weights") for folder in (out, again))
    assert one.fingerprint == two.fingerprint and one.config == two.config
    assert torch.equal(one.initial_states[TOY_SCENARIOS[0]][0], two.initial_states[TOY_SCENARIOS[0]][0])
    z = torch.randn(2, one.config.state_width)
    assert not torch.equal(one.decoder(z), two.decoder(z))


def test_finished_weights_of_other_scenarios_are_refused(toy: Path, out: Path, tmp_path: Path) -> None:
    paint(toy, out, 1)
    with pytest.raises(ValueError, match="give these as --scenarios"):
        paint(toy, tmp_path / "again", 2, weights=str(out / "weights"), scenarios=TOY_SCENARIOS[:1])


def test_rounding_to_8_bit_passes_the_gradient_on() -> None:
    picture = torch.tensor([-0.2, 0.1234, 0.5, 1.3], requires_grad=True)
    shown = decoder.quantised(picture)
    torch.testing.assert_close(shown * 255, (picture.detach().clamp(0, 1) * 255).round())
    shown.sum().backward()
    assert picture.grad is not None and picture.grad.tolist() == [1, 1, 1, 1]


# ---- what it learns from ---------------------------------------------------------------------------------------------


def test_dreams_for_the_decoder_are_dreams_of_the_rows_they_name(toy: Path, dynamics_run: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    model = load_training_model(dynamics_run / DYNAMICS_CHECKPOINT)
    states = cached_states(model.world_model, data, dynamics_run / STATES)
    config = toy_config("decoder", toy, dynamics_run, 1, dreams=30)
    pairs = decoder.dreamed_pairs(model, data, states, config, CPU)
    rows = pairs.rows
    assert rows.shape == (len(pairs.states), 2) and pairs.states.shape[1] == 2
    assert set(data.scenario[rows.ravel()]) == {0, 1}
    half = np.flatnonzero(data.elapsed[rows[:, 0]] == 1)[0]  # from here on they begin where episodes do
    late, early = (set(data.elapsed[part.ravel()]) for part in (rows[:half], rows[half:]))
    assert late == set(range(config.dream_context, LENGTH)), "dreams past an episode's end, or into its context"
    assert early == set(range(1, min(config.dream_steps + 1, LENGTH)))
    elapsed = data.elapsed[rows]
    assert np.array_equal(elapsed[:, 0] + 1, elapsed[:, 1]), "pairs of moments that do not follow each other"
    again = decoder.dreamed_pairs(model, data, states, config, CPU)
    assert np.array_equal(rows, again.rows) and torch.equal(pairs.states, again.states)


def test_pairs_are_successive_moments_and_some_of_them_dreamed(toy: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    states = torch.arange(len(data))[:, None].half()  # every state says its row
    rows = np.stack([np.arange(20, 24), np.arange(21, 25)], 1)
    dreams = DreamedPairs(rows, torch.from_numpy(-rows[..., None]).half())  # dreamed ones with a minus
    config = toy_config("decoder", toy, toy, 1, batch=8, dream_share=0.5)
    batch = PairSampler(data, states, dreams, config)(np.random.default_rng(0))
    at = batch.z[:, 0].abs().long()
    assert bool((at[1::2] == at[::2] + 1).all()) and torch.equal(batch.real[:, 0], (batch.z[:, 0] >= 0).float())
    assert batch.real.sum() == 4 and torch.equal(batch.real[::2], batch.real[1::2])
    assert torch.equal(batch.frames, torch.from_numpy(data.frames(at.numpy())))
    assert torch.equal(batch.object_maps, torch.from_numpy(data.object_maps[at.numpy()]).float())
    without = PairSampler(data, states, None, config)(np.random.default_rng(0))
    assert without.real.all() and without.z.shape == (8, 1)


def test_shots_are_found_before_they_fall() -> None:
    pool = np.arange(11)
    last = np.r_[np.full(6, 5), np.full(6, 11)]
    ammunition = np.zeros((12, 4))
    # An episode's end is no shot, nor is what belongs to the one before.
    ammunition[:, 1] = [9, 9, 9, 9, 8, 8, 9, 8, 8, 8, 8, 7]
    data = SimpleNamespace(variables=ammunition, last=last, windows=lambda length: pool[pool < last[pool]])
    assert shot_rows(data).tolist() == [1, 2, 3, 6, 8, 9, 10]  # type: ignore[arg-type]
