"""Promises of batches: windows end with their episode, scenarios get their shares, states are encoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_world import LENGTH, TOY_SCENARIOS, WINDOW

from training.data.batch import make_batch, rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.data.latents import cached_states
from training.models.training_model import load_training_model
from training.stages import REPRESENTATION_CHECKPOINT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, TOY_SCENARIOS)


def test_a_window_past_the_end_is_marked_not_filled(data: Dataset) -> None:
    batch = make_batch(data, np.array([0, LENGTH - 2]), 4, CPU)
    assert batch.frames is not None
    assert batch.valid.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]] and batch.follows.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.elapsed.tolist() == [0, LENGTH - 2]
    assert batch.terminated[1, 1] == 1 and batch.terminated[0].sum() == 0
    assert torch.equal(batch.frames[0], torch.from_numpy(data.frames(np.arange(4))))
    assert torch.equal(batch.actions[0], torch.from_numpy(data.actions[:4]).float())
    assert torch.equal(batch.object_maps[0, 1], torch.from_numpy(data.object_maps[1]).float())
    assert batch.object_maps.sum() > 0


def test_a_part_of_a_batch_is_the_batch_of_later_windows(data: Dataset) -> None:
    part = make_batch(data, np.array([0, LENGTH - 4]), 6, CPU).part(2, 5)
    later = make_batch(data, np.array([2, LENGTH - 2]), 3, CPU, frames=False)
    for name in vars(later):
        if name != "frames":
            torch.testing.assert_close(getattr(part, name), getattr(later, name), equal_nan=True, msg=name)
    assert part.frames is None


def test_every_scenario_gets_the_same_share_of_a_batch(data: Dataset) -> None:
    windows = data.windows(WINDOW)
    pool = np.r_[windows[data.scenario[windows] == 0], windows[-3:]]  # uneven
    groups = rows_by_scenario(data, pool)
    drawn = [sample_rows(groups, 11, np.random.default_rng(seed)) for seed in range(40)]
    shares = [tuple(np.bincount(data.scenario[rows]).tolist()) for rows in drawn]
    assert set(shares) == {(6, 5), (5, 6)}, "the odd one goes to either by lot"
    assert set(np.concatenate(drawn)) <= set(pool)


def test_some_scenarios_can_get_a_larger_share(data: Dataset) -> None:
    groups = rows_by_scenario(data, data.windows(WINDOW))
    rows = sample_rows(groups, 12, np.random.default_rng(0), np.array([3.0, 1.0]))
    assert np.bincount(data.scenario[rows]).tolist() == [9, 3]


def test_cached_states_are_reused_only_for_the_same_encoder_and_shards(
    representation_run: Path, data: Dataset, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "states.safetensors"
    model = load_training_model(representation_run / REPRESENTATION_CHECKPOINT).world_model
    states = cached_states(model, data, path)
    with torch.inference_mode():
        expected = model.encode(data.frames(np.arange(9))[None])[0]
    torch.testing.assert_close(states[:9].float(), expected, atol=0.05, rtol=0.05)  # half precision
    written = path.stat().st_mtime_ns
    assert torch.equal(cached_states(model, data, path), states) and path.stat().st_mtime_ns == written

    with torch.no_grad():
        model.encoder.projector[-1].bias += 1
    moved = cached_states(model, data, path)
    difference = (moved.float() - states.float()).mean()
    assert difference == pytest.approx(1, abs=0.05), "states of another encoder were used"

    half = Dataset(toy, TOY_SCENARIOS[:1])
    path.unlink()
    torch.testing.assert_close(cached_states(model, half, path), moved[: len(half)])
    encoded: list[int] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda frames: encoded.append(frames.shape[1]) or encode(frames))
    torch.testing.assert_close(cached_states(model, data, path), moved)
    assert sum(encoded) == len(data) - len(half), "shards that were known were encoded again"

    path.write_bytes(path.read_bytes()[:1000])
    assert torch.equal(cached_states(model, data, path), moved), "a damaged file was not made anew"
    path.unlink()
