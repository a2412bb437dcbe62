"""One idea of a player: a policy sees a batch of environments and answers with an action for each of them.

Here are the policies that see nothing. Agents (`doom_dream_env.agents`) are policies too, and so are the scripted
players of the training, which look at what the game itself knows.

Legend: N environments, n actions of the scenario; buttons are nine 0/1 values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from doom_dream_env.scenarios import BUTTONS, Buttons, Scenario, press

# Torch is imported where it is used: a process that only records what these policies press needs none, and takes
# 74 MB instead of 736.
if TYPE_CHECKING:
    from torch import Tensor

    from doom_dream_env.envs.base import EnvBatch

ManyButtons = npt.NDArray[np.uint8]  # (N, 9)

# How often each of the nine buttons is down in random free play: mostly forward, so that it gets somewhere.
FREE_PLAY_ODDS = (0.6, 0.1, 0.15, 0.15, 0.2, 0.2, 0.2, 0.1, 0.15)

# The best routines of a search on seeds from 40,000 up: (action of the scenario's table, steps) in turn.
ROUTINES: dict[str, tuple[tuple[int, int], ...]] = {
    "take_cover": ((2, 25), (1, 25)),
    "defend_the_center": ((2, 3), (1, 2)),
    "health_gathering": ((1, 10), (3, 3)),
}
USUAL_ROUTINE = ((1, 10), (2, 10))


class Policy(Protocol):
    """Who plays.

    What a policy may look at: `batch.steps` (0: the episode has just begun), `batch.seeds`, `batch.features` as an
    agent does, or `batch.games` where the games are real.
    """

    def __call__(self, batch: EnvBatch, /) -> Tensor:
        """Actions for all environments: indices (N,) into the action table, or buttons (N, 9)."""


class NoopPolicy:
    """Presses nothing."""

    def __call__(self, batch: EnvBatch) -> Tensor:
        """No buttons, (N, 9)."""
        import torch

        return torch.zeros(batch.num_envs, len(BUTTONS))


class RandomPolicy:
    """Uniform actions; in free play every button is down half of the time.

    Args:
        seed: of its random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        import torch

        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Indices (N,), or buttons (N, 9) in free play."""
        import torch

        if batch.scenario.discrete:
            return torch.randint(len(batch.action_table), (batch.num_envs,), generator=self.generator)
        return torch.randint(2, (batch.num_envs, len(BUTTONS)), generator=self.generator)


class AlternatingPolicy:
    """Sees nothing: presses the same actions in turn, each for so many steps, on and on.

    Args:
        actions: buttons (9,) of each.
        steps: how long each is held.
    """

    def __init__(self, actions: Sequence[Buttons], steps: Sequence[int]) -> None:
        self.actions = tuple(actions)
        self.steps = tuple(steps)
        self._cycle = np.repeat(np.stack(self.actions), self.steps, axis=0)

    @classmethod
    def of_indices(cls, scenario: Scenario, plan: Sequence[tuple[int, int]]) -> AlternatingPolicy:
        """From pairs of (index into the scenario's action table, steps)."""
        table = scenario.action_table()
        return cls([table[action] for action, _ in plan], [held for _, held in plan])

    def buttons_at(self, steps: npt.NDArray[np.int64]) -> ManyButtons:
        """Buttons (N, 9) so many steps (N,) after an episode began."""
        return self._cycle[steps % len(self._cycle)]

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Buttons (N, 9)."""
        import torch

        return torch.from_numpy(self.buttons_at(batch.steps.cpu().numpy()))


def random_action(scenario: Scenario, rng: np.random.Generator) -> Buttons:
    """A uniform row of the action table; in free play each button by its odds. Shape (9,)."""
    if scenario.discrete:
        return rng.choice(scenario.action_table())
    return (rng.random(len(BUTTONS)) < FREE_PLAY_ODDS).astype(np.uint8)


class HeldRandomPolicy:
    """Random actions (`random_action`), each held for a uniform number of steps.

    Args:
        scenario: which actions there are.
        rng: source of its random numbers.
        shortest: fewest steps that an action is held.
        longest: most steps, included.
        num_envs: N of `next_buttons`.
    """

    def __init__(
        self, scenario: Scenario, rng: np.random.Generator, shortest: int, longest: int, num_envs: int = 1
    ) -> None:
        self.scenario = scenario
        self.rng = rng
        self.shortest = shortest
        self.longest = longest
        self._resize(num_envs)

    def _resize(self, num_envs: int) -> None:
        self._left = np.zeros(num_envs, np.int64)  # steps for which each action is still held
        self._held = np.tile(press(), (num_envs, 1))

    def restart(self, envs: npt.NDArray[np.bool_] | None = None) -> None:
        """Draw new actions at the next step, in all environments or in those of a mask (N,)."""
        self._left[... if envs is None else envs] = 0

    def next_buttons(self) -> ManyButtons:
        """What is pressed in the next step, (N, 9)."""
        for env in np.flatnonzero(self._left <= 0):
            self._left[env] = self.rng.integers(self.shortest, self.longest + 1)
            self._held[env] = random_action(self.scenario, self.rng)
        self._left -= 1
        return self._held.copy()

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Buttons (N, 9); an episode that has just begun gets a new action. Plays in batches of any size."""
        import torch

        if len(self._left) != batch.num_envs:
            self._resize(batch.num_envs)
        self.restart(batch.steps.cpu().numpy() == 0)
        return torch.from_numpy(self.next_buttons())


class PerturbedPolicy:
    """Another policy, a share of whose actions are replaced by uniform ones.

    Args:
        policy: the other one.
        share: of steps, 0 to 1.
        seed: of the random numbers.
    """

    def __init__(self, policy: Policy, share: float, seed: int) -> None:
        self.policy = policy
        self.share = share
        self._random = RandomPolicy(seed)

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Buttons (N, 9)."""
        import torch

        replaced = torch.rand(batch.num_envs, generator=self._random.generator) < self.share
        others = batch.buttons(self._random(batch))
        return torch.where(replaced[:, None].to(batch.device), others, batch.buttons(self.policy(batch)))


def routine(scenario: Scenario) -> AlternatingPolicy:
    """The routine, which is blind: that of `ROUTINES`, else two actions in turn; in free play it walks forward."""
    if not scenario.discrete:
        return AlternatingPolicy([press("MOVE_FORWARD")], [1])
    last = len(scenario.action_table()) - 1
    plan = ROUTINES.get(scenario.name, USUAL_ROUTINE)
    return AlternatingPolicy.of_indices(scenario, [(min(action, last), steps) for action, steps in plan])


def fixed_policies(scenario: Scenario) -> dict[str, Policy]:
    """Three policies that see nothing: nothing pressed, uniformly random, and the routine."""
    return {"noop": NoopPolicy(), "random": RandomPolicy(), "routine": routine(scenario)}
