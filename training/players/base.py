"""What a player is, and the simple ones: random play, two actions in turn, another player that is disturbed.

A player is a callable from a running, privileged `Game` to the nine 0/1 buttons of the next step (where the scenario
has an action table, one of its rows). It is made anew for every episode. Scripted players look at what ViZDoom knows;
nothing of that reaches the model, and their scores are a ceiling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from doom_dream_env.game.game import Game
from doom_dream_env.policies import AlternatingPolicy, HeldRandomPolicy, random_action
from doom_dream_env.scenarios import Buttons, Scenario, press

if TYPE_CHECKING:  # most players need no torch, and there is a process per core that only records what they do
    from torch import Tensor

    from doom_dream_env.envs.base import EnvBatch

Player = Callable[[Game], Buttons]

LONGEST_HOLD = 20  # steps; the longest that random play holds an action
ALTERNATION = (2, 60)  # steps; the shortest and the longest that an alternating player holds one
EQUAL_SHARE = 0.5  # of the alternations: both actions last equally long
DISTURBANCE = (0.02, 0.3)  # how often a perturbed player is interrupted: bursts per step, drawn for each episode
BURST = (2, 12)  # steps; the shortest and the longest interruption


class RandomPlayer:
    """Random actions, each held for a uniform number of 1 to `longest` steps.

    Args:
        scenario: which actions there are.
        rng: source of its random numbers.
        longest: steps; None: drawn once, log-uniform between 1 and `LONGEST_HOLD`.
    """

    def __init__(self, scenario: Scenario, rng: np.random.Generator, longest: int | None = None) -> None:
        if longest is None:
            longest = int(np.exp(rng.uniform(0, np.log(LONGEST_HOLD + 1))))
        self._policy = HeldRandomPolicy(scenario, rng, 1, longest)

    def restart(self) -> None:
        """Draw a new action at the next step."""
        self._policy.restart()

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        return self._policy.next_buttons()[0]


class AlternatingPlayer:
    """Sees nothing: plays an `AlternatingPolicy` from its beginning."""

    def __init__(self, policy: AlternatingPolicy) -> None:
        self.policy = policy
        self._step = 0

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        buttons = self.policy.buttons_at(np.array([self._step]))[0]
        self._step += 1
        return buttons


def random_alternation(scenario: Scenario, rng: np.random.Generator) -> AlternatingPolicy:
    """Two random actions in turn, now and then twice the same one, for log-uniform numbers of steps (`ALTERNATION`).

    In half of the cases both numbers are the same. Opposite steps then cancel, and the player stays where it is: a
    dream that rarely saw that takes any step to the side for an escape.
    """
    actions = [random_action(scenario, rng) for _ in range(2)]
    shortest, longest = ALTERNATION
    steps = np.exp(rng.uniform(np.log(shortest), np.log(longest), size=2)).astype(int)
    if rng.random() < EQUAL_SHARE:
        steps[1] = steps[0]
    return AlternatingPolicy(actions, steps.tolist())


class PerturbedPlayer:
    """Another player, interrupted by bursts of random play.

    It shows what happens to somebody who plays well and has just made a mistake.
    """

    def __init__(self, player: Player, scenario: Scenario, rng: np.random.Generator) -> None:
        self._player = player
        self._random = RandomPlayer(scenario, rng)
        self._rng = rng
        self._rate = float(rng.uniform(*DISTURBANCE))
        self._left = 0  # steps of the burst that are still to come

    def __call__(self, game: Game) -> Buttons:
        """Choose an action; the other player is asked in every step, so that it knows where it is."""
        buttons = self._player(game)
        if self._left == 0 and self._rng.random() < self._rate:
            shortest, longest = BURST
            self._left = int(self._rng.integers(shortest, longest + 1))
            self._random.restart()
        if self._left > 0:
            self._left -= 1
            return self._random(game)
        return buttons


class PlayerPolicy:
    """Lets players play a batch of privileged games; a `doom_dream_env.policies.Policy`.

    Args:
        make: makes the player of one episode. Its random numbers are those of `default_rng(seed of the episode)`.
    """

    def __init__(self, make: Callable[[np.random.Generator], Player]) -> None:
        self._make = make
        self._players: dict[int, Player] = {}  # of each environment

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Buttons (N, 9); none where the episode has ended.

        Raises:
            TypeError: if the batch holds no games.
        """
        import torch

        from doom_dream_env.envs.games import GameBatch
        from doom_dream_env.envs.real import RealBatch

        if not isinstance(batch, GameBatch | RealBatch):
            raise TypeError(f"players play real games, in a GameBatch or RealBatch, not in a {type(batch).__name__}")
        for index in (batch.steps == 0).nonzero()[:, 0].tolist():
            self._players[index] = self._make(np.random.default_rng(batch.seeds[index]))
        ended = batch.done.tolist()
        buttons = [press() if ended[index] else self._players[index](game) for index, game in enumerate(batch.games)]
        return torch.from_numpy(np.stack(buttons))
