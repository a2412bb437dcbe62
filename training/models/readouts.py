"""What decides play, read off an agent's features by linear heads that exist in training only.

Nothing else asks the state where the player stands, where the player looks, where the fireball will pass and whether a
shot would hit: prediction and pictures are content without. The game tells the answers to nobody but the recorder; they
are privileged. Each map has a readout of its own for position and angle, because each has its own coordinates.
Gradients go into the encoder (stage representation), and into dreamed states and features (stage dynamics), so that in
a dream the same readout finds the same answers.

Legend: B batch, T time, D state width, E trunk width, F = D + E, P places (a scenario or one of its maps).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.batch import Batch
from training.data.dataset import Dataset
from training.models.losses import masked_mean

POSE = 4  # x and y in units of their spread, sine and cosine of the angle
SIGHTINGS = 3  # sideways offset of the nearest projectile, monster under the crosshair, item ahead
OFFSET_VARIANCE = 0.15  # of the nearest projectile, which is between −1 and 1
LEAST_SPREAD = 32.0  # map units: a player who hardly moves is not asked for the position
FARTHEST = 3.0  # spreads from the middle: positions beyond that count as that


class PrivilegedReadouts(nn.Module):
    """Linear heads on [z, h]: the pose by place, sightings for all places together."""

    def __init__(self, width: int, places: int) -> None:
        """Make heads on features of width F for P places."""
        super().__init__()
        self.pose = nn.Parameter(torch.zeros(places, width, POSE))
        self.pose_bias = nn.Parameter(torch.zeros(places, POSE))
        self.sighting = nn.Linear(width, SIGHTINGS)
        self.register_buffer("centre", torch.zeros(places, 2))
        self.register_buffer("spread", torch.ones(places, 2))

    centre: Tensor
    spread: Tensor

    def calibrate(self, data: Dataset) -> None:
        """Take mean and spread of the player's position in each place from the data."""
        for place in range(len(data.places)):
            position = data.pose[(data.place == place) & data.annotated, :2]
            if not len(position):
                continue  # it was seen in videos alone
            self.centre[place] = torch.from_numpy(position.mean(0))
            self.spread[place] = torch.from_numpy(np.maximum(position.std(0), LEAST_SPREAD))

    def loss(self, z: Tensor, h: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        """Squared errors of pose and offset in units of their variance, cross entropies of the other sightings.

        Args:
            z: states (B, T, D).
            h: trunk features (B, T, E).
            batch: what was to be seen.
            mask: which steps count, (B, T).
        """
        features = torch.cat([z, h], -1).float()
        return self._pose_loss(features, batch, mask) + self._sighting_loss(features, batch, mask)

    def _pose_loss(self, features: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        place = batch.place
        read = torch.baddbmm(self.pose_bias[place][:, None], features, self.pose[place])
        position = (batch.pose[..., :2] - self.centre[place][:, None]) / self.spread[place][:, None]
        angle = torch.deg2rad(batch.pose[..., 3:])
        target = torch.cat([position.clamp(-FARTHEST, FARTHEST), angle.sin(), angle.cos()], -1)
        return masked_mean((read - target).square(), mask)

    def _sighting_loss(self, features: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        offset, *labels = batch.sightings.unbind(-1)
        read_offset, *logits = self.sighting(features).unbind(-1)
        error = (read_offset - offset.nan_to_num()).square() / OFFSET_VARIANCE
        loss = masked_mean(error, mask * offset.isfinite())  # there may be no projectile, and then no offset
        for logit, label in zip(logits, labels, strict=True):
            loss = loss + masked_mean(F.binary_cross_entropy_with_logits(logit, label, reduction="none"), mask)
        return loss
