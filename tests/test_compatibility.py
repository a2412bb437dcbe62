"""Promises of docs/compatibility.md: what it says of a library holds for the one that is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from compatibility import MISSING, OK, PAGE, TRIALS, Trial, result

EVERY_TIME = {"check_dream", "time_limit", "autoreset", "sb3_check", "sb3_wrappers"}


def chosen() -> list:
    """All trials: those that take seconds, or of libraries that few have, when there is time."""
    return [
        pytest.param(one, id=one.run.__name__, marks=() if one.run.__name__ in EVERY_TIME else pytest.mark.slow)
        for one in TRIALS
    ]


@pytest.mark.parametrize("one", chosen())
def test_what_is_installed_works(weights: Path, one: Trial) -> None:
    outcome = result(one, str(weights))
    if outcome.startswith(MISSING):
        pytest.skip(outcome)
    assert outcome == OK


def test_the_page_tells_of_every_trial() -> None:
    text = PAGE.read_text("utf-8")
    for one in TRIALS:
        assert f"| {one.package} |" in text and f"| {one.tried} |" in text, f"run python tests/compatibility.py: {one}"
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(TRIALS) and all(line.rstrip(" |").endswith(OK) for line in rows), "something did not work"
