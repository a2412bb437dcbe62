"""Films whose keys are known, for the inverse dynamics model: windows to train on, whole films to be scored on.

A film is read as any video is (`training.footage.video`), step by step; what was pressed comes from the file beside it
(`training.footage.truth`).

Legend: T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from doom_dream_env.errors import UserError
from doom_dream_env.game.recording import compress_frame, decompress_frame
from doom_dream_env.progress import progress
from training.data.key_windows import HEALTH_UNIT, KeyWindow
from training.footage.truth import Truth, keys_file, read_truth
from training.footage.video import Video, find_videos


@dataclass(frozen=True)
class KnownFilm:
    """A film and what was pressed in it.

    Attributes:
        about: what its maker says of it: map, player, look and more.
        truth: keys, play, health and deaths of its T steps.
        frames: what is seen at each step, compressed.
    """

    about: dict[str, object]
    truth: Truth
    frames: list[pa.Buffer]

    def __len__(self) -> int:
        return len(self.frames)

    def window(self, begin: int, end: int) -> KeyWindow:
        """Steps `begin` to `end`; how the player moved is not known of films."""
        truth = self.truth
        return KeyWindow(
            frames=np.stack([decompress_frame(block) for block in self.frames[begin:end]]),
            actions=truth.actions[begin:end],
            motion=np.full((end - begin, 3), np.nan, np.float32),
            health=truth.health[begin:end] / HEALTH_UNIT,
            died=truth.died[begin:end].astype(np.float32),
            play=truth.play[begin:end].astype(np.float32),
        )


def known_films(folder: Path) -> Iterator[KnownFilm]:
    """Every film of a folder.

    Raises:
        FileNotFoundError: if it holds no film, or one without its keys.
        ValueError: if a film or the file with its keys is damaged.
    """
    for path in progress(find_videos([folder]), desc="read films", unit="film"):
        truth, about = read_truth(keys_file(path))
        by_steps = truth.by_steps()
        # A film may be read as a step shorter or longer than it was made.
        frames = [
            pa.py_buffer(compress_frame(step.frame))
            for step, _ in zip(Video(path).steps(), by_steps.play, strict=False)
        ]
        whole = len(frames)
        yield KnownFilm(about, Truth(**{name: values[:whole] for name, values in vars(by_steps).items()}), frames)


class FilmWindows:
    """Cuts windows from films.

    Args:
        folder: of the films.
        length: T.

    Raises:
        ValueError: if no film is so long.
    """

    def __init__(self, folder: Path, length: int) -> None:
        self.films = [film for film in known_films(folder) if len(film) >= length]
        self.length = length
        if not self.films:
            raise UserError(f"no film in {folder} has {length} steps")

    def draw(self, count: int, rng: np.random.Generator) -> list[KeyWindow]:
        """Draw windows, from each film as often."""
        windows = []
        for _ in range(count):
            film = self.films[int(rng.integers(len(self.films)))]
            begin = int(rng.integers(len(film) - self.length + 1))
            windows.append(film.window(begin, begin + self.length))
        return windows
