"""The player's own motion, from the poses of a recording, and windows of it without any picture.

Keys move the player, and he goes on moving a little without them. That can be learned from recorded motion alone, at a
twentieth of what pictures cost.

Legend: N rows of a dataset, B windows, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

import numpy as np
import numpy.typing as npt

from doom_dream_env.scenarios import BUTTONS, SCENARIOS
from training.data.dataset import Dataset

# What turn to the left, way forward and way to the left are measured in: a step of turning is 14 degrees, a step of
# walking 33 map units.
UNITS = (14.0, 33.0, 33.0)
FARTHEST = 120.0  # map units; a greater step is a teleporter
FULL_TURN = 360.0
TICS = SCENARIOS["freedoom"].frame_skip

# The same in a mirror.
MIRRORED_MOTION = np.array([-1, 1, -1], np.float32)
MIRRORED_KEYS = tuple(
    BUTTONS.index(name.replace("LEFT", "?").replace("RIGHT", "LEFT").replace("?", "RIGHT")) for name in BUTTONS
)

Floats = npt.NDArray[np.float32]


def own_motion(data: Dataset) -> Floats:
    """How the player moves in each step, in `UNITS`: turn to the left, way forward and to the left; (N, 3).

    In the player's own frame, halfway through the turn. NaN in the last step of an episode and through teleporters.
    """
    rows = np.arange(len(data))
    here = data.pose
    there = data.pose[np.minimum(rows + 1, len(data) - 1)]
    turn = (there[:, 3] - here[:, 3] + FULL_TURN / 2) % FULL_TURN - FULL_TURN / 2
    angle = np.radians(here[:, 3] + turn / 2)
    x, y = (there - here)[:, :2].T
    motion = np.stack([turn, x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)], 1)
    unknown = (rows == data.last) | (np.hypot(x, y) > FARTHEST)
    return np.where(unknown[:, None], np.nan, motion / UNITS).astype(np.float32)


def barred(data: Dataset, without: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which rows are of these maps or players, (N,); a star stands for anything."""

    def matching(names: npt.NDArray[np.str_]) -> list[str]:
        return [name for name in np.unique(names) if any(fnmatch(name.split(":")[-1], bar) for bar in without)]

    places = np.isin(data.place_names, matching(data.place_names))
    return places | np.isin(data.behaviour, matching(data.behaviour))


class MotionWindows:
    """Windows of motion with the keys that made it: with noise, at any phase of the steps, half of them mirrored.

    Args:
        data: recorded steps.
        length: T.
        noise: least and greatest standard deviation, in `UNITS`; one is drawn for each window. A network that looks at
            pictures errs about as much.
        without: as for `barred`.
    """

    def __init__(self, data: Dataset, length: int, noise: tuple[float, float], without: Sequence[str] = ()) -> None:
        self.data = data
        self.length = length
        self.noise = noise
        self.motion = own_motion(data)
        starts = data.windows(length)
        self.starts = starts[~barred(data, without)[starts]]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Draw windows: motion (B, T, 3), keys (B, T, 9)."""
        rows = rng.choice(self.starts, (count, 1)) + np.arange(self.length)
        following = np.minimum(rows + 1, self.data.last[rows])
        share = rng.integers(TICS, size=(count, 1, 1)) / TICS  # of each interval that lies in the next step
        motion = np.nan_to_num((1 - share) * self.motion[rows] + share * self.motion[following])
        actions = np.where(share > 0.5, self.data.actions[following], self.data.actions[rows])
        mirror = rng.random((count, 1, 1)) < 0.5
        motion = np.where(mirror, motion * MIRRORED_MOTION, motion)
        actions = np.where(mirror, actions[..., MIRRORED_KEYS], actions)
        least, greatest = np.log(self.noise)
        deviation = np.exp(rng.uniform(least, greatest, (count, 1, 1)))
        return (motion + deviation * rng.normal(size=motion.shape)).astype(np.float32), actions
