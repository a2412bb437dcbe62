"""One word for how good the dream of a world is, from what was measured of what a person sees and an agent gets.

`python -m training scorecard` measures the one and `python -m training transfer` the other; both files ship.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import files

SHIPPED = Path(__file__).parent / "transfer.json"
CLOSE = 0.15  # share of the real return that the dreamed one may be off
SECOND = "skill_8"  # of the scorecard: one minus the error after eight steps, 0.9 s, over that of "nothing changes"
FORETOLD = {"good": 0.5, "fair": 0.25}  # of `SECOND`, at least

MeanAndMargin = tuple[float, float]  # mean return, and half of its 95 % interval
WORDS = ("good", "fair", "poor", "unknown")
SEES = {
    "good": "it follows the keys",
    "fair": "it follows the keys at first",
    "poor": "it soon goes its own way",
    "unknown": "what it foretells was not measured",
}
GETS = {
    "good": "agents learn what pays in the game",
    "fair": "it pays agents more than the game does",
    "poor": "agents do no better than the best blind play",
    "unknown": "no agent was measured",
}


def differs(one: MeanAndMargin, two: MeanAndMargin) -> bool:
    """Is the difference of two means greater than its 95 % interval?"""
    return abs(one[0] - two[0]) > math.hypot(one[1], two[1])


@dataclass(frozen=True)
class TransferScores:
    """Mean returns of one world and half of their 95 % intervals.

    Attributes:
        random: random play in the game.
        blind: the best policy found that sees nothing, in the game.
        agent: the agent that was trained in the dream, in the game.
        dream: that agent in its dream.
    """

    random: MeanAndMargin
    blind: MeanAndMargin
    agent: MeanAndMargin
    dream: MeanAndMargin

    @property
    def learns(self) -> bool:
        """Does what was learned in the dream beat play that sees nothing, by more than the interval?"""
        return self.agent[0] > self.blind[0] and differs(self.agent, self.blind)

    @property
    def close(self) -> bool:
        """Is the agent's return in the dream near the one in the game?"""
        return abs(self.dream[0] - self.agent[0]) <= CLOSE * abs(self.agent[0])


@dataclass(frozen=True)
class Quality:
    """How good the dream of a world is.

    Attributes:
        foretold: share of the next second that it foretells, at most 1; None: not measured.
        scores: of agents; None: not measured.
    """

    foretold: float | None = None
    scores: TransferScores | None = None

    @property
    def sees(self) -> str:
        """What a person sees, one of `WORDS`."""
        if self.foretold is None:
            return "unknown"
        return next((word for word, least in FORETOLD.items() if self.foretold >= least), "poor")

    @property
    def gets(self) -> str:
        """What an agent gets, likewise."""
        if self.scores is None:
            return "unknown"
        return "poor" if not self.scores.learns else "good" if self.scores.close else "fair"

    @property
    def word(self) -> str:
        """The worse of the two, as far as they were measured."""
        return max({self.sees, self.gets} - {"unknown"}, key=WORDS.index, default="unknown")

    @property
    def text(self) -> str:
        """The word and its reasons."""
        return f"{self.word}: {SEES[self.sees]}; {GETS[self.gets]}"


def transfer_scores(fingerprint: str | None = None) -> dict[str, TransferScores]:
    """The scores of agents that ship, by scenario.

    Args:
        fingerprint: of the weights; scores of others do not count. None: whatever ships.
    """
    if not SHIPPED.is_file():
        return {}
    found = json.loads(SHIPPED.read_text("utf-8"))
    if fingerprint not in (None, found["fingerprint"]):
        return {}
    return {
        name: TransferScores(**{who: (mean, margin) for who, (mean, margin) in values.items()})
        for name, values in found["worlds"].items()
    }


def scorecard_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The scorecard's figures by scenario; empty: weights may be without one."""
    try:
        worlds = files.read_json(folder / files.SCORECARD)["worlds"]
        return {name: dict(figures) for name, figures in worlds.items()}
    except (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def qualities(weights: str | Path | None = None) -> dict[str, Quality]:
    """How good the dreams of all scenarios are, best first, and those that the weights do not know last.

    Args:
        weights: as for `WorldModel.from_pretrained`; weights that lie nowhere have no scorecard.
    """
    known: list[str] = []
    scores: dict[str, TransferScores] = {}
    card: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError):
        folder = files.find_weights(weights)
        known = list(files.read_json(folder / files.CONFIG).get("scenarios", ()))
        scores = transfer_scores(files.fingerprint_of(folder))
        card = scorecard_of(folder)
    found = {name: Quality(card.get(name, {}).get(SECOND), scores.get(name)) for name in known}
    best_first = sorted(found, key=lambda name: (WORDS.index(found[name].word), -(found[name].foretold or 0)))
    return {name: found[name] for name in best_first} | {name: Quality() for name in SCENARIOS if name not in found}


def best_first(names: Iterable[str], weights: str | Path | None = None) -> list[str]:
    """Names of scenarios in the order of `qualities`."""
    ranked = list(qualities(weights))
    return sorted(names, key=lambda name: ranked.index(name) if name in ranked else len(ranked))


def best_world(weights: str | Path | None = None) -> str:
    """Where to begin: the one of `SCENARIOS` with the best dream."""
    return best_first(SCENARIOS, weights)[0]
