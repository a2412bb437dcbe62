"""Recorded play on disk: the format and its writer. Needs pyarrow, of the extra `train`.

Storage: Parquet shards, one row per step, the columnar format of the field's dataset hubs, readable from every
language without this package. A frame is stored losslessly as one LZ4 block (`lz4_raw`) of its 120x160x3 RGB bytes:
`pyarrow.decompress(blob, 57600, codec="lz4_raw")`. Why not video: measured on 160x120 frames, H.264 at 42 dB takes
274 µs to write and 663 µs to read a frame where LZ4 takes 79 and 38 and loses nothing, and any frame can be read
without its neighbours. Twice the bytes (20 kB a frame) is the price.

Row t of an episode holds frame[t], the action pressed after it and what that step returned. The last row of an
episode therefore has an action but no next frame: ViZDoom shows none. An episode that its player left ends with a row
neither terminated nor truncated.

Shards may also hold things (`THING_FIELDS`): everything that the player has seen in the episode and that still exists,
with its number, velocity and place, and how far the walls are. The dynamics of things learn from that alone, without
frames.

What was read off a video instead of the game has four more columns (`SOFT_COLUMNS`), which say how sure that is. Every
shard says where its frames come from (`Origin`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.errors import UserError, install_command
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, SCENARIOS, VARIABLES, Scenario
from doom_dream_env.scenarios.configurations import wads_of
from doom_dream_env.scenarios.wads import as_text, ships
from doom_dream_env.world_model.origins import FREEDOOM, Origin

if TYPE_CHECKING:
    from doom_dream_env.game.game import Game
    from doom_dream_env.game.things import SeenThing, Watch

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ModuleNotFoundError(f"recording play needs pyarrow: {install_command('train')}") from error

FORMAT_VERSION = 3
STEPS_PER_SHARD = 1500  # A shard ends with the episode in which it reaches this length.
FRAME_BYTES = int(np.prod(FRAME_SHAPE))
CODEC = pa.Codec("lz4_raw")

FLOAT_VECTORS = ("variables", "next_variables", "pose", "variables_confidence")
# Of rows that were read off a video: how likely the whole action is right, each variable's value before and after the
# step, and reward and termination; and whether the game itself said pose, objects and all the rest.
SOFT_COLUMNS = ("confidence", "variables_confidence", "outcome_confidence", "annotated")
OBJECT_FIELDS = ("name", "category", "box", "position")
THING_FIELDS = ("id", "name", "group", "position", "velocity", "box")
METADATA = b"doom_dream_env"  # key of what a shard says of itself, one JSON object, in the metadata of its schema


def game_origin(scenario: Scenario, licence: str | None = None) -> Origin:
    """Where the frames of a game come from, by the WADs that it is played with.

    Args:
        scenario: what is played.
        licence: of the WADs that do not ship with ViZDoom, which are told by their bytes.
    """
    wads = wads_of(scenario.config, scenario.map, scenario.wad)
    others = [as_text(wad.name) for wad in wads if not ships(wad)]
    return Origin(f"ViZDoom with {' and '.join(others)}", licence) if others else FREEDOOM


def origin_of(schema: pa.Schema) -> Origin:
    """Where a shard's frames come from, as it says of itself."""
    about = json.loads(schema.metadata[METADATA])
    place = about["place"].split(":")
    # Shards of earlier releases do not say it; of the package's own scenarios, without a WAD, they show Freedoom.
    if "source" not in about and place[0] in SCENARIOS and len(place) < 3 and "annotated" not in schema.names:
        return FREEDOOM
    return Origin(about.get("source"), about.get("licence"))


def read_origin(path: Path) -> Origin:
    """`origin_of` a shard's file.

    Raises:
        ValueError: if it is damaged; the message names it.
    """
    try:
        return origin_of(pq.read_schema(path))
    except (pa.ArrowException, OSError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and make it again") from error


def publishable_origin(path: Path) -> Origin:
    """Where a shard's frames come from, if it is whole and says under which licence they may be passed on.

    Raises:
        ValueError: if not; the message names the file.
    """
    origin = read_origin(path)
    if not origin.source or not origin.licence:
        raise UserError(
            f"{path} shows {origin.source or 'pictures of an unknown source'}, and it is not said under which licence "
            "they may be passed on: leave it out, or give the command that made it again, with --licence (of videos "
            "--source, too)"
        )
    return origin


def compress_frame(frame: npt.NDArray[np.uint8]) -> bytes:
    """One lossless LZ4 block of an RGB frame."""
    return CODEC.compress(np.ascontiguousarray(frame), asbytes=True)


def decompress_frame(block: Any) -> npt.NDArray[np.uint8]:
    """The RGB frame of a block of `compress_frame`, given as bytes or as a pyarrow buffer; it cannot be written to."""
    return np.frombuffer(CODEC.decompress(block, FRAME_BYTES), np.uint8).reshape(FRAME_SHAPE)


def before_step(game: Game, watch: Watch | None = None, frames: bool = True) -> dict[str, Any]:
    """What a row holds of the moment before its action; for `ShardWriter.add`.

    Args:
        game: a privileged one.
        watch: remembers what has been in sight in this episode; None: things are not recorded.
        frames: record the frame and what ViZDoom labels in it.
    """
    row: dict[str, Any] = {"labels": (), "variables": game.variables, "pose": game.pose()}
    if frames:
        row |= {"labels": game.state.labels, "frame": compress_frame(game.frame)}
    if watch is not None:
        row |= {"things": watch.look(), "walls": watch.walls()}
    return row


def _fixed_size_lists(values: npt.ArrayLike, dtype: Any) -> pa.FixedSizeListArray:
    flat = np.asarray(values, dtype)
    width = flat.shape[-1] if flat.size else 1
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width)


def _column(name: str, values: list[Any]) -> pa.Array:
    """One column of a shard, in the type that the format gives it."""
    if name == "things":
        return _things_column(values)
    if name in ("action", "walls"):
        return _fixed_size_lists(values, np.uint8)
    if name in FLOAT_VECTORS:
        return _fixed_size_lists(values, np.float32)
    if name == "tics":
        return pa.array(values, pa.list_(pa.large_binary()))
    if name == "frame":
        return pa.array(values, pa.large_binary())
    if name == "behaviour":
        return pa.array(values, pa.string())
    return pa.array(np.asarray(values))


def _things_column(rows: list[list[SeenThing]]) -> pa.ListArray:
    """Lists of structs with the fields `THING_FIELDS`."""
    things = [thing for row in rows for thing in row]
    values = {name: [getattr(thing, name) for thing in things] for name in THING_FIELDS}
    columns = [
        pa.array(values["id"], pa.int32()),
        pa.array(values["name"], pa.string()),
        pa.array(values["group"], pa.uint8()),
        _fixed_size_lists(np.asarray(values["position"], np.float32).reshape(-1, 3), np.float32),
        _fixed_size_lists(np.asarray(values["velocity"], np.float32).reshape(-1, 3), np.float32),
        _fixed_size_lists(np.asarray(values["box"], np.int16).reshape(-1, 4), np.int16),
    ]
    offsets = np.r_[0, np.cumsum([len(row) for row in rows])]
    structs = pa.StructArray.from_arrays(columns, names=list(THING_FIELDS))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


@dataclass
class ShardWriter:
    """Collects the steps of whole episodes and writes them as one Parquet file, complete or not at all."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    objects: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in OBJECT_FIELDS})
    offsets: list[int] = field(default_factory=lambda: [0])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def add(self, labels: Iterable[Any], **row: Any) -> None:
        """Add one step; `labels` are ViZDoom's visible objects, `row` the other columns."""
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)
        for label in labels:
            self.objects["name"].append(label.object_name)
            self.objects["category"].append(label.object_category)
            self.objects["box"].append((label.x, label.y, label.width, label.height))
            position = (label.object_position_x, label.object_position_y, label.object_position_z)
            self.objects["position"].append(position)
        self.offsets.append(len(self.objects["name"]))

    def table(self) -> pa.Table:
        """The steps so far as an Arrow table."""
        boxes = np.asarray(self.objects["box"], np.int16).reshape(-1, 4)
        positions = np.asarray(self.objects["position"], np.float32).reshape(-1, 3)
        objects = pa.StructArray.from_arrays(
            [
                pa.array(self.objects["name"], pa.string()),
                pa.array(self.objects["category"], pa.string()),
                _fixed_size_lists(boxes, np.int16),
                _fixed_size_lists(positions, np.float32),
            ],
            names=list(OBJECT_FIELDS),
        )
        arrays = {name: _column(name, values) for name, values in self.columns.items()}
        arrays["objects"] = pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), objects)
        return pa.table(arrays)

    def write(self, path: Path, scenario: str, place: str, origin: Origin) -> None:
        """Write to a temporary name, flush to the disk, then rename.

        Args:
            path: the shard.
            scenario: name of the scenario.
            place: `Scenario.place`: the scenario, with its map and WAD in free play; of a video whose map is not known,
                the scenario and "footage".
            origin: where its frames come from.

        Raises:
            OSError: if the disk is full or not writable; the message names the file, and no partial file stays.
        """
        about = {
            "format_version": FORMAT_VERSION,
            "scenario": scenario,
            "place": place,
            **asdict(origin),
            "frame": {"codec": "lz4_raw", "shape": FRAME_SHAPE, "dtype": "uint8", "order": "RGB"},
            "buttons": BUTTONS,
            "variables": VARIABLES,
        }
        _write_table(self.table(), about, path)


def state_origin(path: Path, origin: Origin) -> None:
    """Let a shard that is written say where its frames come from, if it says anything else.

    Raises:
        OSError: as for `ShardWriter.write`.
    """
    about = json.loads(pq.read_schema(path).metadata[METADATA])
    if about | asdict(origin) != about:
        _write_table(pq.read_table(path), about | asdict(origin), path)


def _write_table(table: pa.Table, about: dict[str, Any], path: Path) -> None:
    """Write a shard and what it says of itself, whole or not at all."""
    temporary = path.with_suffix(".partial")
    try:
        with open(temporary, "wb") as file:
            # Frames are compressed already and the rest is small; looking for duplicates among frames took a tenth
            # of the time of collecting.
            options = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
            table = table.replace_schema_metadata({METADATA: json.dumps(about)})
            pq.write_table(table, file, compression="NONE", **options)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"could not write {path}: {error.strerror or error}. Finished shards are untouched; free some space "
            "and run the same command again to go on",
        ) from error
