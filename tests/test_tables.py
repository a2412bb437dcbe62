"""Promises of tables and figures: cells stand under their titles, numbers are short, pictures are small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.evaluation.figures import draw_survival, panels, save_figure, save_png
from training.evaluation.tables import markdown_table, mean_and_margin, short_number


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


def test_a_mean_stands_with_its_margin() -> None:
    assert mean_and_margin(12.345, 0.5) == "12.35 ± 0.50" and mean_and_margin(12.345, 0.5, digits=1) == "12.3 ± 0.5"


def test_panels_stand_in_rows_of_five() -> None:
    figure, axes = panels(7, title="t", x="x", y="y")
    assert len(axes) == 7
    assert axes[0].get_subplotspec().get_geometry()[:2] == (2, 5)
    assert figure.get_suptitle() == "t"


def test_a_survival_curve_falls_from_all_to_none() -> None:
    _, (axis,) = panels()
    draw_survival(axis, [10, 20, 20, 40], label="noop")
    steps, shares = axis.lines[0].get_data()
    assert axis.lines[0].get_drawstyle() == "steps-pre"  # each share holds from the step before up to its own
    assert [float(shares[np.searchsorted(steps, step)]) for step in (5, 15, 30)] == [1.0, 0.75, 0.25]
    assert shares[-1] == 0.0


def test_pictures_are_written(tmp_path: Path) -> None:
    figure, _ = panels()
    save_figure(figure, tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").width > 200
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    save_png(picture, tmp_path / "picture.png")
    assert Image.open(tmp_path / "picture.png").size == (80, 60)
