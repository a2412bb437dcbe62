"""Promises of `dream-doom doctor`: a line for each check, and a status that says whether the installation is sound."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from doom_dream_env import doctor
from doom_dream_env.cli import main

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


def test_damaged_weights_and_a_game_that_does_not_start_are_found_and_the_rest_goes_on(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(weights, tmp_path / "copy"))
    (copy / "decoder.safetensors").write_bytes(b"nothing")

    def broken() -> doctor.Finding:
        raise RuntimeError("no engine\nhere")

    monkeypatch.setattr(doctor, "check_game", broken)
    monkeypatch.setattr(doctor, "check_screen", lambda: doctor.Finding("none", False, essential=False))
    assert main(["doctor", "--weights", str(copy)]) == 1
    found = lines_of(capsys.readouterr().out)
    assert found["weights"][0] == "BROKEN" and "decoder.safetensors is damaged" in found["weights"][1]
    assert found["ViZDoom"] == ("BROKEN", "RuntimeError: no engine here")
    assert found["screen"][0] == "note" and found["Python"][0] == "ok" and found["speed"][0] == "BROKEN"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED", ("numpy", "no-such-library"))
    finding = doctor.check_libraries()
    assert not finding.sound and finding.essential and "no-such-library" in finding.text
