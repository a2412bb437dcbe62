"""Settings of the stage decoder."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class DecoderLossWeights:
    """Weights of the terms of the decoder loss, beside the L1, which has 1.

    Attributes:
        squared: squared error of the pixels.
        objects: cross entropy of the objects that are read off the decoder's cells.
        perceptual: LPIPS distance.
        read_back: squared error of the state that the encoder reads from the picture.
        motion: how differently two successive pictures move from the real frames.
        adversarial: of the critic's gradient, in units of that of all other terms at the decoder's last layer.
    """

    squared: float = 2.0
    objects: float = 0.2
    perceptual: float = 0.15
    read_back: float = 0.03
    motion: float = 0.01
    adversarial: float = 0.5


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TrainingConfig):
    """Train the decoder on states of the finished world model, and pack the weights.

    Attributes:
        weights: name or folder of finished weights, whose decoder goes on learning; None: the model that the stage
            dynamics left in `out`.
        autoencoder: train an encoder along, end to end: a yardstick of how good pictures can be at this size. Nothing
            is packed.
        noise: greatest standard deviation of the noise on real states.
        dream_share: share of the states that are dreamed.
        dreams: how many dreams those are from.
        dream_context: real steps before a dream; half of the dreams begin where episodes do, after one real frame.
        dream_steps: dreamed steps of each.
        shot_share: share of the pairs of moments in which a shot goes off or is about to: in some scenarios that is
            once an episode.
        object_weight: what pixels in cells with an object weigh more than others.
        perceptual_from: share of the steps before the perceptual terms count.
        perceptual_batch: pictures of a step that the perceptual network looks at; None: a quarter.
        perceptual_crop: side of the crop that it looks at, pixels.
        adversarial_from: share of the steps before the critic learns; 1: never.
        critic_warmup: share of the remaining steps in which only the critic learns.
        critic_crop: side of what the critic looks at, pixels; it is magnified to `perceptual_crop`.
        critic_lr: peak learning rate of the critic.
        ema_decay: of the moving average that is packed (arXiv 2510.11690).
        loss_weights: weights of the terms of the loss.
    """

    steps: int = 24_000
    batch: int = 24
    lr: float = 1.5e-3
    weights: str | None = None
    autoencoder: bool = False
    noise: float = 0.2
    dream_share: float = 0.5
    dreams: int = 4_000
    dream_context: int = 12
    dream_steps: int = 16
    shot_share: float = 0.25
    object_weight: float = 4.0
    perceptual_from: float = 0.5
    perceptual_batch: int | None = None
    perceptual_crop: int = 64
    adversarial_from: float = 1.0
    critic_warmup: float = 0.25
    critic_crop: int = 32
    critic_lr: float = 2e-3
    ema_decay: float = 0.9978
    loss_weights: DecoderLossWeights = DecoderLossWeights()
