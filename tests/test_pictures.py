"""Promises of the report on what a player sees: it is written, and says its network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import random_frames
from torch import nn
from toy_world import run

from doom_dream_env.world_model import WorldModel
from training.config import PicturesConfig
from training.evaluation import controls, pictures, realism
from training.models.perceptual import perceptual_distance

N = 4


@pytest.fixture
def decoder_run(toy: Path, representation_run: Path, tmp_path: Path) -> Path:
    """The folder of short runs of dynamics, tokenizer and decoder."""
    out = tmp_path / "run"
    out.mkdir()
    name = "representation.safetensors"
    (out / name).write_bytes((representation_run / name).read_bytes())
    run("dynamics", toy, out, 2)
    run("tokenizer", toy, out, 2)
    run("decoder", toy, out, 2)
    return out


@pytest.fixture
def held_out_data(toy: Path, tmp_path: Path) -> Path:
    """The toy's validation split as a test split."""
    folder = tmp_path / "data" / "take_cover"
    folder.mkdir(parents=True)
    (folder / "test-00000.parquet").write_bytes((toy / "take_cover" / "val-00000.parquet").read_bytes())
    return folder.parent


def test_the_report_is_written(
    decoder_run: Path,
    held_out_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module, values in (
        (controls, {"DREAMS": N, "GAMES": 2}),
        (realism, {"DREAMS": 6, "PICTURES": 3, "EARLY": 5, "LATE": 20, "FED_STEPS": (1, 3)}),
        (pictures, {"LASTING": ("take_cover",)}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(realism, "feature_maps", lambda network, shown: [nn.functional.avg_pool2d(shown, 30)])
    out = tmp_path / "out"
    config = PicturesConfig(
        weights=str(decoder_run / "weights"),
        data=held_out_data,
        scenarios=("take_cover",),
        out=out,
        limit=50,
    )
    scores = pictures.run(config)["take_cover"]
    expected = {"psnr", "move", "move_game", "frechet_ratio", "fed_drift_3", "plain_frechet_1"}
    assert expected <= scores.keys()
    written = json.loads((out / "pictures.json").read_text())
    assert written["worlds"]["take_cover"] == pytest.approx(scores)
    assert written["weights"] == WorldModel.from_pretrained(config.weights).fingerprint
    table = (out / "pictures.md").read_text()
    assert "| move |" in table and table in capsys.readouterr().out
    assert (out / "dreamed_take_cover.png").is_file()


def test_a_report_without_a_perceptual_network_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "perceptual_network", lambda: None)
    with pytest.raises(ValueError, match="needs a perceptual network"):
        pictures.run(PicturesConfig(weights=str(weights), data=tmp_path, out=tmp_path / "out"))


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
