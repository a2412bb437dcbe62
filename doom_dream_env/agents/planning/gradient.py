"""Plans improved by the gradient of the expected future.

Legend: n environments, R restarts of each, H steps, G groups of options, M options of the largest group.
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
    """Adam on the logits of every choice; the buttons in between are relaxed to probabilities.

    The plan that is carried out takes the most likely options. Arguments as for `Planner`, with a `GradientConfig`.
    """

    settings = GradientConfig
    config: GradientConfig

    @property
    def _dreams_at_once(self) -> int:
        return 8 * self.config.restarts  # gradients keep every step's activations

    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        config = self.config
        n = len(state)
        restarts = config.restarts
        # Autograd refuses tensors that were made in inference mode, in which a window plays.
        with torch.inference_mode(False), torch.enable_grad():
            copies = follow_mean_network(state).map(lambda x: x.clone().repeat_interleave(restarts, 0))
            logits = self._first_logits(n, last).requires_grad_()
            adam = torch.optim.Adam([logits], config.learning_rate)
        while True:
            with torch.inference_mode(False), torch.enable_grad():
                probabilities = self._probabilities(logits)
                buttons = self.groups.expected_buttons(probabilities)
                scores = score_relaxed(self.model, copies, buttons.flatten(0, 1), self.objective).unflatten(0, (n, -1))
                (gradient,) = torch.autograd.grad(-scores.sum(), logits)
            with torch.inference_mode(False):
                logits.grad = gradient
                adam.step()
            # The answer is the plan that scored best, one step of Adam on.
            best = scores.detach().max(1)
            improved = self._probabilities(logits.detach())[torch.arange(n, device=self.device), best.indices]
            yield Plan(improved.argmax(-1), best.values, improved)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.masked_fill(~self.groups.exists, -torch.inf).softmax(-1)

    def _first_logits(self, n: int, last: Plan | None) -> Tensor:
        """Logits (n, R, H, G, M) to begin with: the last plan's if there is one, then holding one option each."""
        config = self.config
        size = self.groups.exists.shape[1]
        shape = (n, config.restarts, config.horizon, self.groups.count, size)
        logits = config.logit_noise * torch.randn(shape, generator=self.generator, device=self.device)
        for restart in range(config.restarts):
            option = restart % size
            logits[:, restart, :, :, option] += config.first_logit * self.groups.exists[:, option]
        if last is not None:
            logits[:, 0] = last.probabilities.clamp(min=1e-3).log()
        return logits
