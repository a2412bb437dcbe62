"""Settings of the stage tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(TrainingConfig):
    """Train the codes of which the decoder's pictures are made.

    Attributes:
        palette_frames: of each scenario, from which the palette of patches is made.
    """

    steps: int = 5_000
    batch: int = 24
    lr: float = 3e-3
    palette_frames: int = 1_000
