"""Promises of open-loop figures: dreams have a context and a future, and who knows the future has skill one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from held_out_world import EPISODES, LENGTH, SCENARIOS, write_data

from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.data.latents import encode_all
from training.evaluation import open_loop
from training.evaluation.held_out import load_split
from training.evaluation.outcomes import outcome_scores
from training.evaluation.picture_scores import picture_scores


def test_open_loop_rows_have_context_and_future(held_out: Dataset) -> None:
    rows = open_loop.open_loop_rows(held_out, 0, 16, 10_000, np.random.default_rng(0))
    assert len(rows) == EPISODES * (LENGTH - open_loop.CONTEXT - 16) == len(set(rows))
    assert (rows - open_loop.CONTEXT >= held_out.first[rows]).all() and (rows + 16 <= held_out.last[rows]).all()


def test_scenarios_of_short_episodes_get_the_horizons_they_have(model: WorldModel, tmp_path: Path) -> None:
    write_data(tmp_path, "test", 3, length=18)
    data = load_split(model, tmp_path, SCENARIOS, "test")
    rng = np.random.default_rng(0)
    z = torch.randn(len(data), model.config.state_width)
    expected = {f"skill_{step}{suffix}" for step in (1, 4) for suffix in ("", "_shuffled")}
    assert set(open_loop.skill_scores(model, data, z, 0, rng)) == expected
    write_data(tmp_path, "test", 3, length=10)
    data = load_split(model, tmp_path, SCENARIOS, "test")
    z = z[: len(data)]
    assert open_loop.skill_scores(model, data, z, 0, rng) == {} == outcome_scores(model, data, z, 0, rng)
    assert "psnr" in picture_scores(model, data, z, 0, None, rng)[0]


def test_a_dream_that_knows_the_future_has_skill_one(
    model: WorldModel, held_out: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = torch.randn(len(held_out), model.config.state_width)

    def oracle(_: Any, data: Any, states: torch.Tensor, rows: np.ndarray, ahead: int, order: Any = None) -> Any:
        for step in range(1, ahead + 1):
            following = rows + step if order is None else rows[order] + step
            yield step, SimpleNamespace(z=states[following]), None

    monkeypatch.setattr(open_loop, "open_loop", oracle)
    scores = open_loop.skill_scores(model, held_out, z, 0, np.random.default_rng(0))
    for step in open_loop.HORIZONS:
        assert scores[f"skill_{step}"] == 1
        assert abs(scores[f"skill_{step}_shuffled"]) < 0.2  # noise is as far from noise as ever


def test_scenarios_are_counted_as_the_weights_count_them(model: WorldModel, recorded: Path) -> None:
    data = load_split(model, recorded, SCENARIOS[::-1], "test")
    for name, index in zip(SCENARIOS[::-1], (data.scenario[0], data.scenario[-1]), strict=True):
        assert model.config.scenarios[index] == name


@pytest.mark.parametrize("begins_at", [0, 7])
def test_stepping_is_the_full_pass_even_where_recording_began_late(
    model: WorldModel, held_out: Dataset, begins_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = encode_all(model, held_out)
    monkeypatch.setattr(held_out, "elapsed", held_out.elapsed + begins_at)
    assert open_loop.stepping_difference(model, held_out, z) < 1e-4
