"""Promises of `dream-doom doctor` and `dream-doom bench`: what works here, and how fast dream and game are."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from doom_dream_env import benchmark, doctor
from doom_dream_env.cli import main
from doom_dream_env.scenarios import get_scenario

CHECKS = {"Python", "libraries", "for training", "processor", "memory", "screen", "ViZDoom", "weights", "speed"}


def lines_of(text: str) -> dict[str, tuple[str, str]]:
    """Name of a check → its mark and what it found."""
    return {line[8:20].strip(): (line[:8].strip(), line[22:]) for line in text.splitlines()[:-1]}


def test_a_sound_installation_has_a_line_for_each_check(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.05)
    assert main(["doctor", "--weights", str(weights)]) == 0
    found = lines_of(capsys.readouterr().out)
    assert found.keys() == CHECKS
    assert not [name for name, (mark, _) in found.items() if mark == "BROKEN"]
    assert "torch " in found["libraries"][1] and "threads" in found["processor"][1]
    assert "played a second" in found["ViZDoom"][1] and "steps/s" in found["speed"][1]


def test_what_is_broken_is_found_and_the_rest_goes_on(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "decoder.safetensors").write_bytes(b"nothing")

    def broken() -> doctor.Finding:
        raise RuntimeError("no engine\nhere")

    monkeypatch.setattr(doctor, "check_game", broken)
    monkeypatch.setattr(doctor, "check_screen", lambda: doctor.Finding("none", False, essential=False))
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["no-such-library>=1", "tyro>=0.9; extra == 'train'"])
    assert main(["doctor", "--weights", str(copy)]) == 1
    found = lines_of(capsys.readouterr().out)
    assert found["weights"][0] == "BROKEN" and "decoder.safetensors is damaged" in found["weights"][1]
    assert found["ViZDoom"] == ("BROKEN", "RuntimeError: no engine here")
    assert found["libraries"][0] == "BROKEN" and "missing: no-such-library" in found["libraries"][1]
    assert found["screen"][0] == "note" and found["Python"][0] == "ok" and found["speed"][0] == "BROKEN"


def test_the_command_prints_dream_and_game_and_keeps_a_row(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "ENV_COUNTS", (1, 64, 256))
    monkeypatch.setattr(benchmark, "PIXEL_ENV_COUNTS", (1,))
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    table = tmp_path / "results.md"
    table.write_text(f"# Speed\n\n{benchmark.TABLE}| another machine |\n\nThe end.\n")
    assert main(["bench", "--weights", str(weights), "--seconds", "0.1", "--table", str(table)]) == 0
    assert os.environ["SDL_VIDEODRIVER"] == "x11"
    assert [line.count("|") for line in table.read_text().splitlines()] == [0, 0, 7, 7, 7, 2, 0, 0]
    printed = capsys.readouterr().out
    for part in ("256 dreams, steps/s", "with pixels", "window, frames/s", "from a key", "SubprocVecEnv", "GFLOP/s"):
        assert part in printed


def test_what_cannot_be_measured_is_refused(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--scenario", "freedoom", "--weights", str(weights)]) == 2
    assert "'freedoom' is unknown here" in capsys.readouterr().err
    own = tmp_path / "own.cfg"
    own.write_text("available_buttons = { ATTACK }\n")
    with pytest.raises(ValueError, match="no Gymnasium environment of own"):
        benchmark.vizdoom_id(get_scenario(str(own)))
