"""Promises of the scorecard: it writes what it says, and its model card leaves out no figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import random_frames
from held_out_world import EPISODES, SCENARIOS
from PIL import Image
from torch import nn

from training.config import ScorecardConfig
from training.evaluation import controls, objects, picture_scores, realism, scorecard
from training.evaluation.card import card_tables
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
        scenarios=SCENARIOS,
        out=tmp_path,
        limit=200,
        episodes=2,
        pictures=True,
    )
    returned = scorecard.run(config)
    written = json.loads((tmp_path / "scorecard.json").read_text())
    assert written == returned == json.loads(capsys.readouterr().out)
    assert list(written["worlds"]) == list(SCENARIOS)
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
        assert scores["deaths"] == EPISODES and scores["episodes"] == 2 and scores["health_change_16_true"] < -40
    in_play = {"told_apart", "move", "move_game", "frechet_ratio", "fed_drift_3", "plain_frechet_1"}
    assert in_play <= written["worlds"]["take_cover"].keys()
    card = (tmp_path / "README.md").read_text()
    assert "|  | take_cover | health_gathering |" in card and "nan" not in card and "None" not in card
    for picture in ("survival", "calibration", "skill", *(f"{kind}_{name}" for kind in STRIPS for name in SCENARIOS)):
        path = tmp_path / f"{picture}.png"
        assert path.stat().st_size < 150_000 and Image.open(path).width > 200
        assert picture.startswith(STRIPS) or f"({path.name})" in card


def test_figures_are_rounded_and_what_is_no_number_is_left_out() -> None:
    assert scorecard.rounded(0.123456) == 0.1235 and scorecard.rounded([1.00004, 2]) == [1.0, 2]
    assert scorecard.rounded(float("nan")) is None and scorecard.rounded(True) is True


def test_pictures_without_a_perceptual_network_are_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorecard, "perceptual_network", lambda: None)
    with pytest.raises(ValueError, match="needs a perceptual network"):
        scorecard.run(ScorecardConfig(weights=str(weights), pictures=True))


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
