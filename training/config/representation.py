"""Settings of the stage representation."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import Count, Number, Preset, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RepresentationConfig(TrainingConfig):
    """Train encoder, trunk and dynamics together, on short windows of real frames.

    Attributes:
        preset: sizes of the model.
        init: weights (name or folder) of the same preset to begin from; None: random ones.
        compile: compile the encoder by torch.compile (needs a C++ compiler).
    """

    steps: Count = 4_000
    batch: Count = 40
    lr: Number = 1.5e-3
    preset: Preset = "nano"
    init: str | None = None
    compile: bool = False
