"""What decides play, read off an agent's features by linear heads that exist in training only.

Nothing else asks the state where the player stands, where he looks, where the fireball will pass and whether a shot would hit:
prediction and pictures are content without. Each map has a read-out of its own for position and angle, because each has its own
coordinates. Gradients go into the encoder (joint stage), and into dreamed states and features, so that in a dream the same read-out
finds the same facts.

Legend: B batch, T time, D state width, E trunk width, F = D + E, P places (a world or one of its maps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.losses import masked_mean

if TYPE_CHECKING:
    from training.dataset import Dataset
    from training.world_model import Batch

SIGHTS = 3  # lateral offset of the nearest projectile, monster under the crosshair, item ahead
OFFSET_VARIANCE = 0.15
LEAST_SPREAD = 32.0  # map units: a player who hardly moves is not asked where he is


class Facts(nn.Module):
    """Linear heads on [z, h]: pose per place, sights for all."""

    def __init__(self, width: int, places: int) -> None:
        super().__init__()
        self.pose = nn.Parameter(torch.zeros(places, width, 4))
        self.pose_bias = nn.Parameter(torch.zeros(places, 4))
        self.sight = nn.Linear(width, SIGHTS)
        self.register_buffer("centre", torch.zeros(places, 2))
        self.register_buffer("spread", torch.ones(places, 2))

    centre: Tensor
    spread: Tensor

    def calibrate(self, data: Dataset) -> None:
        """Learn the mean and spread of the player's position in each place of the data."""
        for place in range(len(data.places)):
            at = data.pose[data.place == place, :2]
            self.centre[place] = torch.from_numpy(at.mean(0))
            self.spread[place] = torch.from_numpy(np.maximum(at.std(0), LEAST_SPREAD))

    def loss(self, z: Tensor, h: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        """Squared errors of pose and offset in units of their variance, cross entropies of the rest; z (B, T, D), h (B, T, E)."""
        x, place = torch.cat([z, h], -1).float(), batch.place
        pose = torch.baddbmm(self.pose_bias[place][:, None], x, self.pose[place])
        at = ((batch.pose[..., :2] - self.centre[place][:, None]) / self.spread[place][:, None]).clamp(-3, 3)
        angle = torch.deg2rad(batch.pose[..., 3:])
        error = (pose - torch.cat([at, angle.sin(), angle.cos()], -1)).square()
        offset, *labels = batch.sight.unbind(-1)
        read, *logits = self.sight(x).unbind(-1)
        loss = masked_mean(error, mask) + masked_mean((read - offset.nan_to_num()).square() / OFFSET_VARIANCE, mask * offset.isfinite())
        for logit, label in zip(logits, labels, strict=True):
            loss = loss + masked_mean(F.binary_cross_entropy_with_logits(logit, label, reduction="none"), mask)
        return loss
