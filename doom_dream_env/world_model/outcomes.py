"""How the outcome of a step is chosen from its logits: the one thing in which dreams, training and planning differ.

Legend: leading dimensions free (written ...), V variables, S changes that a variable can make.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from doom_dream_env.world_model.codes import draw

OutcomeRule = Callable[[list[Tensor]], list[Tensor]]
"""Chooses an outcome: per variable, logits (..., S) → index of its change (...), or a distribution (..., S)."""


def most_likely(logits: list[Tensor]) -> list[Tensor]:
    """The most likely change of every variable: dreams at temperature 0."""
    return [part.argmax(-1) for part in logits]


def sampled(noise: Tensor, health_odds: Tensor) -> OutcomeRule:
    """Changes drawn at their learned probabilities: dreams.

    Args:
        noise: uniform in 0…`BELOW_ONE`, (..., V), see `draw`.
        health_odds: added to the log probabilities of the first variable's changes (health), (..., S).
    """

    def choose(logits: list[Tensor]) -> list[Tensor]:
        first, *others = logits
        parts = [first + health_odds, *others]
        return [draw(part.softmax(-1), noise[..., index]) for index, part in enumerate(parts)]

    return choose


def observed(outcome: list[Tensor]) -> OutcomeRule:
    """The changes that really happened, indices (...) per variable: teacher forcing in training."""
    return lambda logits: outcome


def expected(logits: list[Tensor]) -> list[Tensor]:
    """All changes at once, each by its probability: distributions (..., S) instead of indices. Gradients pass it."""
    return [part.softmax(-1) for part in logits]


def every_change_of_the_first(logits: list[Tensor]) -> list[Tensor]:
    """All S changes of the first variable side by side, each with the most likely changes of the others.

    The logits are (..., 1, S), the indices (..., S).
    """
    first, *others = logits
    size = first.shape[-1]
    shape = (*first.shape[:-2], size)
    every = torch.arange(size, device=first.device).expand(shape)
    return [every, *(part.argmax(-1).expand(shape) for part in others)]
