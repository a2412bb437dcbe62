"""The one way to write a Markdown table, and numbers short enough for its cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from doom_dream_env.errors import UserError


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with a newline at its end.

    Args:
        header: titles of the columns.
        rows: cells as they are to be read, as many in each row as there are columns.

    Raises:
        ValueError: if a row has another number of cells.
    """
    lines = [header, ["---"] * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise UserError(f"the table has {len(header)} columns, this row has {len(row)} cells: {list(row)}")
        lines.append(row)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def short_number(value: Any) -> str:
    """A number for people, three significant digits; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    if abs(value) < 5e-4:
        return "0"
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.3g}"


def mean_and_margin(mean: float, margin: float, digits: int = 2) -> str:
    """A mean with half its 95 % interval."""
    return f"{mean:.{digits}f} ± {margin:.{digits}f}"
