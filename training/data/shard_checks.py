"""What every shard must be, compared when it is read: a wrong number would be trained on without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from doom_dream_env.errors import UserError
from doom_dream_env.game.recording import SOFT_COLUMNS
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, VARIABLES

GREATEST_REWARD = 100_000.0  # of a step; ViZDoom's own scenarios pay at most 1,000 or so
GREATEST_VALUE = 1_000_000.0  # of game variables and places on a map
UNKNOWN = -1  # elapsed steps of what was read off a video
FOOTAGE = "footage"  # last part of the place of a video whose map nobody has said
WIDTHS = {"action": len(BUTTONS), "variables": len(VARIABLES), "next_variables": len(VARIABLES), "pose": 4}
SOFT_WIDTHS = {"variables_confidence": len(VARIABLES)}
COLUMNS = (*WIDTHS, "frame", "reward", "terminated", "truncated", "episode", "elapsed", "behaviour", "objects")


def check_metadata(about: Mapping[str, Any], scenario: str | None) -> None:
    """Compare what a shard says of itself with what this code reads.

    Args:
        about: the shard's own words.
        scenario: whose data are read; None: any.

    Raises:
        ValueError: if it is of another scenario, or of other buttons, variables or frames.
    """
    expected = {"buttons": list(BUTTONS), "variables": list(VARIABLES)}
    for name, values in expected.items():
        if list(about.get(name) or ()) != values:
            raise UserError(f"its {name} are {about.get(name)}, not {values}")
    frame = about.get("frame")
    if not isinstance(frame, Mapping) or list(frame.get("shape") or ()) != list(FRAME_SHAPE):
        raise UserError(f"its frames are {frame}, not of shape {list(FRAME_SHAPE)}")
    for name in ("scenario", "place"):
        if not isinstance(about.get(name), str):
            raise UserError(f"it does not say its {name}")
    if scenario is not None and about["scenario"] != scenario:
        raise UserError(f"it holds {about['scenario']}, not {scenario}")


def check_rows(table: pa.Table) -> None:
    """Compare a shard's columns with what a game can give.

    Raises:
        ValueError: if a column is missing or empty somewhere, or holds what no game gives; the message says which.
    """
    soft = SOFT_COLUMNS if any(name in table.column_names for name in SOFT_COLUMNS) else ()
    if missing := [name for name in (*COLUMNS, *soft) if name not in table.column_names]:
        raise UserError(f"it lacks the columns {', '.join(missing)}")
    if not len(table):
        raise UserError("it has no rows")
    for name in (*COLUMNS, *soft):
        if table[name].null_count:
            raise UserError(f"{name} is missing in {table[name].null_count} rows")
    values = {name: _values(table, name) for name in (*WIDTHS, "reward", "terminated", "truncated", "elapsed")}
    for name in ("reward", "variables", "next_variables", "pose"):
        greatest = GREATEST_REWARD if name == "reward" else GREATEST_VALUE
        _refuse(name, ~(np.abs(values[name]) <= greatest), f"beyond ±{greatest:,.0f} or no number")
    _refuse("action", values["action"] > 1, "neither 0 nor 1")
    ended = values["terminated"] | values["truncated"]
    _refuse("terminated", values["terminated"] & values["truncated"], "true where truncated is")
    episode = table["episode"].to_numpy()
    same = episode[1:] == episode[:-1]
    _refuse("terminated", ended[:-1] & same, "true before the episode's last row")
    annotated = np.ones(len(table), bool)
    if soft:
        annotated = _values(table, "annotated")
        for name in soft[:-1]:
            confidence = _values(table, name)
            _refuse(name, ~((confidence >= 0) & (confidence <= 1)), "not from 0 to 1")
    elapsed = values["elapsed"]
    unknown = (elapsed == UNKNOWN) & ~annotated
    _refuse("elapsed", (elapsed < 0) & ~unknown, "negative")
    _refuse("elapsed", np.r_[False, same & (np.diff(elapsed) != 1) & ~(unknown[1:] & unknown[:-1])], "not one by one")


def _values(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column as an array, (N,) or (N, width)."""
    column = table[name].combine_chunks()
    width = WIDTHS.get(name) or SOFT_WIDTHS.get(name)
    if width is None:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if not pa.types.is_fixed_size_list(column.type) or column.type.list_size != width:
        raise UserError(f"{name} is {column.type}, not a list of {width}")
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)


def _refuse(name: str, wrong: npt.NDArray[np.bool_], what: str) -> None:
    rows = np.flatnonzero(wrong.any(1) if wrong.ndim == 2 else wrong)
    if len(rows):
        raise UserError(f"{name} is {what} in {len(rows)} rows, first in row {rows[0]}")
