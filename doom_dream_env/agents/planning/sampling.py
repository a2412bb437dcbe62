"""Plans drawn from a proposal that learns from their scores: cross-entropy method and MPPI.

Legend: n environments, P plans of each, H steps, G groups of options, M options of the largest group.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from doom_dream_env.agents.planning.config import CEMConfig, MPPIConfig
from doom_dream_env.agents.planning.plan import Plan, soft_weights
from doom_dream_env.agents.planning.planner import Planner
from doom_dream_env.world_model import DreamState


class SamplingPlanner(Planner):
    """What CEM and MPPI share: a categorical proposal for every step and group, fitted to weighted plans."""

    config: CEMConfig | MPPIConfig

    @property
    def _dreams_at_once(self) -> int:
        return self.config.plans * self.config.dreams

    @abstractmethod
    def _weights(self, scores: Tensor) -> Tensor:
        """Weights (n, P), which sum to one, of plans with these scores (n, P)."""

    @property
    def _kept(self) -> int:
        """Best plans of a round that the next one tries again."""
        return 1

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        config = self.config
        n = len(state)
        uniform = self.groups.uniform(n, config.horizon)
        proposal = uniform if last is None else last.probabilities
        known = self._candidates(state, last)
        while True:
            mixed = (1 - config.exploration) * proposal + config.exploration * uniform
            drawn = self.groups.sample(mixed, max(1, config.plans - known.shape[1]), config.hold, self.generator)
            plans = torch.cat([known, drawn], 1)
            scores = self._scores(state, plans)
            fitted = torch.einsum("np,nphgm->nhgm", self._weights(scores), self.groups.one_hot(plans))
            proposal = config.inertia * proposal + (1 - config.inertia) * fitted
            best = scores.topk(max(1, self._kept), 1)
            known = plans.gather(1, best.indices[..., None, None].expand(-1, -1, *plans.shape[2:]))
            yield Plan(known[:, 0], best.values[:, 0], proposal)


class CEMPlanner(SamplingPlanner):
    """Cross-entropy method: the next proposal is fitted to the best plans. Arguments as for `Planner`."""

    settings = CEMConfig
    config: CEMConfig

    @property
    def _kept(self) -> int:
        return self.config.kept

    def _weights(self, scores: Tensor) -> Tensor:
        elites = scores.topk(self.config.elites, 1).indices
        return torch.zeros_like(scores).scatter(1, elites, 1 / self.config.elites)


class MPPIPlanner(SamplingPlanner):
    """Path integral control: the next proposal is fitted to all plans, the better the more.

    Arguments as for `Planner`.
    """

    settings = MPPIConfig
    config: MPPIConfig

    def _weights(self, scores: Tensor) -> Tensor:
        return soft_weights(scores, self.config.softness)
