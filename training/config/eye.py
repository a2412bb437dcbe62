"""Settings of the stage eye."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import Count, Number, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class EyeConfig(TrainingConfig):
    """Train the eye, which reads things, walls and pose off frames (recorded by `collect --things`).

    Attributes:
        ema_decay: of the moving average of the weights, which is what looks.
    """

    steps: Count = 2_400
    batch: Count = 48
    lr: Number = 2e-3
    ema_decay: Number = 0.998
