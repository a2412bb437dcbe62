"""What a search has found.

Legend: n environments, H steps, G groups of options, M options of the largest group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

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
        return Plan.joined(lambda parts: parts[0][envs], self)

    def put(self, envs: Tensor, other: Plan) -> Plan:
        """Replace the plans of some environments (a mask) by those of `other`."""
        index = envs.nonzero()[:, 0]
        return Plan.joined(lambda parts: parts[0].index_copy(0, index, parts[1]), self, other)

    def later(self, steps: int) -> Plan:
        """What is left of it after some steps; its last step is held for as many."""
        at = (torch.arange(self.choices.shape[1]) + steps).clamp(max=self.choices.shape[1] - 1)
        return replace(self, choices=self.choices[:, at], probabilities=self.probabilities[:, at])

    @staticmethod
    def joined(join: Callable[[list[Tensor]], Tensor], *plans: Plan) -> Plan:
        """One plan of several: `join` makes each of its tensors from the list of theirs, such as `torch.cat`."""
        names = [field.name for field in fields(Plan)]
        return Plan(**{name: join([getattr(plan, name) for plan in plans]) for name in names})
