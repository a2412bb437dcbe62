"""How far a policy gets in free play: what it kills, and how much of the map it walks over."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor

from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.policies import Policy

SQUARE = 64  # units; side of the squares of a map that are counted


class SurveyedPolicy:
    """A policy whose ways through real games are noted, by the seeds of the episodes, up to its last decision in each.

    Attributes:
        kills: monsters that it killed.
        squares: of the map, `SQUARE` wide, that it has been on.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.kills: dict[int, int] = {}
        self.squares: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)

    def __call__(self, batch: EnvBatch) -> Tensor:
        """What the policy answers.

        Raises:
            TypeError: if the batch holds no games.
        """
        if not isinstance(batch, GameBatch | RealBatch):
            raise TypeError(f"only real games have a map to walk over, not a {type(batch).__name__}")
        for game, seed, done in zip(batch.games, batch.seeds, batch.done.tolist(), strict=True):
            if not done and seed is not None:
                x, y = game.pose()[:2]
                self.squares[seed].add((int(x // SQUARE), int(y // SQUARE)))
                self.kills[seed] = game.kills()
        return self.policy(batch)
