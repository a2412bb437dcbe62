"""Reading the dataset: the shards of `doom_dream_env.shards`, by file and all together in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, VARIABLES, get_scenario
from doom_dream_env.shards import CODEC, FORMAT_VERSION, FRAME_BYTES

# Object heat maps: cells of 10x10 pixels, one map per class.
HEAT_CLASSES = ("projectile", "monster", "item")
HEAT_SHAPE = (len(HEAT_CLASSES), 12, 16)
CELL = 10
ITEM_CATEGORIES = ("Health", "Ammo", "Armor", "Weapon", "Key", "Powerup", "Item")
PROJECTILES = ("Ball", "Rocket", "Plasma", "Missile")


def object_class(name: str, category: str) -> int:
    """Index into `HEAT_CLASSES` of a ViZDoom object, −1 for scenery, the player and effects."""
    if name.endswith(PROJECTILES):
        return 0
    if category == "Monster":
        return 1
    return 2 if category in ITEM_CATEGORIES else -1


def read_shard(path: Path) -> pa.Table:
    """Read one shard.

    Raises:
        ValueError: if the file is damaged or of another format version; the message names the file.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about = json.loads((table.schema.metadata or {})[b"doom_dream_env"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run the collector again to make it anew") from error
    if about["format_version"] != FORMAT_VERSION:
        raise ValueError(f"{path} has format version {about['format_version']}, this code reads {FORMAT_VERSION}; collect it anew")
    return table


def _matrix(column: pa.ChunkedArray, width: int) -> npt.NDArray[Any]:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


@dataclass(frozen=True)
class Objects:
    """The visible objects of all rows of a table, M in all.

    Attributes: `row` (M,) which row sees it, `kind` (M,) index into `HEAT_CLASSES` or −1, `box` (M, 4) left, top, width, height in pixels.
    """

    rows: int
    row: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    box: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table) -> Objects:
        """Unpack the column `objects`."""
        objects = table["objects"].combine_chunks()
        flat = objects.flatten()
        pairs = zip(flat.field("name").to_pylist(), flat.field("category").to_pylist(), strict=True)
        return cls(
            rows=len(table),
            row=np.repeat(np.arange(len(table)), np.diff(objects.offsets.to_numpy())),
            kind=np.array([object_class(name, category) for name, category in pairs], np.int64),
            box=flat.field("box").flatten().to_numpy(zero_copy_only=False).reshape(-1, 4).astype(np.int64),
        )


def heat_maps(objects: Objects) -> npt.NDArray[np.uint8]:
    """Occupied cells per object class from the stored bounding boxes, 0/1, shape (rows, 3, 12, 16)."""
    keep = objects.kind >= 0
    row, kind, box = objects.row[keep], objects.kind[keep], objects.box[keep]
    top, left = box[:, 1] // CELL, box[:, 0] // CELL
    bottom = np.minimum((box[:, 1] + np.maximum(box[:, 3], 1) - 1) // CELL, 11) + 1
    right = np.minimum((box[:, 0] + np.maximum(box[:, 2], 1) - 1) // CELL, 15) + 1
    corners = np.zeros((objects.rows, len(HEAT_CLASSES), 13, 17), np.int16)
    for r, c, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1), (bottom, right, 1)):
        np.add.at(corners, (row, kind, np.clip(r, 0, 12), np.clip(c, 0, 16)), sign)
    return (corners.cumsum(2).cumsum(3)[:, :, :12, :16] > 0).astype(np.uint8)


def nearest_object(objects: Objects, kind: int) -> npt.NDArray[np.float32]:
    """Per row: lateral offset (−1 left edge … 1 right edge) and height (pixels) of the tallest visible object of a class.

    Shape (rows, 2); NaN where none is in view.
    """
    keep, box = np.flatnonzero(objects.kind == kind), objects.box.astype(np.float32)
    order = keep[np.argsort(box[keep, 3], kind="stable")]  # the tallest is written last
    out = np.full((objects.rows, 2), np.nan, np.float32)
    out[objects.row[order], 0] = (box[order, 0] + box[order, 2] / 2 - 80) / 80
    out[objects.row[order], 1] = box[order, 3]
    return out


def item_ahead(heat: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Heat maps (..., 3, 12, 16): is an item in the middle quarter of the picture? Shape (...)."""
    return np.asarray(heat[..., 2, :, 6:10].any((-1, -2)))


def under_crosshair(objects: Objects) -> npt.NDArray[np.bool_]:
    """Per row: does a visible monster's box cover the middle column of the picture? Shape (rows,)."""
    hit = (objects.kind == 1) & (objects.box[:, 0] <= 80) & (objects.box[:, 0] + objects.box[:, 2] >= 80)
    out = np.zeros(objects.rows, bool)
    out[objects.row[hit]] = True
    return out


class Dataset:
    """All steps of some scenarios and one split in memory, frames still compressed (or left on the disk, see `keep_frames`).

    Attributes (N rows): `scenario` index into `names` (N,), `first` recorded row of the row's episode (N,), `last` row of it (N,), `age`
    steps since the episode began (N,),
    `actions` uint8 (N, 9), `rewards` (N,), `terminated` (N,), `truncated` (N,), `variables` and `next_variables` (N, V),
    `heat` uint8 (N, 3, 12, 16), `projectile` (N, 2), `crosshair` (N,), `pose` (N, 4) x, y, z, angle; `behaviour` and `starts` (the
    world and its map) strings (N,); `place` index of `starts` in `places` (N,). `shards` names the files, in the order of the rows.
    """

    def __init__(
        self, root: Path, scenarios: Sequence[str], split: str = "train", limit: int | None = None, keep_frames: bool = True
    ) -> None:
        """Load `split` of each scenario (a name or the path of a configuration) below `root`.

        Stops after the shard that reaches `limit` rows of each. Frames take 20 kB of memory a row; without `keep_frames`, `frames`
        reads the shards it needs again.

        Raises:
            FileNotFoundError: if a scenario has no shard; the message gives the command that makes some.
            ValueError: if a shard is damaged.
        """
        self.worlds = [get_scenario(name) for name in scenarios]
        self.names = [world.name for world in self.worlds]
        self.shards: list[str] = []
        self._files: list[Path] = []
        self._frames: list[pa.LargeBinaryArray | None] = []
        starts, parts = [0], []
        for index, name in enumerate(self.names):
            files, rows = sorted((Path(root) / name).glob(f"{split}-*.parquet"), key=lambda f: (f.stem.rsplit("-")[-1], f.stem)), 0
            if not files:
                raise FileNotFoundError(
                    f"no {split} data of {name} in {root}; run: python -m training.collect --out {root} --scenarios {name} --split {split}"
                )
            for file in files:
                table = read_shard(file)
                objects, about = Objects.of(table), json.loads(table.schema.metadata[b"doom_dream_env"])
                episode = table["episode"].to_numpy()
                edges = np.flatnonzero(np.r_[True, episode[1:] != episode[:-1], True])
                span, base, steps = np.diff(edges), starts[-1], np.arange(len(table))
                parts.append(
                    {
                        "scenario": np.full(len(table), index, np.int64),
                        "first": np.repeat(base + edges[:-1], span),
                        "last": np.repeat(base + edges[1:] - 1, span),
                        "actions": _matrix(table["action"], len(BUTTONS)),
                        "rewards": table["reward"].to_numpy().astype(np.float32),
                        "terminated": table["terminated"].to_numpy(),
                        "truncated": table["truncated"].to_numpy(),
                        "variables": _matrix(table["variables"], len(VARIABLES)),
                        "next_variables": _matrix(table["next_variables"], len(VARIABLES)),
                        "pose": _matrix(table["pose"], 4),
                        "heat": heat_maps(objects),
                        "projectile": nearest_object(objects, 0),
                        "crosshair": under_crosshair(objects),
                        "age": table["age"].to_numpy() if "age" in table.column_names else steps - np.repeat(edges[:-1], span),
                        "behaviour": np.array(table["behaviour"].to_pylist()),
                        "starts": np.full(len(table), about["starts"]),
                    }
                )
                self.shards.append(f"{name}/{file.stem}")
                self._files.append(file)
                self._frames.append(table["frame"].combine_chunks() if keep_frames else None)
                starts.append(base + len(table))
                rows += len(table)
                if limit is not None and rows >= limit:
                    break
        self._starts = np.array(starts)
        for key in parts[0]:
            setattr(self, key, np.concatenate([part[key] for part in parts]))
        names, self.place = np.unique(self.starts, return_inverse=True)
        self.places: list[str] = names.tolist()

    age: npt.NDArray[np.int64]
    scenario: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    actions: npt.NDArray[np.uint8]
    rewards: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    variables: npt.NDArray[np.float32]
    next_variables: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]
    heat: npt.NDArray[np.uint8]
    projectile: npt.NDArray[np.float32]
    crosshair: npt.NDArray[np.bool_]
    behaviour: npt.NDArray[np.str_]
    starts: npt.NDArray[np.str_]
    place: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def count_places_as(self, places: Sequence[str]) -> None:
        """Let `place` index `places` instead: a limited or newer dataset need not have the same maps.

        Raises:
            ValueError: if the data have a place that is not among them.
        """
        if unknown := {self.places[index] for index in np.unique(self.place)} - set(places):
            raise ValueError(f"the data have {', '.join(sorted(unknown))}, which the run did not begin with; start a new one with --out")
        order = {name: index for index, name in enumerate(places)}
        self.place = np.array([order.get(name, -1) for name in self.places])[self.place]
        self.places = list(places)

    def known(self, variable: int) -> npt.NDArray[np.bool_]:
        """Which rows are of a world that has the variable, (N,)."""
        return np.array([world.variable_mask()[variable] for world in self.worlds])[self.scenario]

    def frames(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Decode the frames of the given rows, uint8 (*rows.shape, 120, 160, 3)."""
        rows = np.asarray(rows)
        flat = rows.reshape(-1)
        out = np.empty((len(flat), *FRAME_SHAPE), np.uint8)
        shards = np.searchsorted(self._starts, flat, "right") - 1
        for shard in np.unique(shards):
            frames = self._frames[shard]
            if frames is None:
                frames = read_shard(self._files[shard])["frame"].combine_chunks()
            for i in np.flatnonzero(shards == shard):
                blob = frames[int(flat[i] - self._starts[shard])].as_buffer()
                out[i] = np.frombuffer(CODEC.decompress(blob, FRAME_BYTES), np.uint8).reshape(FRAME_SHAPE)
        return out.reshape(*rows.shape, *FRAME_SHAPE)

    def shard_rows(self) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Every shard's name and its rows."""
        for name, first, end in zip(self.shards, self._starts[:-1], self._starts[1:], strict=True):
            yield name, np.arange(first, end)

    def windows(self, length: int) -> npt.NDArray[np.int64]:
        """Rows at which a window of `length` steps of one episode begins (short episodes give none)."""
        rows = np.arange(len(self))
        return rows[rows + length - 1 <= self.last]
