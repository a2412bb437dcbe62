"""One way to write what is pressed in every world: pairs of opposites and single buttons, and tables made of them.

Nine buttons are three pairs of opposites, of which none or one is pressed (forward and back, the strafes, the turns),
and three that are down or not (attack, use, speed): 15 exclusive choices in six groups, whose logits are 12 numbers. A
scenario with an action table knows only some of their combinations; there the same numbers, renormalised over the
table's rows, are a categorical distribution. So one head serves free play and all scenarios.

Legend: leading dimensions free (written ...), n rows of an action table.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.scenarios import BITS, BUTTONS, PAIRS

N_LOGITS = 3 * len(PAIRS) + len(BITS)  # 12
N_CHOICES = 3 * len(PAIRS) + 2 * len(BITS)  # 15

_FIRST = [BUTTONS.index(first) for first, _ in PAIRS]
_SECOND = [BUTTONS.index(second) for _, second in PAIRS]
_BITS = [BUTTONS.index(name) for name in BITS]


def choices_of(buttons: Tensor) -> Tensor:
    """Which of the 15 choices some buttons (..., 9) are, 0 or 1: (..., 15). Both of a pair count as none of it."""
    buttons = buttons.float()
    first = buttons[..., _FIRST] * (1 - buttons[..., _SECOND])
    second = buttons[..., _SECOND] * (1 - buttons[..., _FIRST])
    pairs = torch.stack([1 - first - second, first, second], -1).flatten(-2)
    down = buttons[..., _BITS]
    return torch.cat([pairs, torch.stack([1 - down, down], -1).flatten(-2)], -1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log probability of each choice within its group: logits (..., 12) → (..., 15)."""
    pairs = logits[..., : 3 * len(PAIRS)].unflatten(-1, (len(PAIRS), 3)).log_softmax(-1).flatten(-2)
    bits = logits[..., 3 * len(PAIRS) :]
    return torch.cat([pairs, torch.stack([F.logsigmoid(-bits), F.logsigmoid(bits)], -1).flatten(-2)], -1)


def table_logits(logits: Tensor, action_table: Tensor) -> Tensor:
    """Logits of a table's rows: logits (..., 12), buttons of the rows (n, 9) → (..., n)."""
    return log_probabilities(logits) @ choices_of(action_table).T


def button_logits(logits: Tensor) -> Tensor:
    """Logit of each of the nine buttons by itself being down: (..., 12) → (..., 9)."""
    log_p = log_probabilities(logits)
    out = torch.zeros(*logits.shape[:-1], len(BUTTONS), dtype=log_p.dtype, device=log_p.device)
    pairs = log_p[..., : 3 * len(PAIRS)].unflatten(-1, (len(PAIRS), 3)).exp()
    odds = pairs[..., 1:].clamp(1e-6, 1 - 1e-6).logit()
    out[..., _FIRST] = odds[..., 0]
    out[..., _SECOND] = odds[..., 1]
    out[..., _BITS] = logits[..., 3 * len(PAIRS) :]
    return out


def draw_buttons(logits: Tensor, greedy: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Buttons (N, 9), 0 or 1, from logits (N, 12): each group sampled by itself, or its most likely choice."""
    log_p = log_probabilities(logits)
    pairs = log_p[:, : 3 * len(PAIRS)].unflatten(-1, (len(PAIRS), 3))
    down = log_p[:, 3 * len(PAIRS) + 1 :: 2]
    if greedy:
        chosen = pairs.argmax(-1)
        pressed = down > down.exp().neg().log1p()
    else:
        chosen = torch.multinomial(pairs.exp().flatten(0, 1), 1, generator=generator).view(len(logits), len(PAIRS))
        pressed = torch.bernoulli(down.exp(), generator=generator) > 0
    out = torch.zeros(len(logits), len(BUTTONS), device=logits.device)
    out[:, _FIRST] = (chosen == 1).float()
    out[:, _SECOND] = (chosen == 2).float()
    out[:, _BITS] = pressed.float()
    return out
