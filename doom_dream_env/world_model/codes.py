"""What the mean next state leaves open, as a discrete code, and how anything discrete is drawn.

Legend: leading dimensions free (written ...), B dreams, E condition width, G groups, K values of each, S choices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BELOW_ONE = 1 - 1e-6
UNIMIX = 0.01  # share of every posterior in training that is uniform, so that the KL divergence stays finite


def draw(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Indices (...) drawn from distributions (..., S), one for each number of the noise (...), uniform in 0…1.

    The distributions need not add up to one, and the noise stays below `BELOW_ONE`, so that rounding never leads past
    the last possible choice.

    The inverse of the distribution function: equal noise gives equal draws, so that the same chances can be tried with
    another action, and a dream can be repeated by an engine that has other random numbers.
    """
    below = probabilities.cumsum(-1)
    return (below <= noise[..., None] * below[..., -1:]).sum(-1)


class Codes(nn.Module):
    """A discrete code of what the mean next state leaves open: G groups of K values, drawn one after another.

    Each value shifts the condition from which the next state is made, so a sampled future is a decision, not a jitter:
    what flies goes on flying. Later groups know the earlier ones, so one sample is one coherent future. In training a
    posterior that has seen the next state chooses the code and the prior learns to predict it, as in DreamerV2
    (arXiv 2010.02193).

    Legend: G groups, K values of each.
    """

    def __init__(self, groups: int, size: int, condition_width: int, width: int) -> None:
        super().__init__()
        self.groups = groups
        self.size = size
        self.embedding = nn.Parameter(torch.randn(groups, size, condition_width) * 0.3)
        self.condition_in = nn.Linear(condition_width, width)
        self.chosen_in = nn.Parameter(torch.zeros(groups - 1, size, width))
        self.logits = nn.ModuleList(nn.Linear(width, size) for _ in range(groups))
        self.register_buffer("first_rows", torch.arange(groups) * size, persistent=False)  # of each group's embedding

    first_rows: Tensor

    def embed(self, code: Tensor) -> Tensor:
        """One-hot (or straight-through) code (..., G, K) → shift of the condition (..., E)."""
        return code.flatten(-2) @ self.embedding.flatten(0, 1)

    def log_prior(self, condition: Tensor, code: Tensor) -> Tensor:
        """Log probabilities (..., G, K) of each group, given the condition (..., E) and the groups before it.

        Args:
            condition: (..., E).
            code: one-hot, (..., G, K).
        """
        x = self.condition_in(condition)
        logits = []
        for group, head in enumerate(self.logits):
            if group:
                x = x + code[..., group - 1, :] @ self.chosen_in[group - 1]
            logits.append(head(F.gelu(x)))
        return torch.stack(logits, -2).float().log_softmax(-1)

    def sample(self, condition: Tensor, temperature: float | Tensor, noise: Tensor) -> Tensor:
        """Draw a code from the prior and return the shift of the condition (B, E) that it brings.

        In training every posterior is mixed with a uniform share (`UNIMIX`), and the prior learns that share too. It is
        subtracted here: with it, one step in 25 of a dream followed a code that means nothing.

        Args:
            condition: (B, E).
            temperature: divides the log probabilities.
            noise: uniform in 0…`BELOW_ONE`, (B, G), see `draw`.
        """
        x = self.condition_in(condition)
        power = 1 / temperature
        code: list[Tensor] = []
        for group, head in enumerate(self.logits):
            if group:
                x = x + F.embedding(code[-1], self.chosen_in[group - 1])
            probabilities = (head(F.gelu(x)).softmax(-1) - UNIMIX / self.size).clamp(min=1e-12)
            code.append(draw(probabilities.pow(power), noise[:, group]))
        rows = torch.stack(code, -1) + self.first_rows
        return F.embedding(rows, self.embedding.flatten(0, 1)).sum(-2)
