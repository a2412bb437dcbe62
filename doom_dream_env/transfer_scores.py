"""How good the dream of each world is, as far as it was measured: what agents trained in it are worth in the game.

`python -m training transfer` measures it and writes the file that ships with the agents.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).parent / "agents" / "transfer.json"
FIRST_WORLD = "basic"  # where to begin: among the best dreams, and its episodes are short
CLOSE = 0.15  # share of the real return that the dreamed one may be off

MeanAndMargin = tuple[float, float]  # mean return, and half of its 95 % interval


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

    @property
    def verdict(self) -> str:
        """One of "good", "fair" and "poor"."""
        if not self.learns:
            return "poor"
        return "good" if self.close else "fair"


VERDICTS = {
    "good": "agents learn here, and the dream pays what the game pays",
    "fair": "agents learn here, but the dream pays more than the game",
    "poor": "what is learned here does not beat play that sees nothing",
    "unknown": "no agent was measured here; do not begin with it",
}


def transfer_scores(fingerprint: str | None = None) -> dict[str, TransferScores]:
    """The scores that ship, by scenario, best worlds first.

    Args:
        fingerprint: of the weights; scores of others do not count. None: whatever ships.
    """
    if not SHIPPED.is_file():
        return {}
    found = json.loads(SHIPPED.read_text("utf-8"))
    if fingerprint not in (None, found["fingerprint"]):
        return {}
    scores = {
        name: TransferScores(**{who: (mean, margin) for who, (mean, margin) in values.items()})
        for name, values in found["worlds"].items()
    }
    order = list(VERDICTS)
    return dict(sorted(scores.items(), key=lambda item: order.index(item[1].verdict)))


def dream_quality(scenario: str, fingerprint: str | None = None) -> str:
    """How good the dream of a scenario is, a key of `VERDICTS`."""
    found = transfer_scores(fingerprint).get(scenario)
    return found.verdict if found else "unknown"
