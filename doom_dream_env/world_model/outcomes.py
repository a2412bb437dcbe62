"""How the outcome of a step is chosen from its logits: the one thing in which dreams, training and planning differ.

Legend: leading dimensions free (written ...), V variables, S changes that a variable can make at most.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from doom_dream_env.world_model.codes import draw

OutcomeRule = Callable[[Tensor], Tensor]
"""Chooses an outcome: logits (..., V, S) → per variable the index of its change (..., V)."""


def most_likely(logits: Tensor) -> Tensor:
    """The most likely change of every variable: dreams at temperature 0."""
    return logits.argmax(-1)


def sampled(noise: Tensor, odds: Tensor) -> OutcomeRule:
    """Changes drawn at their learned probabilities: dreams.

    Args:
        noise: uniform in 0…`BELOW_ONE`, (..., V), see `draw`.
        odds: added to the log probabilities of the changes, (..., V, S).
    """
    return lambda logits: draw((logits + odds).softmax(-1), noise)


def observed(outcome: Tensor) -> OutcomeRule:
    """The changes that really happened, indices (..., V): teacher forcing in training."""
    return lambda logits: outcome


def every_change_of_the_first(logits: Tensor) -> Tensor:
    """All S changes of the first variable side by side, each with the most likely changes of the others.

    The logits are (..., 1, V, S), the indices (..., S, V).
    """
    size = logits.shape[-1]
    others = logits[..., 1:, :].argmax(-1)
    others = others.expand(*others.shape[:-2], size, others.shape[-1])
    every = torch.arange(size, device=logits.device)[:, None].expand(*others.shape[:-1], 1)
    return torch.cat([every, others], -1)


def two_hot(values: Tensor, support: Tensor) -> Tensor:
    """Distribution (..., R) on a sorted support (R,) whose mean is the value, clamped to the support."""
    values = values.clamp(support[0], support[-1])
    above = torch.searchsorted(support, values.contiguous()).clamp(1, len(support) - 1)
    low = support[above - 1]
    high = support[above]
    share = ((values - low) / (high - low)).clamp(0, 1)
    target = torch.zeros(*values.shape, len(support), device=values.device)
    target.scatter_(-1, (above - 1)[..., None], (1 - share)[..., None])
    return target.scatter_add_(-1, above[..., None], share[..., None])
