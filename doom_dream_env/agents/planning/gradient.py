"""Plans drawn at random, the best of which are improved by the gradient of the expected future.

Legend: n environments, P plans of each, R restarts, H steps, G groups of options, M options of the largest group.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from doom_dream_env.agents.planning.config import GradientConfig
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.planner import Planner
from doom_dream_env.agents.planning.rollout import follow_mean_network, score_relaxed
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

    @property
    def _dreams_at_once(self) -> int:
        # Gradients keep every step's activations.
        return max(self.config.plans * self.config.dreams, 8 * self.config.restarts)

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        config = self.config
        known = self._candidates(state, last)
        uniform = self.groups.uniform(len(state), config.horizon)
        drawn = self.groups.sample(uniform, max(1, config.plans - known.shape[1]), config.hold, self.generator)
        plans = torch.cat([known, drawn], 1)
        while True:
            scores = self._scores(state, plans)
            best = scores.topk(min(config.restarts, plans.shape[1]), 1)
            plans = plans.gather(1, best.indices[..., None, None].expand(-1, -1, *plans.shape[2:]))
            yield Plan(plans[:, 0], best.values[:, 0], self._logits(plans[:, 0]).softmax(-1))
            plans = torch.cat([plans, self._improved(state, plans)], 1)

    def _improved(self, state: DreamState, plans: Tensor) -> Tensor:
        """Plans (n, R, H, G) after a step up the slope of each."""
        count = plans.shape[1]
        # Autograd refuses tensors that were made in inference mode, in which a window plays.
        with torch.inference_mode(False), torch.enable_grad():
            copies = follow_mean_network(state).map(lambda x: x.clone().repeat_interleave(count, 0))
            logits = self._logits(plans).requires_grad_()
            buttons = self.groups.expected_buttons(logits.softmax(-1)).flatten(0, 1)
            scores = score_relaxed(self.model, copies, buttons, self.objective)
            (slope,) = torch.autograd.grad(scores.sum(), logits)
        steepest = slope.abs().amax((-3, -2, -1), keepdim=True).clamp(min=1e-12)
        moved = logits.detach() + self.config.step * slope / steepest
        return moved.masked_fill(~self.groups.exists, -torch.inf).argmax(-1)

    def _logits(self, plans: Tensor) -> Tensor:
        """Plans (..., H, G) as logits (..., H, G, M)."""
        chosen = self.config.sureness * self.groups.one_hot(plans)
        return chosen.masked_fill(~self.groups.exists, -torch.inf)
