"""What ViZDoom knew about the objects in each frame, as arrays.

None of it is needed to use the world model: it teaches the encoder which small things matter, and it is what probes are
fitted to.

Legend: N rows of a shard, M visible objects of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from doom_dream_env.scenarios import FRAME_SHAPE

OBJECT_CLASSES = ("projectile", "monster", "item")
PROJECTILE, MONSTER, ITEM = range(len(OBJECT_CLASSES))
NEITHER = -1  # scenery, the player and effects

# Object maps say which cells of 10x10 pixels the objects of each class cover.
CELL = 10
ROWS = FRAME_SHAPE[0] // CELL
COLUMNS = FRAME_SHAPE[1] // CELL
OBJECT_MAP_SHAPE = (len(OBJECT_CLASSES), ROWS, COLUMNS)

MIDDLE = FRAME_SHAPE[1] // 2  # the column under the crosshair
ITEM_CATEGORIES = ("Health", "Ammo", "Armor", "Weapon", "Key", "Powerup", "Item")
PROJECTILE_NAMES = ("Ball", "Rocket", "Plasma", "Missile")  # how their names end


def object_class(name: str, category: str) -> int:
    """Index into `OBJECT_CLASSES` of a ViZDoom object; `NEITHER` for scenery, the player and effects."""
    if name.endswith(PROJECTILE_NAMES):
        return PROJECTILE
    if category == "Monster":
        return MONSTER
    return ITEM if category in ITEM_CATEGORIES else NEITHER


@dataclass(frozen=True)
class Objects:
    """The visible objects of all rows of a shard.

    Attributes:
        rows: N.
        row: which row sees the object, (M,).
        kind: index into `OBJECT_CLASSES` or `NEITHER`, (M,).
        box: left, top, width and height in pixels, (M, 4).
    """

    rows: int
    row: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    box: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table) -> Objects:
        """Unpack the column `objects` of a shard."""
        objects = table["objects"].combine_chunks()
        flat = objects.flatten()
        names = flat.field("name").to_pylist()
        categories = flat.field("category").to_pylist()
        kinds = [object_class(name, category) for name, category in zip(names, categories, strict=True)]
        return cls(
            rows=len(table),
            row=np.repeat(np.arange(len(table)), np.diff(objects.offsets.to_numpy())),
            kind=np.array(kinds, np.int64),
            box=flat.field("box").flatten().to_numpy(zero_copy_only=False).reshape(-1, 4).astype(np.int64),
        )


def object_maps(objects: Objects) -> npt.NDArray[np.uint8]:
    """Cells that the boxes of each class cover, 0/1, (N, 3, 12, 16)."""
    keep = objects.kind != NEITHER
    row = objects.row[keep]
    kind = objects.kind[keep]
    left, top, width, height = objects.box[keep].T
    first_row = np.clip(top // CELL, 0, ROWS)
    end_row = np.clip((top + np.maximum(height, 1) - 1) // CELL + 1, 0, ROWS)
    first_column = np.clip(left // CELL, 0, COLUMNS)
    end_column = np.clip((left + np.maximum(width, 1) - 1) // CELL + 1, 0, COLUMNS)
    # A box is the running sum, along both axes, of +1 and −1 at its four corners.
    corners = np.zeros((objects.rows, len(OBJECT_CLASSES), ROWS + 1, COLUMNS + 1), np.int16)
    np.add.at(corners, (row, kind, first_row, first_column), 1)
    np.add.at(corners, (row, kind, end_row, first_column), -1)
    np.add.at(corners, (row, kind, first_row, end_column), -1)
    np.add.at(corners, (row, kind, end_row, end_column), 1)
    covered = corners.cumsum(2).cumsum(3)[:, :, :ROWS, :COLUMNS]
    return (covered > 0).astype(np.uint8)


def nearest_object(objects: Objects, kind: int) -> npt.NDArray[np.float32]:
    """The tallest visible object of a class in each row: sideways offset and height (pixels), (N, 2).

    The offset is −1 at the left edge of the picture and 1 at the right one. NaN where none is in view.
    """
    keep = np.flatnonzero(objects.kind == kind)
    box = objects.box.astype(np.float32)
    order = keep[np.argsort(box[keep, 3], kind="stable")]  # the tallest is written last
    out = np.full((objects.rows, 2), np.nan, np.float32)
    out[objects.row[order], 0] = (box[order, 0] + box[order, 2] / 2 - MIDDLE) / MIDDLE
    out[objects.row[order], 1] = box[order, 3]
    return out


def item_ahead(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Object maps (..., 3, 12, 16): is an item in the middle quarter of the picture? Shape (...)."""
    ahead: npt.NDArray[Any] = maps[..., ITEM, :, 3 * COLUMNS // 8 : 5 * COLUMNS // 8]
    return np.asarray(ahead.any((-1, -2)))


def under_crosshair(objects: Objects) -> npt.NDArray[np.bool_]:
    """Does a visible monster's box cover the middle column of the picture? Shape (N,)."""
    left = objects.box[:, 0]
    right = left + objects.box[:, 2]
    hit = (objects.kind == MONSTER) & (left <= MIDDLE) & (right >= MIDDLE)
    out = np.zeros(objects.rows, bool)
    out[objects.row[hit]] = True
    return out
