"""Settings of the stage decoder."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import Count, Number, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TrainingConfig):
    """Train the decoder on states of the finished world model, and pack the weights.

    Attributes:
        weights: name or folder of finished weights, which get a new decoder; None: the model that the stage dynamics
            left in `out`.
        init: name or folder of weights whose decoder goes on learning here, with the same palette; None: a new one.
    """

    steps: Count = 24_000
    batch: Count = 24
    lr: Number = 2e-3
    weights: str | None = None
    init: str | None = None
