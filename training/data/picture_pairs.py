"""What the decoder learns from: pairs of successive moments, each a state and the frame that it should become.

Legend: P pairs of a step, N = 2·P pictures of them (a pair's two in a row), M dreamed pairs, D state width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.scenarios import VARIABLES
from training.config import DecoderConfig
from training.data.batch import Rows, rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.ranks import Share

AMMUNITION = (VARIABLES.index("AMMO2"), VARIABLES.index("SELECTED_WEAPON_AMMO"))
SHOT_LASTS = 3  # steps up to the one in which the ammunition falls: in them the shot goes off or is about to


@dataclass(frozen=True)
class PictureBatch:
    """The pictures of one optimiser step.

    Attributes:
        z: states, (N, D).
        frames: what the pictures should be, uint8 (N, 120, 160, 3).
        object_maps: 0/1 as float32 (N, 3, 12, 16).
        real: 1 where the state is a frame's own and 0 where it was dreamed, (N, 1).
    """

    z: Tensor
    frames: Tensor
    object_maps: Tensor
    real: Tensor

    def to(self, device: torch.device) -> PictureBatch:
        """Copy to a device."""
        return PictureBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class DreamedPairs:
    """Moments of dreams that run beside a real game.

    Attributes:
        rows: of the real moments, (M, 2).
        states: dreamed for them, (M, 2, D).
    """

    rows: Rows
    states: Tensor


class PairSampler:
    """Draws the pairs of a step, some of them dreamed.

    Frames with projectiles and monsters are drawn as they come: half of all frames have some. Shots are rare in some
    scenarios (one in an episode), so a share of the pairs is drawn from those that show one.
    """

    def __init__(self, data: Dataset, states: Tensor, dreams: DreamedPairs | None, config: DecoderConfig) -> None:
        """Prepare to draw from the rows of the data, with states (N of the data, D), and from dreams."""
        self.data = data
        self.states = states
        self.dreams = dreams
        self.shot_share = config.shot_share
        self.pairs = max(config.batch // 2, 1)
        self.dreamed = int(config.dream_share * self.pairs) if dreams else 0
        shots = shot_rows(data)
        self.groups = rows_by_scenario(data, data.windows(2))
        self.shots = [group for group in rows_by_scenario(data, shots) if len(group)]
        self.dreamed_shots = np.flatnonzero(np.isin(dreams.rows[:, 0], shots)) if dreams else np.zeros(0, int)

    def __call__(self, rng: np.random.Generator, share: Share | None = None) -> PictureBatch:
        """Draw the pairs of a step, and cut out a rank's share of them; None: all.

        Their order is random, because the perceptual network sees a few of them alone.
        """
        dreamed = rng.integers(len(self.dreams.rows), size=self.dreamed) if self.dreams else np.zeros(0, int)
        first = sample_rows(self.groups, self.pairs - len(dreamed), rng)
        self._replace_by_shots(dreamed, [self.dreamed_shots] if len(self.dreamed_shots) else [], rng)
        self._replace_by_shots(first, self.shots, rng)
        rows = np.stack([first, first + 1], 1)  # P, 2
        z = self.states[rows]  # P, 2, D
        if self.dreams:
            rows = np.concatenate([self.dreams.rows[dreamed], rows])
            z = torch.cat([self.dreams.states[dreamed], z])
        order = rng.permutation(self.pairs)[share.slice if share else slice(None)]
        at = rows[order].ravel()
        real = np.repeat(order >= len(dreamed), 2)[:, None]
        return PictureBatch(
            z=z[torch.from_numpy(order)].flatten(0, 1).float(),
            frames=torch.from_numpy(self.data.frames(at)),
            object_maps=torch.from_numpy(self.data.object_maps[at]).float(),
            real=torch.from_numpy(real).float(),
        )

    def _replace_by_shots(self, drawn: Rows, shots: list[Rows], rng: np.random.Generator) -> None:
        """Replace a share of what was drawn, in place, by what shows a shot, if anything does."""
        replaced = np.flatnonzero(rng.random(len(drawn)) < self.shot_share)
        if shots:
            drawn[replaced] = sample_rows(shots, len(replaced), rng)


def shot_rows(data: Dataset) -> Rows:
    """Rows from which on a pair of moments shows a shot: the ammunition falls within `SHOT_LASTS` steps."""
    pairs = data.windows(2)
    ammunition = data.variables[:, AMMUNITION]
    fired = pairs[(ammunition[pairs + 1] < ammunition[pairs]).any(1)]
    before = np.maximum(fired[:, None] - np.arange(SHOT_LASTS), 0)
    same_episode = data.last[before] == data.last[fired][:, None]
    return np.unique(before[same_episode])
