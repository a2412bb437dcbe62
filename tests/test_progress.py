"""Promises of the progress bar: a log gets few whole lines."""

from __future__ import annotations

import pytest

from doom_dream_env import progress as module
from doom_dream_env.progress import progress


def test_a_log_gets_one_line_of_a_bar_that_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(1000), desc="steps")) == list(range(1000))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "\r" not in error
    assert "steps: 100%" in error and "1000/1000" in error


def test_a_short_bar_that_does_not_stay_leaves_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(desc="steps", total=10, leave=False) as bar:
        bar.update(10)
    for _ in progress(range(10), desc="hidden", disable=True):
        pass
    assert capsys.readouterr().err == ""


def test_a_long_one_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 1e-6)
    with progress(desc="games", total=13, initial=3, unit="game", leave=False) as bar:
        for _ in range(10):
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and "13/13" in lines[-1] and all(line.startswith("games:") for line in lines)
