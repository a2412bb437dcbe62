"""Settings of the stage things."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import Count, Number, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class ThingsTrainingConfig(TrainingConfig):
    """Train the dynamics of things, on single steps of what the game knew (`collect --things`).

    Attributes:
        width: of the transformer.
        depth: its layers.
        ema_decay: of the moving average of the weights, which is what dreams.
    """

    steps: Count = 16_000
    batch: Count = 256
    lr: Number = 2e-3
    width: Count = 96
    depth: Count = 3
    ema_decay: Number = 0.998
