"""Promises of the scorecard and its figures: it writes what it says, and its model card leaves out no figure.

Dreams have a context and a future, who knows the future has skill one, and objects that fade are noticed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_frames
from PIL import Image
from torch import Tensor, nn
from toy_world import HELD_OUT_EPISODES, HELD_OUT_SCENARIOS, write_held_out

from doom_dream_env.world_model import WorldModel
from training.config import ScorecardConfig
from training.data.annotations import OBJECT_MAP_SHAPE
from training.data.dataset import Dataset
from training.data.latents import encode_all
from training.evaluation import controls, objects, open_loop, picture_scores, realism, scorecard
from training.evaluation.card import card_tables
from training.evaluation.held_out import load_split
from training.evaluation.objects import recall_scores
from training.evaluation.outcomes import outcome_scores
from training.models.perceptual import perceptual_distance

LISTS = {"risk_predicted", "risk_observed", "risk_ratios"}  # drawn, not tabulated
STRIPS = ("decoded", "beside", "dreamed")


def test_scorecard_card_and_pictures_are_written(
    weights: Path, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, values in (
        (picture_scores, {"DREAMS": 8}),
        (scorecard, {"LONG_DREAMS": 4, "LONG_STEPS": 60, "SPEED_SECONDS": 0.02}),
        (objects, {"READER_STEPS": 20, "DETECTOR_STEPS": 2}),
        (controls, {"DREAMS": 4, "GAMES": 2}),
        (
            realism,
            {"DREAMS": 6, "PICTURES": 3, "EARLY": 5, "LATE": 20, "FED_STEPS": (1, 3), "TOLD": 12, "TOLD_STEPS": 2},
        ),
        (realism, {"LASTING": ("take_cover",), "feature_maps": lambda _, shown: [nn.functional.avg_pool2d(shown, 30)]}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    pixels = ("pixels", lambda real, picture: float((real.float() - picture.float()).abs().mean()))
    monkeypatch.setattr(scorecard, "perceptual_distance", lambda: pixels)
    config = ScorecardConfig(
        weights=str(weights),
        data=recorded,
        scenarios=HELD_OUT_SCENARIOS,
        out=tmp_path,
        limit=200,
        episodes=2,
        pictures=True,
    )
    returned = scorecard.run(config)
    written = json.loads((tmp_path / "scorecard.json").read_text())
    assert written == returned == json.loads(capsys.readouterr().out)
    assert list(written["worlds"]) == list(HELD_OUT_SCENARIOS)
    assert written["perceptual_distance"] == "pixels" and written["stepping_differs_by"] < 1e-3
    shown = {key for rows in card_tables(("HEALTH", "AMMO2")).values() for _, keys in rows for key in keys.split()}
    for name, scores in written["worlds"].items():
        assert set(scores) - LISTS <= shown, "the card leaves out a figure"
        for key in (
            "skill_16",
            "psnr_26_still",
            "lpips_8",
            "position_y_r2",
            "crosshair_auc_after_8",
            "health_accuracy_16",
            "reward_mae_1",
            "death_recall",
            "risk_ratio_max",
            "noop_length_real",
            "routine_ks",
            "drift_long_max",
            "real_steps_per_s",
        ):
            assert key in scores, (name, key)
        assert (
            scores["deaths"] == HELD_OUT_EPISODES and scores["episodes"] == 2 and scores["health_change_16_true"] < -40
        )
    in_play = {"told_apart", "move", "move_game", "frechet_ratio", "fed_drift_3", "plain_frechet_1"}
    assert in_play <= written["worlds"]["take_cover"].keys()
    card = (tmp_path / "README.md").read_text()
    assert "|  | take_cover | health_gathering |" in card and "nan" not in card and "None" not in card
    for picture in (
        "survival",
        "calibration",
        "skill",
        *(f"{kind}_{name}" for kind in STRIPS for name in HELD_OUT_SCENARIOS),
    ):
        path = tmp_path / f"{picture}.png"
        assert path.stat().st_size < 150_000 and Image.open(path).width > 200
        assert picture.startswith(STRIPS) or f"({path.name})" in card


def test_figures_are_rounded_and_what_is_no_number_is_left_out() -> None:
    assert scorecard.rounded(0.123456) == 0.1235 and scorecard.rounded([1.00004, 2]) == [1.0, 2]
    assert scorecard.rounded(float("nan")) is None and scorecard.rounded(True) is True


def test_the_perceptual_distance_says_its_network_and_is_left_out_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing was ever downloaded
    name, distance = perceptual_distance() or ("", None)
    assert "stlpips" in name and distance is not None
    real = torch.from_numpy(random_frames(2)).float().div(4).add(96).byte()
    near = (real.float() + 2).byte()
    far = real.flip(2)
    assert distance(real, real) == pytest.approx(0, abs=1e-6) and 0 < distance(real, near) < distance(real, far)
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    assert perceptual_distance() is None and "left out" in capsys.readouterr().out


def test_scenarios_of_short_episodes_get_the_horizons_they_have(model: WorldModel, tmp_path: Path) -> None:
    write_held_out(tmp_path, "test", 3, length=18)
    data = load_split(model, tmp_path, HELD_OUT_SCENARIOS, "test")
    rng = np.random.default_rng(0)
    z = torch.randn(len(data), model.config.state_width)
    expected = {f"skill_{step}{suffix}" for step in (1, 4) for suffix in ("", "_shuffled")}
    assert set(open_loop.skill_scores(model, data, z, 0, rng)) == expected
    write_held_out(tmp_path, "test", 3, length=10)
    data = load_split(model, tmp_path, HELD_OUT_SCENARIOS, "test")
    z = z[: len(data)]
    assert open_loop.skill_scores(model, data, z, 0, rng) == {} == outcome_scores(model, data, z, 0, rng)
    assert "psnr" in picture_scores.picture_scores(model, data, z, 0, None, rng)[0]


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


@pytest.mark.parametrize("begins_at", [0, 7])
def test_stepping_is_the_full_pass_even_where_recording_began_late(
    model: WorldModel, held_out: Dataset, begins_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = encode_all(model, held_out)
    monkeypatch.setattr(held_out, "elapsed", held_out.elapsed + begins_at)
    assert open_loop.stepping_difference(model, held_out, z) < 1e-4


class Brightness(nn.Module):
    """Finds whatever is bright: the mean of each cell, for every class alike."""

    def forward(self, pictures: Tensor) -> Tensor:
        cells = pictures.float().mean(-1).unflatten(2, (16, 10)).unflatten(1, (12, 10)).mean((2, 4))
        return cells[:, None].expand(-1, *OBJECT_MAP_SHAPE).flatten(1)


@pytest.fixture(autouse=True)
def few_cells_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LEAST_CELLS", 1)


def recall(held_out: Dataset, change: str) -> float:
    rows = np.arange(0, 40)
    frames = torch.from_numpy(held_out.frames(rows))
    pictures = {
        "the same": frames,
        "fainter": frames // 8,
        "empty": torch.zeros_like(frames),
        "bright all over": torch.full_like(frames, 255),
        "of other moments": frames.roll(7, 0),
    }[change]
    scores = recall_scores("", Brightness(), held_out, rows, pictures)  # type: ignore[arg-type]
    assert len(scores) == 1  # the toy has objects of one class
    return next(iter(scores.values()))


def test_what_is_there_is_found(held_out: Dataset) -> None:
    assert recall(held_out, "the same") == 1


@pytest.mark.parametrize("change", ["fainter", "empty", "bright all over", "of other moments"])
def test_what_fades_is_missing_or_elsewhere_is_not(held_out: Dataset, change: str) -> None:
    assert recall(held_out, change) < 0.4
