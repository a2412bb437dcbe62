"""What the stage decoder trains: the decoder, a head that exists in training only, and the decoder's moving average."""

from __future__ import annotations

from typing import cast

from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.decoder import Decoder
from training.data.annotations import OBJECT_CLASSES

AVERAGE = "average.module."  # of the names of the averaged tensors in a checkpoint


class DecoderModules(nn.Module):
    """All that the stage decoder writes into its checkpoint.

    Attributes:
        decoder: what learns.
        objects: reads off the decoder's places where objects stand. Few patches show a fireball, and a place that has
            to know of it can show it.
        average: the decoder's moving average, which is what ships.
    """

    def __init__(self, decoder: Decoder, ema_decay: float) -> None:
        """Begin an average that remembers 1 / (1 − `ema_decay`) steps."""
        super().__init__()
        self.decoder = decoder
        self.objects = nn.Conv2d(decoder.before_in.out_channels, len(OBJECT_CLASSES), 1)
        # The average moves faster in the beginning, when there is little worth keeping: the decay after n steps is
        # n / (9 + n), until that reaches `ema_decay`. timm counts from its step 1, hence `update_after_step`.
        self.average = ModelEmaV3(
            decoder, decay=ema_decay, use_warmup=True, warmup_gamma=9, warmup_power=1.0, update_after_step=-1
        )

    def object_logits(self, places: Tensor) -> Tensor:
        """Logits of objects (N, 3, 12, 16) by the decoder's places (N, M, 12, 16)."""
        logits: Tensor = self.objects(F.gelu(places))
        return logits

    @property
    def averaged(self) -> Decoder:
        """The decoder with averaged weights."""
        return cast("Decoder", self.average.module)

    def update_average(self, steps: int) -> None:
        """Move the average towards the decoder, which has made `steps` optimiser steps so far."""
        self.average.update(self.decoder, steps)
