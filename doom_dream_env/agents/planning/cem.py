"""Plans drawn from a proposal that learns from their scores: the cross-entropy method.

Legend: n environments, P plans of each, H steps, G groups of options, M options of the largest group.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from doom_dream_env.agents.planning.config import CEMConfig
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.planner import Planner, best_of
from doom_dream_env.world_model import DreamState


class CEMPlanner(Planner):
    """Draws plans from a categorical of every step and group, which is fitted to the best of them, round after round.

    Arguments as for `Planner`, with a `CEMConfig`.
    """

    settings = CEMConfig
    config: CEMConfig

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        config = self.config
        uniform = self.groups.uniform(len(state), config.horizon)
        proposal = uniform if last is None else last.probabilities
        known = self._known(state, last)
        while True:
            mixed = (1 - config.exploration) * proposal + config.exploration * uniform
            plans = torch.cat([known, self._drawn(mixed, known.shape[1])], 1)
            elites, scores = best_of(plans, self._scores(state, plans), config.elites)
            fitted = self.groups.one_hot(elites).mean(1)
            proposal = config.inertia * proposal + (1 - config.inertia) * fitted
            known = elites[:, : config.kept]
            yield Plan(elites[:, 0], scores[:, 0], proposal)
