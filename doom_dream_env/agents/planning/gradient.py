"""Plans drawn at random, the best of which are improved by the gradient of the mean future.

Legend: n environments, P plans of each, R restarts, H steps, G groups of options, M options of the largest group.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from doom_dream_env.agents.planning.config import GradientConfig
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.planner import Planner, best_of
from doom_dream_env.agents.planning.rollout import mean_scores
from doom_dream_env.world_model import DreamState


class GradientPlanner(Planner):
    """Random shooting, then steps up the slope of the score from the best plans (as CEM-GD does, arXiv 2112.07746).

    For the gradient the buttons in between are relaxed to probabilities, and every step moves the logits of a plan so
    that its steepest choice flips. That says where a plan can be bettered, not that it is better there: half-pressed
    buttons do not exist. So what comes out is dreamed again as buttons, beside the plan that it came from, and the best
    plans go on. Arguments as for `Planner`, with a `GradientConfig`.
    """

    settings = GradientConfig
    config: GradientConfig

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        known = self._known(state, last)
        uniform = self.groups.uniform(len(state), self.config.horizon)
        plans = torch.cat([known, self._drawn(uniform, known.shape[1])], 1)
        while True:
            plans, scores = best_of(plans, self._scores(state, plans), self.config.restarts)
            yield Plan(plans[:, 0], scores[:, 0], self._logits(plans[:, 0]).softmax(-1))
            plans = torch.cat([plans, self._improved(state, plans)], 1)

    def _improved(self, state: DreamState, plans: Tensor) -> Tensor:
        """Plans (n, R, H, G) after a step up the slope of each."""
        # Autograd refuses tensors that were made in inference mode, in which a window plays.
        with torch.inference_mode(False), torch.enable_grad():
            copies = state.map(lambda x: x.clone().repeat_interleave(plans.shape[1], 0))
            logits = self._logits(plans).requires_grad_()
            buttons = self.groups.expected_buttons(logits.softmax(-1)).flatten(0, 1)
            scores = mean_scores(self.model, copies, buttons, self.objective)
            (slope,) = torch.autograd.grad(scores.sum(), logits)
        steepest = slope.abs().amax((-3, -2, -1), keepdim=True).clamp(min=1e-12)
        moved = logits.detach() + self.config.step * slope / steepest
        return moved.masked_fill(~self.groups.exists, -torch.inf).argmax(-1)

    def _logits(self, plans: Tensor) -> Tensor:
        """Plans (..., H, G) as logits (..., H, G, M)."""
        chosen = self.config.sureness * self.groups.one_hot(plans)
        return chosen.masked_fill(~self.groups.exists, -torch.inf)
