"""Settings of the stage tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import Count, Number, TrainingConfig, Whole


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(TrainingConfig):
    """Train the codes of which the decoder's pictures are made.

    Attributes:
        palette_frames: of each scenario, from which the palette of patches is made.
    """

    steps: Count = 5_000
    batch: Count = 24
    lr: Number = 3e-3
    palette_frames: Whole = 1_000
