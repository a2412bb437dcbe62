"""Where real states are: the box, in each scenario's principal directions, that a dreamed state may not leave.

Real states of one scenario fill a few dozen of the D directions. Errors of prediction fill them all, and nothing in a
squared error calls them back: without the box, after 240 steps of a dream most of its energy lay in directions in which
real states hardly move (measured: 340 of 460 against 4 of 173), and every head read what it had never seen.

Legend: leading dimensions free (written ...), B batch, T time, D state width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TAIL = 5e-4  # share of real states that lie beyond each face of the box
UNFITTED = 4.0  # half the side of the box before `fit`: states are about standard normal
RANGE_IN_SPREADS = 6.6  # the box holds 99.9 % of real states, which in a Gaussian are ± 3.3 standard deviations


class Manifold(nn.Module):
    """Per scenario (the last one: unknown), principal directions of real states and their range along each."""

    def __init__(self, scenarios: int, width: int) -> None:
        super().__init__()
        # Scenarios + 1, D, D; columns are directions.
        self.register_buffer("basis", torch.eye(width).repeat(scenarios + 1, 1, 1))
        # Scenarios + 1, D.
        self.register_buffer("low", torch.full((scenarios + 1, width), -UNFITTED))
        self.register_buffer("high", torch.full((scenarios + 1, width), UNFITTED))

    basis: Tensor
    low: Tensor
    high: Tensor

    @torch.no_grad()
    def fit(self, scenario: int, z: Tensor) -> None:
        """Take the directions and ranges of real states z (N, D) as those of a scenario."""
        z = z.float()
        _, directions = torch.linalg.eigh(torch.cov(z.T).double())
        self.basis[scenario] = directions.flip(1)
        along = z @ self.basis[scenario]
        count = max(1, int(TAIL * len(z)))
        self.low[scenario] = along.kthvalue(count, 0).values
        self.high[scenario] = along.kthvalue(len(z) + 1 - count, 0).values

    def forward(self, z: Tensor, scenario: Tensor) -> Tensor:
        """Nearest states within the box, z (B, ..., D), scenario (B,); those within it stay as they are.

        No gradient passes a face of the box: straight through it, those of long rollouts grew to 10¹⁶ (measured).
        """
        flat = z.reshape(z.shape[0], -1, z.shape[-1])
        # One matrix product for the whole batch instead of one each. An exported graph is for any batch.
        lowest, highest = (0, 1) if torch.compiler.is_exporting() else map(int, scenario.aminmax())
        if lowest == highest:
            basis = self.basis[lowest]
            low = self.low[lowest]
            high = self.high[lowest]
        else:
            basis = self.basis[scenario]
            low = self.low[scenario][:, None]
            high = self.high[scenario][:, None]
        along = flat.float() @ basis
        correction = (along.clamp(low, high) - along) @ basis.mT
        return z + correction.reshape(z.shape)

    def noise(self, scenario: Tensor, strength: Tensor, standard: Tensor) -> Tensor:
        """Gaussian noise shaped like real states, (B, T, D).

        Args:
            scenario: index, (B,).
            strength: in spreads (standard deviations) of real states along each direction, (B, 1, 1).
            standard: standard normal numbers, (B, T, D).
        """
        spread = (self.high[scenario] - self.low[scenario])[:, None] / RANGE_IN_SPREADS
        return (strength * standard * spread) @ self.basis[scenario].mT
