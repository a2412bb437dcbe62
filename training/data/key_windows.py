"""Windows of recorded frames with the keys pressed in them, for the inverse dynamics model.

A film's frames do not fall on the steps of a recording: at 30 frames a second, sampled 8.75 times, a frame shows any of
the four tics of a step. Where a recording has the frames of all tics, some windows are cut at another phase, with the
jitter of such a frame rate; their keys are those held for most of each interval.

Legend: B windows, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from doom_dream_env.errors import UserError
from doom_dream_env.game.recording import decompress_frame
from doom_dream_env.scenarios import VARIABLES
from training.data.dataset import Dataset
from training.data.own_motion import Floats, barred, own_motion

TICS = 4  # of a step
HEALTH = VARIABLES.index("HEALTH")
HEALTH_UNIT = 100.0


@dataclass(frozen=True)
class KeyWindow:
    """One window of T steps.

    Attributes:
        frames: uint8 (T, 120, 160, 3).
        actions: keys between each frame and the next one, uint8 (T, 9).
        motion: turn to the left, way forward and to the left in that time, in `training.data.own_motion.UNITS`, NaN
            where it is not known, (T, 3).
        health: at each frame, in units of 100, (T,).
        died: did the player die in this step? 0/1, (T,).
        play: is the frame play? 0/1, (T,).
    """

    frames: npt.NDArray[np.uint8]
    actions: npt.NDArray[np.uint8]
    motion: Floats
    health: Floats
    died: Floats
    play: Floats


class KeyWindows:
    """Cuts windows from a dataset.

    Args:
        data: recorded steps.
        length: T.
        between_share: of the windows of recordings with all tics that are cut at another phase.
        without: maps and players that are left out; a star stands for anything: "MAP*".

    Raises:
        ValueError: if nothing is left.
    """

    def __init__(self, data: Dataset, length: int, between_share: float = 0.0, without: Sequence[str] = ()) -> None:
        self.data = data
        self.length = length
        self.between_share = between_share
        self.motion = own_motion(data)
        starts = data.windows(length)
        self.starts = starts[~barred(data, without)[starts]]
        if not len(self.starts):
            raise UserError(f"no episode of {length} steps is left without {', '.join(without) or 'anything'}")
        self._tics = [_tics(file) for file in data.files] if between_share else [None] * len(data.shards)

    def draw(self, count: int, rng: np.random.Generator) -> list[KeyWindow]:
        """Draw windows."""
        return [self.window(int(row), rng) for row in rng.choice(self.starts, count)]

    def window(self, row: int, rng: np.random.Generator | None = None) -> KeyWindow:
        """The window that begins at a row; with random numbers, maybe at another phase."""
        data = self.data
        rows = np.arange(row, row + self.length)
        shard = int(np.searchsorted(data.begins, row, "right")) - 1
        tics = self._tics[shard]
        phase = 0
        # Past the last row of an episode there is no next one to share an interval with.
        if rng is not None and tics is not None and rows[-1] < data.last[row] and rng.random() < self.between_share:
            phase = int(rng.integers(TICS))
            late = rng.integers(2, size=self.length) if rng.random() < 0.5 else np.zeros(self.length, int)
            at = zip(rows, phase - late, strict=True)
            frames = np.stack([self._between(tics, data.begins[shard], int(step), int(tic)) for step, tic in at])
        else:
            frames = data.frames(rows)
        share = phase / TICS  # of the interval that lies in the next step
        following = np.minimum(rows + 1, data.last[row])
        return KeyWindow(
            frames=frames,
            actions=data.actions[following if share > 0.5 else rows],
            motion=((1 - share) * self.motion[rows] + share * self.motion[following]).astype(np.float32),
            health=data.variables[rows, HEALTH] / HEALTH_UNIT,
            died=(data.terminated[rows] & (data.next_variables[rows, HEALTH] <= 0)).astype(np.float32),
            play=np.ones(self.length, np.float32),
        )

    def _between(self, tics: pa.ListArray, first: int, row: int, phase: int) -> npt.NDArray[np.uint8]:
        """The frame so many tics after (or one before) that of a row."""
        if phase < 0 and row > self.data.first[row]:
            row -= 1
            phase += TICS
        if phase <= 0:
            return self.data.frames([row])[0]
        return decompress_frame(tics[row - first].values[phase - 1].as_buffer())


def _tics(file: Path) -> pa.ListArray | None:
    """The frames between the steps of a shard, or None if it has none."""
    if "tics" not in pq.read_schema(file).names:
        return None
    return pq.read_table(file, columns=["tics"])["tics"].combine_chunks()
