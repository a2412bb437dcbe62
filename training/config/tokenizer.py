"""Settings of the stage tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(TrainingConfig):
    """Train the codes of which the decoder's pictures are made.

    Attributes:
        palette_frames: of each scenario, from which the palette of patches is made.
        palette_objects: share of the patches from cells with objects.
        squared: weight of the squared error beside the L1, which has 1.
        object_weight: what pixels in cells with an object weigh more than others.
        object_share: share of the frames that are drawn from those with objects.
        perceptual: weight of the perceptual distance.
        perceptual_from: share of the steps before it counts.
        perceptual_batch: pictures of a step that the perceptual network looks at.
        perceptual_crop: side of the crop that it looks at, pixels.
    """

    steps: int = 5_000
    batch: int = 24
    lr: float = 3e-3
    palette_frames: int = 1_000
    palette_objects: float = 0.5
    squared: float = 16.0
    object_weight: float = 4.0
    object_share: float = 0.25
    perceptual: float = 0.2
    perceptual_from: float = 0.5
    perceptual_batch: int = 6
    perceptual_crop: int = 64
