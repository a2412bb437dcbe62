"""How well keys were read: events, steps, and what somebody who reads nothing gets.

Most keys are held for many steps, so nearly all steps are right as soon as the last key is known. What counts are the
*events*: a key goes down, or up. All figures are of `effective` keys (`doom_dream_env.idm.labels`): opposite keys
cancel each other, and SPEED counts while something moves, in the truth and in what was read alike.

Legend: T steps, K keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from doom_dream_env.idm.labels import effective
from doom_dream_env.scenarios import BUTTONS

TOLERANCE = 1  # steps by which an event may be early or late
STALE = TOLERANCE + 1  # steps for which the persistence baseline is behind: one less would be within the tolerance
FEWEST = 20  # events that the test play must have of a key for its score to count
# USE is seen where something opens, and nowhere else. It is shown, and counted in no mean.
UNSEEN = ("USE",)

Keys = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeyScores:
    """Scores of some play.

    Attributes:
        steps: how many.
        f1: F1 of the events of each key, NaN without any, (9,).
        precision, recall: of the same, (9,).
        events: true events of each key, (9,).
        in_use: keys that count: with `FEWEST` events, and visible.
        mean_f1: over the keys in use.
        accuracy: share of the steps of which all visible keys are right.
        accuracy_of_all: share of the steps of which all nine keys are right, just as they were pressed.
        key_accuracy: share of the steps in which each key is right, (9,).
    """

    steps: int
    f1: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    events: Counts
    in_use: tuple[str, ...]
    mean_f1: float
    accuracy: float
    accuracy_of_all: float
    key_accuracy: npt.NDArray[np.float64]

    def to_dict(self) -> dict[str, object]:
        """Plain JSON-able form, by the names of the keys."""
        by_key = {
            name: {
                "events": int(self.events[index]),
                "f1": number(self.f1[index]),
                "precision": number(self.precision[index]),
                "recall": number(self.recall[index]),
                "accuracy": number(self.key_accuracy[index]),
            }
            for index, name in enumerate(BUTTONS)
        }
        return {
            "steps": self.steps,
            "event_f1": number(self.mean_f1),
            "accuracy": number(self.accuracy),
            "accuracy_of_all_nine": number(self.accuracy_of_all),
            "in_use": list(self.in_use),
            "keys": by_key,
        }


def number(value: float) -> float | None:
    """Rounded for a file; None where there is none."""
    return round(float(value), 4) if np.isfinite(value) else None


def key_scores(true: Sequence[Keys], read: Sequence[Keys]) -> KeyScores:
    """Compare the keys of some stretches of play.

    Args:
        true: what was pressed in each, (T, 9).
        read: what was read, of the same shapes.
    """
    counts = np.zeros((3, len(BUTTONS)), np.int64)
    for one, two in zip(true, read, strict=True):
        counts += match_events(effective(one), effective(two))
    found, real, claimed = counts
    with np.errstate(invalid="ignore"):
        f1 = np.where(real + claimed > 0, 2 * found / (real + claimed), np.nan)
        precision = found / claimed
        recall = found / real
    pressed = np.concatenate(list(true))
    guessed = np.concatenate(list(read))
    right = effective(pressed) == effective(guessed)
    visible = np.array([name not in UNSEEN for name in BUTTONS])
    counted = visible & (real >= FEWEST)
    return KeyScores(
        steps=len(pressed),
        f1=f1,
        precision=precision,
        recall=recall,
        events=real,
        in_use=tuple(name for name, counts_too in zip(BUTTONS, counted, strict=True) if counts_too),
        mean_f1=float(f1[counted].mean()) if counted.any() else float("nan"),
        accuracy=float(right[:, visible].all(1).mean()),
        accuracy_of_all=float((pressed == guessed).all(1).mean()),
        key_accuracy=right.mean(0),
    )


def match_events(true: Keys, read: Keys) -> Counts:
    """Events of one stretch: found, real and claimed ones of each key, (3, 9).

    A press is found by a press at most `TOLERANCE` steps away, a release by a release; each finds one.
    """
    change = np.diff(true.astype(np.int8), axis=0)
    claim = np.diff(read.astype(np.int8), axis=0)
    counts = np.zeros((3, true.shape[1]), np.int64)
    for key in range(true.shape[1]):
        for kind in (1, -1):
            real = np.flatnonzero(change[:, key] == kind)
            claimed = np.flatnonzero(claim[:, key] == kind)
            counts[:, key] += (paired(real, claimed), len(real), len(claimed))
    return counts


def paired(one: npt.NDArray[np.int64], two: npt.NDArray[np.int64]) -> int:
    """How many of two ascending lists of times can be paired, each used once, within the tolerance."""
    pairs = first = second = 0
    while first < len(one) and second < len(two):
        gap = one[first] - two[second]
        pairs += int(abs(gap) <= TOLERANCE)
        first += int(gap <= TOLERANCE)
        second += int(gap >= -TOLERANCE)
    return pairs


def persistence(true: Sequence[Keys]) -> list[Keys]:
    """What somebody says who reads nothing but is told the true keys of two steps ago, which he takes to be held."""
    return [np.concatenate([keys[:1]] * min(STALE, len(keys)) + [keys[:-STALE]]) for keys in true]
