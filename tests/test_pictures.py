"""Promises of the report on what a player sees: it knows left from right, a flash from none, and like pictures from unlike ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toy_world import run

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import get_scenario, press
from doom_dream_env.world_model import WorldModel
from training import decoder, pictures

N = 4


def scene(shift: int, seed: int = 0) -> Tensor:
    """N pictures of a rough wall that moved to the right by `shift` pixels, uint8 (N, 120, 160, 3)."""
    wide = torch.from_numpy(random_frames(N, seed=seed))[:, :, :, :1].float()
    wide = nn.functional.avg_pool2d(wide.permute(0, 3, 1, 2), 5, 1, 2)[:, 0]
    return wide.roll(shift, -1)[..., None].expand(-1, -1, -1, 3).round().byte()


@pytest.mark.parametrize("shift", [-20, -3, 0, 1, 14])
def test_the_shift_of_a_picture_is_found(shift: int) -> None:
    """To half a pixel, and exactly if nothing moved; grain that stands still on the moving picture hides nothing."""
    found = pictures.sideways(scene(0), scene(shift))
    torch.testing.assert_close(found, torch.full((N,), float(shift)), atol=0.5 if shift else 0.0, rtol=0)
    grain = torch.from_numpy(random_frames(1, seed=7)).float() / 4
    grainy = [(0.7 * picture.float() + grain).round().byte() for picture in (scene(0), scene(shift))]
    assert (pictures.sideways(*grainy) - shift).abs().max() < 1


@pytest.mark.parametrize(("steps", "expected", "seen"), [((4, -4), 1.0, 0.0), ((-4, 4), 0.0, 1.0), ((0, 0), 0.0, 0.0), ((4, 4), 0.5, 0.5)])
def test_a_picture_that_does_not_follow_the_keys_scores_nothing(
    steps: tuple[int, int], expected: float, seen: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = steps
    film = [[scene(one * step) for step in range(4)], [scene(3 * one + other * step) for step in range(4)]]
    monkeypatch.setattr(pictures, "dreamed_keys", lambda *_: film)
    monkeypatch.setattr(pictures, "real_keys", lambda *_: film)
    model = make_model()
    monkeypatch.setattr(model, "encode", lambda frames: frames.flip(3))
    monkeypatch.setattr(model, "decode", lambda flipped: flipped)
    scores = pictures.key_scores(model, get_scenario("take_cover"), None)  # type: ignore[arg-type]
    assert scores == {"move": expected, "move_seen": seen, "move_game": expected}


def test_the_real_gun_flashes_and_the_real_picture_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure itself, on the game: what it says of a dream is worth no more than this."""
    monkeypatch.setattr(pictures, "GAMES", 4)
    monkeypatch.setattr(pictures, "DREAMS", N)
    for name, keys in (("defend_the_line", {"turn_game"}), ("basic", {"move_game"})):
        game = Game(get_scenario(name))
        scores = pictures.key_scores(make_model(), game.scenario, game) | pictures.flash_scores(make_model(), game.scenario, game)
        game.close()
        assert all(scores[key] == 1.0 for key in keys | {"flash_game"}), scores


def test_a_flash_is_seen_where_the_gun_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model, scenario = make_model(), get_scenario("basic")
    button = int(press("ATTACK").argmax())
    dark, bright = (torch.full((N, 120, 160, 3), value, dtype=torch.uint8) for value in (60, 60))
    bright[:, 60:80, 70:90] = 200
    monkeypatch.setattr(pictures, "DREAMS", N)
    monkeypatch.setattr(pictures, "beginnings", lambda *_: list(range(N)))
    monkeypatch.setattr(pictures, "dream", lambda model, state, buttons: [bool(keys[0, button]) for keys in buttons])
    monkeypatch.setattr(pictures, "played", lambda game, buttons, seed: [dark[0].numpy()] * 3)
    for fires, expected in ((True, 1.0), (False, 0.0)):
        monkeypatch.setattr(model, "decode", lambda pressed, fires=fires: bright if pressed and fires else dark)
        scores = pictures.flash_scores(model, scenario, None)  # type: ignore[arg-type]
        assert scores == {"flash": expected, "flash_game": 0.0}


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4000, 3)) * (1.0, 2.0, 3.0)
    assert pictures.frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert pictures.frechet(one, one + (2.0, 0.0, 1.0)) == pytest.approx(5.0, rel=1e-6)
    assert pictures.frechet(one, 2 * (one - one.mean(0)) + one.mean(0)) == pytest.approx(one.var(0, ddof=1).sum(), rel=1e-6)


def test_a_dream_on_its_own_pictures_goes_on_from_what_the_encoder_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "CROWD", N)
    model, scenario = make_model(), get_scenario("my_way_home")
    with torch.inference_mode():
        plain, fed = (pictures.walked(model, scenario, (1, 3), fed) for fed in (False, True))
        picture, state = plain[1]
        torch.testing.assert_close(fed[1][1].z, model.encode(picture[:, None])[:, 0])
    assert not torch.allclose(fed[3][1].z, plain[3][1].z)


def test_the_report_is_written(toy: Path, joint_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("dynamics", toy, _copy(joint_run, tmp_path / "run"), 2)
    small: dict[str, Any] = {"batch": 4, "dreams": 8, "looked-at": 1, "perceptual-from": 1.0, "adversarial-from": 1.0}
    run("decoder", toy, tmp_path / "run", 2, **small)
    run("decoder", toy, tmp_path / "run", 2, switches=("--autoencoder",), **small)
    for name, value in (
        ("DREAMS", N),
        ("GAMES", 2),
        ("CROWD", 6),
        ("LATE", 20),
        ("EARLY", 5),
        ("FED", (1, 3)),
        ("LASTING", ("take_cover",)),
    ):
        monkeypatch.setattr(pictures, name, value)
    monkeypatch.setattr(pictures, "feature_maps", lambda judge, shown: [nn.functional.avg_pool2d(shown, 30)])
    (toy / "take_cover" / "test-00000.parquet").write_bytes((toy / "take_cover" / "val-00000.parquet").read_bytes())
    weights = str(tmp_path / "run" / "weights")
    paler = load_file(tmp_path / "run" / decoder.CHECKPOINT)
    paler["module.average.0.pixels.bias"] += 0.3
    save_file(paler, tmp_path / "run" / "paler.safetensors")
    beside = {name: str(tmp_path / "run" / file) for name, file in (("this", decoder.CHECKPOINT), ("paler", "paler.safetensors"))}
    yardstick = tmp_path / "run" / decoder.AUTOENCODER
    scores = pictures.report(weights, toy, ["take_cover"], tmp_path / "out", yardstick, 50, beside)["take_cover"]
    assert {"psnr", "autoencoder_psnr", "move", "move_game", "frechet_ratio", "fed_drift_3", "plain_frechet_1"} <= scores.keys()
    written = json.loads((tmp_path / "out" / "pictures.json").read_text())
    assert (
        written["worlds"]["take_cover"] == pytest.approx(scores) and written["weights"] == WorldModel.from_pretrained(weights).fingerprint
    )
    this, paler = (written["decoders"]["take_cover"][name] for name in ("this", "paler"))
    assert this["psnr"] == pytest.approx(scores["psnr"], abs=0.01) and paler["psnr"] < this["psnr"] - 0.5, (
        "half precision or another decoder"
    )
    assert "| move |" in (tmp_path / "out" / "pictures.md").read_text() and (tmp_path / "out" / "dreamed_take_cover.png").is_file()


def _copy(joint_run: Path, out: Path) -> Path:
    out.mkdir()
    (out / "joint.safetensors").write_bytes((joint_run / "joint.safetensors").read_bytes())
    return out


@pytest.mark.parametrize("kind", ["decoder", "autoencoder"])
def test_a_file_that_is_no_decoder_is_named(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    parts = [make_model().decoder, make_model().encoder][: 1 + (kind == "autoencoder")]
    with pytest.raises(ValueError, match=rf"x\.safetensors is no {kind}"):
        pictures.load_average(tmp_path / "x.safetensors", parts)


def test_decoders_to_compare_have_names() -> None:
    assert pictures.named("l1=runs/l1=2/decoder.safetensors") == ("l1", "runs/l1=2/decoder.safetensors")
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=FILE"):
        pictures.named("decoder.safetensors")
