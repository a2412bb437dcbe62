"""What the stage decoder trains: views of states by themselves, the whole decoder, and its moving average."""

from __future__ import annotations

from typing import cast

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.decoder import CODES, HIDDEN, VALUES, Decoder

AVERAGE = "average.module."  # of the names of the averaged tensors in a checkpoint


class DecoderModules(nn.Module):
    """All that the stage decoder writes into its checkpoint.

    Attributes:
        decoder: what learns.
        average: the decoder's moving average, which is what ships.
    """

    def __init__(self, decoder: Decoder, ema_decay: float) -> None:
        """Begin an average that remembers 1 / (1 − `ema_decay`) steps."""
        super().__init__()
        self.decoder = decoder
        # The average moves faster in the beginning, when there is little worth keeping: the decay after n steps is
        # n / (9 + n), until that reaches `ema_decay`. timm counts from its step 1, hence `update_after_step`.
        self.average = ModelEmaV3(
            decoder, decay=ema_decay, use_warmup=True, warmup_gamma=9, warmup_power=1.0, update_after_step=-1
        )

    @property
    def averaged(self) -> Decoder:
        """The decoder with averaged weights."""
        return cast("Decoder", self.average.module)

    def update_average(self, steps: int) -> None:
        """Move the average towards the decoder, which has made `steps` optimiser steps so far."""
        self.average.update(self.decoder, steps)


class ViewHeads(nn.Module):
    """Tells codes from the views of single cells, which is how the views are fitted. Exists in training only."""

    def __init__(self, view_width: int) -> None:
        super().__init__()
        cells = CODES[0] * CODES[1] // 4
        self.first = nn.Linear(view_width, 4 * VALUES)
        self.first_bias = nn.Parameter(torch.zeros(cells, 4 * VALUES))
        self.second = nn.Linear(view_width, 4 * HIDDEN)
        self.second_bias = nn.Parameter(torch.zeros(cells, 4 * HIDDEN))
        self.given = nn.Embedding(VALUES, HIDDEN)
        self.out = nn.Linear(HIDDEN, VALUES)

    def forward(self, views: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 192, 4, K) of both digits, from views (N, V, 12, 16) and the first digits (N, 192, 4)."""
        views = views.flatten(2).transpose(1, 2)
        hidden = (self.second(views) + self.second_bias).unflatten(-1, (4, HIDDEN)) + self.given(first)
        return (self.first(views) + self.first_bias).unflatten(-1, (4, VALUES)), self.out(F.gelu(hidden))


def by_cell(maps: Tensor) -> Tensor:
    """Maps of codes (N, 24, 32) → the four of each cell, (N, 192, 4)."""
    return maps.view(-1, CODES[0] // 2, 2, CODES[1] // 2, 2).transpose(2, 3).reshape(len(maps), -1, 4)
