"""What can be pressed, as groups of options of which exactly one is chosen: for plans, and for a policy of all worlds.

An action table is a single group, its rows the options. The nine buttons of free play are six groups: three pairs of
opposites, of which none or one is pressed (forward and back, the strafes, the turns), and three buttons that are down
or not (attack, use, speed). Their 15 options have 12 logits, as "not down" needs none of its own. A scenario with an
action table knows only some of their combinations; there the same numbers, renormalised over the table's rows, are a
categorical distribution. So one head serves free play and all scenarios.

Legend: G groups, M options of the largest one, P plans, H steps, n environments or rows of an action table; leading
dimensions (...) are free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.scenarios import BITS, BUTTONS, PAIRS, Scenario, press

_OPPOSITES = [[BUTTONS.index(name) for name in pair] for pair in PAIRS]


@dataclass(frozen=True)
class ActionGroups:
    """Groups of options.

    Attributes:
        options: what each option presses, float32 (G, M, 9); zeros where a group has fewer.
        exists: which options there are, bool (G, M).
    """

    options: Tensor
    exists: Tensor

    @classmethod
    def of(cls, scenario: Scenario, device: torch.device | str = "cpu") -> ActionGroups:
        """Those of a scenario: the rows of its action table, or those of free play."""
        if not scenario.discrete:
            return cls(FREE_PLAY.options.to(device), FREE_PLAY.exists.to(device))
        options = torch.from_numpy(scenario.action_table()).float()[None]
        return cls(options.to(device), torch.ones(options.shape[:2], dtype=torch.bool, device=device))

    @classmethod
    def of_free_play(cls) -> ActionGroups:
        """The pairs and the single buttons; option 0 is to press none."""
        groups = [np.stack([press(), *map(press, names)]) for names in (*PAIRS, *((name,) for name in BITS))]
        size = max(map(len, groups))
        options = torch.zeros(len(groups), size, len(BUTTONS))
        for group, rows in zip(options, groups, strict=True):
            group[: len(rows)] = torch.from_numpy(rows)
        return cls(options, torch.tensor([[number < len(rows) for number in range(size)] for rows in groups]))

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
        """The options (..., G) nearest to buttons (..., 9), of which both of a pair count as none of it."""
        pressed = buttons.float().clone()
        for pair in _OPPOSITES:
            pressed[..., pair] *= 1 - pressed[..., pair[::-1]]
        agreement = torch.einsum("gmb,...b->...gm", 2 * self.options, pressed) - self.options.sum(-1)
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


FREE_PLAY = ActionGroups.of_free_play()
N_LOGITS = 3 * len(PAIRS) + len(BITS)  # 12


# ---- one head for all worlds -----------------------------------------------------------------------------------------


def choices_of(buttons: Tensor) -> Tensor:
    """Which of the 15 options some buttons (..., 9) are, 0 or 1: (..., 15). Both of a pair count as none of it."""
    groups = ActionGroups(FREE_PLAY.options.to(buttons.device), FREE_PLAY.exists.to(buttons.device))
    return groups.one_hot(groups.choices(buttons))[..., groups.exists]


def group_logits(logits: Tensor) -> Tensor:
    """Logits (..., 12) of the pairs' options and of the buttons that are down as those of all groups, (..., 6, 3)."""
    pairs = logits[..., : 3 * len(PAIRS)].unflatten(-1, (len(PAIRS), 3))
    down = logits[..., 3 * len(PAIRS) :]
    bits = torch.stack([torch.zeros_like(down), down, torch.full_like(down, -torch.inf)], -1)
    return torch.cat([pairs, bits], -2)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log probability of each option within its group: logits (..., 12) → (..., 15)."""
    return group_logits(logits).log_softmax(-1)[..., FREE_PLAY.exists.to(logits.device)]


def table_logits(logits: Tensor, action_table: Tensor) -> Tensor:
    """Logits of a table's rows: logits (..., 12), buttons of the rows (n, 9) → (..., n)."""
    return log_probabilities(logits) @ choices_of(action_table).T


def button_logits(logits: Tensor) -> Tensor:
    """Logit of each of the nine buttons by itself being down: (..., 12) → (..., 9)."""
    odds = torch.einsum("...gm,gmb->...b", group_logits(logits).softmax(-1), FREE_PLAY.options.to(logits.device))
    return odds.clamp(1e-6, 1 - 1e-6).logit()


def draw_buttons(logits: Tensor, greedy: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Buttons (N, 9), 0 or 1, from logits (N, 12): each group sampled by itself, or its most likely option."""
    grouped = group_logits(logits)
    if greedy:
        chosen = grouped.argmax(-1)
    else:
        flat = grouped.softmax(-1).flatten(0, 1)
        chosen = torch.multinomial(flat, 1, generator=generator).view(grouped.shape[:2])
    options = FREE_PLAY.options.to(logits.device)
    return options[torch.arange(len(options), device=logits.device), chosen].sum(-2)
