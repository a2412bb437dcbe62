"""Promises of tables and figures: cells stand under their titles, numbers are short, pictures are small files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.evaluation.figures import draw_survival, panels
from training.evaluation.tables import markdown_table, short_number


def test_a_table_is_markdown() -> None:
    table = markdown_table(("", "take_cover"), [("steps", "1,580"), ("skill", "0.37")])
    assert table == "|  | take_cover |\n| --- | --- |\n| steps | 1,580 |\n| skill | 0.37 |\n"


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns, this row has 1 cells"):
        markdown_table(("a", "b"), [("1",)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (12793.8, "12,800"),
        (102, "102"),
        (0.41723, "0.42"),
        (25.823, "25.8"),
        (-2e-5, "0"),
    ],
)
def test_numbers_in_the_card_are_short(value: Any, text: str) -> None:
    assert short_number(value) == text


def test_a_survival_curve_falls_from_all_to_none() -> None:
    _, (axis,) = panels()
    draw_survival(axis, [10, 20, 20, 40], label="noop")
    steps, shares = axis.lines[0].get_data()
    assert axis.lines[0].get_drawstyle() == "steps-pre"  # each share holds from the step before up to its own
    assert [float(shares[np.searchsorted(steps, step)]) for step in (5, 15, 30)] == [1.0, 0.75, 0.25]
    assert shares[-1] == 0.0
