"""Where real states are: the box, in each world's principal directions, that a dreamed state may not leave.

Real states of one world fill a few dozen of the D directions. Errors of prediction fill them all, and nothing in a squared error calls
them back: without the box, after 240 steps of a dream most of its energy lay in directions in which real states hardly move (measured:
340 of 460 against 4 of 173), and every head read what it had never seen.

Legend: leading dimensions free (written ...), W worlds, D state width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TAIL = 5e-4  # of real states lie beyond each face of the box
PRIOR = 4.0  # half the side of the box before `fit`: states are about standard normal


class Manifold(nn.Module):
    """Per world (the last one: unknown), principal directions of real states and the range of real states along each."""

    def __init__(self, worlds: int, width: int) -> None:
        super().__init__()
        self.register_buffer("basis", torch.eye(width).repeat(worlds + 1, 1, 1))  # W + 1, D, D; columns are directions
        self.register_buffer("low", torch.full((worlds + 1, width), -PRIOR))
        self.register_buffer("high", torch.full((worlds + 1, width), PRIOR))

    basis: Tensor
    low: Tensor
    high: Tensor

    @torch.no_grad()
    def fit(self, world: int, z: Tensor) -> None:
        """Take the directions and ranges of real states z (N, D) as those of a world."""
        z = z.float()
        _, directions = torch.linalg.eigh(torch.cov(z.T).double())
        self.basis[world] = directions.flip(1)
        along = z @ self.basis[world]
        count = max(1, int(TAIL * len(z)))
        self.low[world], self.high[world] = along.kthvalue(count, 0).values, along.kthvalue(len(z) + 1 - count, 0).values

    def forward(self, z: Tensor, world: Tensor) -> Tensor:
        """Nearest states within the box, z (B, ..., D), world (B,); those within it stay as they are.

        No gradient passes a face of the box: straight through it, those of long rollouts grew to 10¹⁶ (measured).
        """
        flat = z.reshape(len(z), -1, z.shape[-1])
        if bool((world == world[0]).all()):  # one product for all lanes instead of one each
            one = int(world[0])
            basis, low, high = self.basis[one], self.low[one], self.high[one]
        else:
            basis, low, high = self.basis[world], self.low[world][:, None], self.high[world][:, None]
        along = flat.float() @ basis
        correction = (along.clamp(low, high) - along) @ basis.mT
        return z + correction.reshape(z.shape)

    def noise(self, world: Tensor, strength: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian noise shaped like real states: `strength` (B, 1, 1) times their spread along each direction; like (B, T, D)."""
        drawn = torch.randn(like.shape, generator=generator).to(like.device)
        spread = (self.high[world] - self.low[world])[:, None] / 6.6  # the range holds 99.9 %
        return (strength * drawn * spread) @ self.basis[world].mT
