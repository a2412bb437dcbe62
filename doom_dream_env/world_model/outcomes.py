"""How the outcome of a step is chosen from its logits: the one thing in which dreams, training and planning differ.

Legend: leading dimensions free (written ...), V variables, S changes that a variable can make at most.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from doom_dream_env.world_model.codes import draw

OutcomeRule = Callable[[Tensor], Tensor]
"""Chooses an outcome: logits (..., V, S) → per variable the index of its change (..., V), or a distribution."""


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


def expected(logits: Tensor) -> Tensor:
    """All changes at once, each by its probability: distributions (..., V, S) instead of indices. Gradients pass it."""
    return logits.softmax(-1)


def every_change_of_the_first(logits: Tensor) -> Tensor:
    """All S changes of the first variable side by side, each with the most likely changes of the others.

    The logits are (..., 1, V, S), the indices (..., S, V).
    """
    size = logits.shape[-1]
    others = logits[..., 1:, :].argmax(-1)
    others = others.expand(*others.shape[:-2], size, others.shape[-1])
    every = torch.arange(size, device=logits.device)[:, None].expand(*others.shape[:-1], 1)
    return torch.cat([every, others], -1)
