"""Reading the dataset: the shards of `doom_dream_env.game.recording`, all together in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from doom_dream_env.errors import UserError
from doom_dream_env.game.recording import FORMAT_VERSION, METADATA, decompress_frame, origin_of
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, VARIABLES, get_scenario
from doom_dream_env.world_model.origins import Origin
from training.data.annotations import PROJECTILE, Objects, nearest_object, object_maps, under_crosshair
from training.data.shard_checks import check_metadata, check_rows

SCRIPTED = ("scripted", "perturbed")  # behaviours of the players that see more than a frame shows


def read_shard(path: Path, scenario: str | None = None) -> pa.Table:
    """Read one shard and check what it holds.

    Args:
        path: the file.
        scenario: whose data it must be; None: any.

    Raises:
        ValueError: if the file is damaged, of another scenario or format version, or holds what no game gives; the
            message names the file.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about = shard_metadata(table)
        version = about["format_version"]
        if version == FORMAT_VERSION:
            check_metadata(about, scenario)
            check_rows(table)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it and run the collector again to make it anew"
        ) from error
    if version != FORMAT_VERSION:
        raise UserError(f"{path} has format version {version}, this code reads {FORMAT_VERSION}; collect it anew")
    return table


def shard_metadata(table: pa.Table) -> dict[str, Any]:
    """What a shard says of itself: scenario, place, format version.

    Raises:
        KeyError: if it says nothing.
    """
    metadata: dict[str, Any] = json.loads((table.schema.metadata or {})[METADATA])
    return metadata


class Dataset:
    """All steps of some scenarios and one split in memory, frames still compressed (or left on the disk).

    Attributes (N rows, V variables):
        scenarios: the scenarios, and `names` their names, in the order asked for.
        shards: the shards' names, in the order of the rows, and `files` the files themselves.
        origins: whose frames they are, shard by shard.
        begins: first row of each shard, and the number of rows.
        places: names of all places (`Scenario.place`: a scenario, or one of its maps).
        scenario: index into `names`, (N,).
        place: index into `places`, (N,).
        place_names: the place itself, strings (N,).
        first, last: first and last recorded row of the row's episode, (N,).
        elapsed: steps since the episode began, (N,).
        actions: buttons pressed after the frame, uint8 (N, 9).
        rewards, terminated, truncated: what that step returned, (N,).
        variables, next_variables: game variables before and after it, (N, V).
        pose: x, y, z and angle of the player, (N, 4).
        object_maps: uint8 (N, 3, 12, 16).
        projectile: sideways offset and height of the nearest projectile, NaN without one, (N, 2).
        crosshair: is a monster under it? (N,).
        behaviour: who played, strings (N,).
        confidence: how likely the whole action is right, (N,); 1 in collected play, less in what was read off videos.
        variables_confidence: the same of each variable, before and after the step, (N, V).
        outcome_confidence: the same of reward and termination, (N,).
        annotated: whether the game said pose and objects, bool (N,); where not, those arrays say nothing.
    """

    scenario: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    place_names: npt.NDArray[np.str_]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    elapsed: npt.NDArray[np.int64]
    actions: npt.NDArray[np.uint8]
    rewards: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    variables: npt.NDArray[np.float32]
    next_variables: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]
    object_maps: npt.NDArray[np.uint8]
    projectile: npt.NDArray[np.float32]
    crosshair: npt.NDArray[np.bool_]
    behaviour: npt.NDArray[np.str_]
    confidence: npt.NDArray[np.float32]
    variables_confidence: npt.NDArray[np.float32]
    outcome_confidence: npt.NDArray[np.float32]
    annotated: npt.NDArray[np.bool_]

    def __init__(
        self,
        root: Path,
        scenarios: Sequence[str],
        split: str = "train",
        limit: int | None = None,
        keep_frames: bool = True,
    ) -> None:
        """Load one split of some scenarios.

        Args:
            root: folder of the dataset.
            scenarios: their names, or paths of configurations.
            split: "train", "val" or "test".
            limit: stop after the shard that reaches so many rows of a scenario; None: read all.
            keep_frames: hold the compressed frames (20 kB of memory a row); otherwise `frames` reads the shards it
                needs again.

        Raises:
            FileNotFoundError: if a scenario has no shard; the message gives the command that makes some.
            ValueError: if a shard is damaged.
        """
        self.scenarios = [get_scenario(name) for name in scenarios]
        self.names = [scenario.name for scenario in self.scenarios]
        self.shards: list[str] = []
        self.files: list[Path] = []
        self.origins: list[Origin] = []
        self.begins = [0]
        self._frames: list[pa.LargeBinaryArray | None] = []
        columns: list[dict[str, npt.NDArray[Any]]] = []
        for index, name in enumerate(self.names):
            rows = 0
            for file in shard_files(Path(root), name, split):
                table = read_shard(file, name)
                columns.append(shard_columns(table, index, self.begins[-1]))
                self.shards.append(f"{name}/{file.stem}")
                self.files.append(file)
                self.origins.append(origin_of(table.schema))
                self._frames.append(table["frame"].combine_chunks() if keep_frames else None)
                self.begins.append(self.begins[-1] + len(table))
                rows += len(table)
                if limit is not None and rows >= limit:
                    break
        for key in columns[0]:
            setattr(self, key, np.concatenate([part[key] for part in columns]))
        places, self.place = np.unique(self.place_names, return_inverse=True)
        self.places: list[str] = places.tolist()

    def __len__(self) -> int:
        return self.begins[-1]

    def count_places_as(self, places: Sequence[str]) -> None:
        """Let `place` index `places` instead: a limited or newer dataset need not have the same maps.

        Raises:
            ValueError: if the data have a place that is not among them.
        """
        unknown = {self.places[index] for index in np.unique(self.place)} - set(places)
        if unknown:
            raise UserError(
                f"the data have {', '.join(sorted(unknown))}, which the run did not begin with; "
                "start a new one with --out"
            )
        order = {name: index for index, name in enumerate(places)}
        self.place = np.array([order.get(name, -1) for name in self.places])[self.place]
        self.places = list(places)

    def require_annotations(self, purpose: str) -> None:
        """Refuse to go on with rows that were read off videos.

        Args:
            purpose: what needs to know what the game knew, as the subject of a sentence.

        Raises:
            ValueError: if there are such rows; the message names the first shard with some.
        """
        for shard, rows in self.shard_rows():
            if not self.annotated[rows].all():
                raise UserError(
                    f"{purpose} needs what only the game knows, and {shard} was labelled from a video; give data of "
                    "`python -m training collect`"
                )

    def beginnings(self) -> npt.NDArray[np.bool_]:
        """Rows that dreams can begin from as episodes do, (N,).

        First rows of episodes; in a place that was seen only in videos, which do not say when an episode began, the
        first rows of its uncut stretches.
        """
        begins = self.elapsed == 0
        with_some = np.zeros(len(self.places), bool)
        with_some[self.place[begins]] = True
        return begins | (~with_some[self.place] & (np.arange(len(self)) == self.first))

    def known(self, variable: int) -> npt.NDArray[np.bool_]:
        """Which rows are of a scenario that has the variable, (N,)."""
        return np.array([scenario.variable_mask()[variable] for scenario in self.scenarios])[self.scenario]

    def frames(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Decode the frames of the given rows, uint8 (*rows.shape, 120, 160, 3)."""
        rows = np.asarray(rows)
        flat = rows.reshape(-1)
        out = np.empty((len(flat), *FRAME_SHAPE), np.uint8)
        shards = np.searchsorted(self.begins, flat, "right") - 1
        for shard in np.unique(shards):
            frames = self._frames[shard]
            if frames is None:
                frames = read_shard(self.files[shard])["frame"].combine_chunks()
            for i in np.flatnonzero(shards == shard):
                blob = frames[int(flat[i] - self.begins[shard])].as_buffer()
                try:
                    out[i] = decompress_frame(blob)
                except (pa.ArrowException, OSError, ValueError) as error:
                    raise UserError(
                        f"{self.files[shard]} is damaged (a frame: {error}); delete it and collect it anew"
                    ) from error
        return out.reshape(*rows.shape, *FRAME_SHAPE)

    def shard_rows(self) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Every shard's name and its rows."""
        for name, first, end in zip(self.shards, self.begins[:-1], self.begins[1:], strict=True):
            yield name, np.arange(first, end)

    def windows(self, length: int) -> npt.NDArray[np.int64]:
        """Rows at which a window of `length` steps of one episode begins (short episodes give none)."""
        rows = np.arange(len(self))
        return rows[rows + length - 1 <= self.last]


def shard_files(root: Path, name: str, split: str) -> list[Path]:
    """A scenario's shards of a split, map by map within each number.

    Raises:
        FileNotFoundError: if there is none; the message gives the command that makes some.
    """
    files = sorted((root / name).glob(f"{split}-*.parquet"), key=lambda file: (file.stem.rsplit("-")[-1], file.stem))
    if not files:
        raise FileNotFoundError(
            f"no {split} data of {name} in {root}; "
            f"run: python -m training collect --out {root} --scenarios {name} --split {split}"
        )
    return files


def shard_columns(table: pa.Table, scenario: int, base: int) -> dict[str, npt.NDArray[Any]]:
    """The columns of one shard as the attributes of `Dataset`.

    Args:
        table: the shard.
        scenario: index of its scenario.
        base: row of the dataset at which it begins.
    """
    objects = Objects.of(table)
    episode = table["episode"].to_numpy()
    edges = np.flatnonzero(np.r_[True, episode[1:] != episode[:-1], True])
    lengths = np.diff(edges)
    return {
        "scenario": np.full(len(table), scenario, np.int64),
        "place_names": np.full(len(table), shard_metadata(table)["place"]),
        "first": np.repeat(base + edges[:-1], lengths),
        "last": np.repeat(base + edges[1:] - 1, lengths),
        "elapsed": table["elapsed"].to_numpy(),
        "actions": _matrix(table["action"], len(BUTTONS)),
        "rewards": table["reward"].to_numpy().astype(np.float32),
        "terminated": table["terminated"].to_numpy(),
        "truncated": table["truncated"].to_numpy(),
        "variables": _matrix(table["variables"], len(VARIABLES)),
        "next_variables": _matrix(table["next_variables"], len(VARIABLES)),
        "pose": _matrix(table["pose"], 4),
        "object_maps": object_maps(objects),
        "projectile": nearest_object(objects, PROJECTILE),
        "crosshair": under_crosshair(objects),
        "behaviour": np.array(table["behaviour"].to_pylist()),
        **soft_columns(table),
    }


def soft_columns(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    """How sure the rows of a shard are: of collected play, in which nothing is in doubt, entirely."""
    rows = len(table)
    if "annotated" not in table.column_names:
        return {
            "confidence": np.ones(rows, np.float32),
            "variables_confidence": np.ones((rows, len(VARIABLES)), np.float32),
            "outcome_confidence": np.ones(rows, np.float32),
            "annotated": np.ones(rows, bool),
        }
    return {
        "confidence": table["confidence"].to_numpy(),
        "variables_confidence": _matrix(table["variables_confidence"], len(VARIABLES)),
        "outcome_confidence": table["outcome_confidence"].to_numpy(),
        "annotated": table["annotated"].to_numpy(),
    }


def _matrix(column: pa.ChunkedArray, width: int) -> npt.NDArray[Any]:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
