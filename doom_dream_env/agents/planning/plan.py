"""What a search has found.

Legend: n environments, P plans of each, H steps, G groups of options, M options of the largest group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """What a search has found for n environments.

    Attributes:
        choices: the best plan, int64 (n, H, G).
        score: its score, mean over its dreams less pessimism, (n,).
        probabilities: what the search believes of every step's options, (n, H, G, M); it begins with this next time,
            and whoever learns from the planner learns the first step of it.
    """

    choices: Tensor
    score: Tensor
    probabilities: Tensor

    def __getitem__(self, envs: Tensor) -> Plan:
        return Plan(self.choices[envs], self.score[envs], self.probabilities[envs])

    def put(self, envs: Tensor, other: Plan) -> Plan:
        """Replace the plans of some environments (a mask) by those of `other`."""

        def replaced(mine: Tensor, theirs: Tensor) -> Tensor:
            mine = mine.clone()
            mine[envs] = theirs
            return mine

        return Plan(
            replaced(self.choices, other.choices),
            replaced(self.score, other.score),
            replaced(self.probabilities, other.probabilities),
        )

    def later(self, steps: int) -> Plan:
        """What is left of it after some steps; its last step is held for as many."""
        at = (torch.arange(self.choices.shape[1]) + steps).clamp(max=self.choices.shape[1] - 1)
        return replace(self, choices=self.choices[:, at], probabilities=self.probabilities[:, at])

    @staticmethod
    def cat(parts: list[Plan]) -> Plan:
        """Join the plans of several groups of environments."""
        if len(parts) == 1:
            return parts[0]
        return Plan(
            torch.cat([part.choices for part in parts]),
            torch.cat([part.score for part in parts]),
            torch.cat([part.probabilities for part in parts]),
        )


def soft_weights(scores: Tensor, softness: float) -> Tensor:
    """Weights (n, P) of plans: the softmax of their scores (n, P), in standard deviations, over `softness`.

    Plans of equal scores have equal weights.
    """
    scaled = (scores - scores.mean(-1, keepdim=True)) / scores.std(-1, keepdim=True, correction=0).clamp(min=1e-6)
    return (scaled / max(softness, 1e-6)).softmax(-1)
