"""What an inverse dynamics model reads off gameplay pictures, and the words for keys that it uses.

Opposite keys cancel each other in DOOM, so the model speaks of six *chains* instead of nine keys: three pairs of
opposite keys, of each of which one at most counts (ternaries), and three keys of their own (bits).

Legend: T steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from doom_dream_env.scenarios import BITS, BUTTONS, PAIRS

CHAINS = ("move", "strafe", "turn", *(name.lower() for name in BITS))
SPEED = BUTTONS.index("SPEED")
MOVING = tuple(BUTTONS.index(name) for pair in PAIRS for name in pair)  # the keys that SPEED changes
HEALTH_SCALE = 100.0
GREATEST_HEALTH = 200.0

_PLACES = {key: (chain, value) for chain, pair in enumerate(PAIRS) for value, key in enumerate(pair, start=1)}
_PLACES |= {key: (chain, 1) for chain, key in enumerate(BITS, start=len(PAIRS))}
CHAIN_OF_KEY, VALUE_OF_KEY = np.array([_PLACES[key] for key in BUTTONS]).T
"""Of each of the nine keys, its chain, and the value that the chain has while it is pressed."""

Keys = npt.NDArray[np.uint8]
Chains = npt.NDArray[np.int64]


def to_chains(actions: npt.ArrayLike) -> Chains:
    """Buttons (..., 9) as chains (..., 6): of a pair 0 neither or both, 1 the first, 2 the second; of a bit 0 or 1."""
    pressed = np.asarray(actions).astype(bool)
    columns = []
    for pair in PAIRS:
        first, second = (pressed[..., BUTTONS.index(name)] for name in pair)
        columns.append(np.where(first == second, 0, np.where(first, 1, 2)))
    columns += [pressed[..., BUTTONS.index(name)].astype(np.int64) for name in BITS]
    return np.stack(columns, -1).astype(np.int64)


def from_chains(chains: npt.ArrayLike) -> Keys:
    """Chains (..., 6) as buttons, uint8 (..., 9)."""
    return (np.asarray(chains)[..., CHAIN_OF_KEY] == VALUE_OF_KEY).astype(np.uint8)


def effective(actions: npt.ArrayLike) -> Keys:
    """The keys of (..., 9) that change anything: opposite keys cancel, and SPEED counts with a move or a turn only."""
    keys = from_chains(to_chains(actions))
    keys[..., SPEED] &= keys[..., MOVING].any(-1)
    return keys


@dataclass(frozen=True)
class Labels:
    """What the model says of T frames.

    Attributes:
        actions: keys held between each frame and the next one, 0/1, uint8 (T, 9).
        confidence: probability that each of them is right, float32 (T, 9).
        play: probability that the frame shows play, and not a menu, an intermission or a film, float32 (T,).
        health: 0 to 200, read off the picture; NaN where it cannot be read, float32 (T,).
        health_confidence: probability that it is right within 10, float32 (T,).
        died: probability that the player dies in this step, float32 (T,).
    """

    actions: Keys
    confidence: npt.NDArray[np.float32]
    play: npt.NDArray[np.float32]
    health: npt.NDArray[np.float32]
    health_confidence: npt.NDArray[np.float32]
    died: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.actions)

    def part(self, begin: int, end: int) -> Labels:
        """The labels of steps `begin` to `end`."""
        return Labels(**{name.name: getattr(self, name.name)[begin:end] for name in dataclasses.fields(self)})

    @staticmethod
    def joined(parts: Sequence[Labels]) -> Labels:
        """Labels of frames that follow each other; of none, labels of no step."""
        if not parts:
            none = np.zeros(0, np.float32)
            wide = np.zeros((0, len(BUTTONS)))
            return Labels(wide.astype(np.uint8), wide.astype(np.float32), none, none, none, none)
        names = [field.name for field in dataclasses.fields(Labels)]
        return Labels(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
