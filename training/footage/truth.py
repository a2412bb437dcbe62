"""What the maker of a film knows of it: keys, play, health and deaths of every tic, in a file beside the film.

Nothing that labels a video reads such a file. It is for scoring labels, and for training on films of the split train.
The file is Parquet, `NAME.keys.parquet` beside `NAME.mp4`, one row for each tic of the film (1/35 s).

Legend: N tics of a film, T steps of it (4 tics each).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS, Buttons, Scenario

FORMAT_VERSION = 1
METADATA = b"doom_dream_env_film"
SUFFIX = ".keys.parquet"
TICS = Scenario.frame_skip  # of a step


def keys_file(film: Path) -> Path:
    """The file that knows what was pressed in a film."""
    return film.with_name(film.stem + SUFFIX)


@dataclass(frozen=True)
class Truth:
    """What happened in a film, by tic or by step.

    Attributes (N tics or T steps):
        actions: buttons pressed after the frame, uint8 (N, 9); none outside play.
        play: whether the frame shows play, bool (N,).
        health: of the player, float32 (N,); NaN outside play.
        died: whether the player died right after the frame, bool (N,).
        episode: number of the episode, in the film, that the frame belongs to or follows, (N,).
        scene: what the frame shows: play, or the name of an interlude; strings (N,).
    """

    actions: npt.NDArray[np.uint8]
    play: npt.NDArray[np.bool_]
    health: npt.NDArray[np.float32]
    died: npt.NDArray[np.bool_]
    episode: npt.NDArray[np.int32]
    scene: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.play)

    def by_steps(self) -> Truth:
        """Tics as the steps of a dataset: T = N // 4, the frame is that of a step's first tic.

        A button counts as pressed in a step if it was in two of its tics or more.
        """
        whole = len(self) // TICS * TICS

        def steps(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return values[:whole].reshape(-1, TICS, *values.shape[1:])

        return Truth(
            actions=(2 * steps(self.actions).sum(1) >= TICS).astype(np.uint8),
            play=self.play[:whole:TICS],
            health=self.health[:whole:TICS],
            died=np.asarray(steps(self.died).any(1)),
            episode=self.episode[:whole:TICS],
            scene=self.scene[:whole:TICS],
        )


@dataclass
class TruthWriter:
    """Collects the tics of a film.

    Attributes:
        columns: by the names in `Truth`.
        episode: number of the episode that is filmed.
    """

    episode: int = 0
    columns: dict[str, list[Any]] = field(default_factory=lambda: {part.name: [] for part in fields(Truth)})

    def __len__(self) -> int:
        return len(self.columns["play"])

    def add(self, action: Buttons, scene: str, health: float = float("nan"), died: bool = False) -> None:
        """Add one tic; `scene` is "play" or the name of an interlude."""
        row = {"actions": action, "play": scene == "play", "health": health, "died": died}
        row |= {"episode": self.episode, "scene": scene}
        for name, value in row.items():
            self.columns[name].append(value)

    def write(self, path: Path, about: dict[str, Any]) -> None:
        """Write the file, whole or not at all.

        Args:
            path: see `keys_file`.
            about: what the file says of the film, as JSON in its metadata.
        """
        flat = np.asarray(self.columns["actions"], np.uint8).reshape(-1)
        table = pa.table(
            {
                "tic": pa.array(range(len(self)), pa.int32()),
                "actions": pa.FixedSizeListArray.from_arrays(pa.array(flat), len(BUTTONS)),
                "play": pa.array(self.columns["play"], pa.bool_()),
                "health": pa.array(np.asarray(self.columns["health"], np.float32)),
                "died": pa.array(self.columns["died"], pa.bool_()),
                "episode": pa.array(self.columns["episode"], pa.int32()),
                "scene": pa.array(self.columns["scene"], pa.string()),
            }
        )
        said = {"format_version": FORMAT_VERSION, "buttons": BUTTONS, **about}
        temporary = path.with_name(path.name + ".partial")
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(said)}), temporary, compression="zstd")
        os.replace(temporary, path)


def read_truth(path: Path) -> tuple[Truth, dict[str, Any]]:
    """What happened in a film, tic by tic, and what the file says of the film.

    Args:
        path: see `keys_file`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or of another format version; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: only films of `python -m training film` come with one")
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[METADATA])
        if about["format_version"] != FORMAT_VERSION or about["buttons"] != list(BUTTONS):
            raise UserError(f"it has format version {about['format_version']}, this code reads {FORMAT_VERSION}")
        truth = Truth(
            actions=table["actions"].combine_chunks().flatten().to_numpy().reshape(-1, len(BUTTONS)),
            play=table["play"].to_numpy(),
            health=table["health"].to_numpy(),
            died=table["died"].to_numpy(),
            episode=table["episode"].to_numpy(),
            scene=np.array(table["scene"].to_pylist(), np.str_),
        )
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and its film, and film again") from error
    return truth, about
