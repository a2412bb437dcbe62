"""Exhaustive search of plans that change their action once.

Legend: n environments, P plans of each, H steps, A options of the only group.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from doom_dream_env.agents.planning.config import SwitchOnceConfig
from doom_dream_env.agents.planning.plan import Plan, soft_weights
from doom_dream_env.agents.planning.planner import Planner
from doom_dream_env.scenarios import Scenario
from doom_dream_env.world_model import DreamState


class SwitchOncePlanner(Planner):
    """Tries every plan that holds one action, or holds one and then another.

    Every further round dreams all plans again under other luck, so its answers become surer with time.
    Arguments as for `Planner`, with a `SwitchOnceConfig`.

    Raises:
        ValueError: as `Planner`, or if the scenario has no action table.
    """

    settings = SwitchOnceConfig
    config: SwitchOnceConfig

    def _prepare(self) -> None:
        self.plans = switch_once(self.scenario, self.config.horizon, self.config.switch_after).to(self.device)

    @property
    def _dreams_at_once(self) -> int:
        return len(self.plans) * self.config.dreams

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        n = len(state)
        fixed = self.plans.expand(n, *self.plans.shape)
        plans = torch.cat([fixed, self._candidates(state, last)], 1)
        total = torch.zeros(plans.shape[:2], device=self.device)
        rounds = 0
        first = self.groups.one_hot(plans)  # n, P, H, 1, A
        while True:
            total = total + self._scores(state, plans)
            rounds += 1
            scores = total / rounds
            best = scores.max(1)
            weights = soft_weights(scores, self.config.softness)
            probabilities = torch.einsum("np,nphgm->nhgm", weights, first)
            yield Plan(plans[torch.arange(n, device=self.device), best.indices], best.values, probabilities)


def switch_once(scenario: Scenario, horizon: int, switch_after: tuple[int, ...]) -> Tensor:
    """All plans that hold an action, or change it once, int64 (P, H, 1).

    Args:
        scenario: one with an action table.
        horizon: H.
        switch_after: steps after which the action may change; those behind the horizon make no difference.

    Raises:
        ValueError: if the scenario has no action table.
    """
    if not scenario.discrete:
        raise ValueError(
            f"{scenario.name} has no action table to go through, but nine buttons: use another kind of planner (cem)"
        )
    actions = range(len(scenario.action_table()))
    plans = [[action] * horizon for action in actions]
    for steps in sorted(set(switch_after)):
        if steps < horizon:
            plans += [[a] * steps + [b] * (horizon - steps) for a in actions for b in actions if a != b]
    return torch.tensor(plans)[..., None]
