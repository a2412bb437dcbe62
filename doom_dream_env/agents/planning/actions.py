"""What a plan can choose from: one row of an action table, or in free play one option of each group of buttons.

Both are groups of options of which exactly one is chosen. An action table is a single group, its rows the options. Free
play has three groups that exclude each other (forward and backward, steps to the sides, turns) and three switches.

Legend: G groups, M options of the largest one, P plans, H steps, n environments; (...) leading dimensions are free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.scenarios import BITS, BUTTONS, PAIRS, Scenario, press

FREE_PLAY_GROUPS = (*PAIRS, *((button,) for button in BITS))


@dataclass(frozen=True)
class ActionGroups:
    """The groups of options of a scenario.

    Attributes:
        options: what each option presses, float32 (G, M, 9); zeros where a group has fewer.
        exists: which options there are, bool (G, M).
    """

    options: Tensor
    exists: Tensor

    @classmethod
    def of(cls, scenario: Scenario, device: torch.device | str = "cpu") -> ActionGroups:
        """Those of a scenario."""
        if scenario.discrete:
            groups = [scenario.action_table()]
        else:
            groups = [np.stack([press(), *(press(button) for button in group)]) for group in FREE_PLAY_GROUPS]
        size = max(map(len, groups))
        options = torch.zeros(len(groups), size, len(BUTTONS))
        exists = torch.zeros(len(groups), size, dtype=torch.bool)
        for number, rows in enumerate(groups):
            options[number, : len(rows)] = torch.from_numpy(rows)
            exists[number, : len(rows)] = True
        return cls(options.to(device), exists.to(device))

    @property
    def count(self) -> int:
        """G."""
        return len(self.options)

    def buttons(self, choices: Tensor) -> Tensor:
        """Buttons (..., 9) of chosen options, int64 (..., G)."""
        return self.options[torch.arange(self.count, device=choices.device), choices].sum(-2)

    def expected_buttons(self, probabilities: Tensor) -> Tensor:
        """Mean buttons (..., 9) of probabilities of the options (..., G, M): relaxed buttons between 0 and 1."""
        return torch.einsum("...gm,gmb->...b", probabilities, self.options).clamp(0, 1)

    def choices(self, buttons: Tensor) -> Tensor:
        """The options (..., G) that come nearest to buttons (..., 9): those that press most of them and little else."""
        agreement = torch.einsum("gmb,...b->...gm", 2 * self.options, buttons) - self.options.sum(-1)
        return agreement.masked_fill(~self.exists, -torch.inf).argmax(-1)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform probabilities of the options, (*shape, G, M)."""
        probabilities = self.exists / self.exists.sum(-1, keepdim=True)
        return probabilities.expand(*shape, *self.exists.shape)

    def single(self) -> Tensor:
        """What one can hold: every option by itself, and nothing; choices, int64 (A, G)."""
        group, option = self.exists.nonzero(as_tuple=True)
        rows = torch.zeros(len(group), self.count, dtype=torch.long, device=group.device)
        rows[torch.arange(len(group)), group] = option
        return rows.unique(dim=0)

    def one_hot(self, choices: Tensor) -> Tensor:
        """Chosen options (..., G) as probabilities (..., G, M)."""
        return F.one_hot(choices, self.exists.shape[1]).float()

    def sample(self, probabilities: Tensor, plans: int, hold: float, generator: torch.Generator) -> Tensor:
        """Draw plans of H steps.

        Args:
            probabilities: of every step, (n, H, G, M).
            plans: P of each environment.
            hold: probability that a step repeats the choice before it instead of drawing its own.
            generator: on the device of the probabilities.

        Returns:
            choices, int64 (n, P, H, G).
        """
        n, steps, groups, size = probabilities.shape
        drawn = torch.multinomial(probabilities.reshape(-1, size), plans, replacement=True, generator=generator)
        drawn = drawn.reshape(n, steps, groups, plans).permute(0, 3, 1, 2)
        holds = torch.rand(drawn.shape, generator=generator, device=drawn.device) < hold
        holds[:, :, 0] = False
        at = torch.arange(steps, device=drawn.device)[:, None].expand(drawn.shape)
        drawn_at = at.masked_fill(holds, 0).cummax(2).values  # the step whose draw holds now
        return drawn.gather(2, drawn_at)
