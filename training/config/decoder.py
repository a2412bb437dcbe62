"""Settings of the stage decoder."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TrainingConfig):
    """Train the decoder on states of the finished world model, and pack the weights.

    Attributes:
        weights: name or folder of finished weights, which get a new decoder; None: the model that the stage dynamics
            left in `out`.
        init: name or folder of weights whose decoder goes on learning here, with the same palette; None: a new one.
        noise: greatest standard deviation of the noise on real states.
        dream_share: share of the states that are dreamed.
        dreams: how many dreams those are from.
        dream_context: real steps before a dream; half of the dreams begin where episodes do, after one real frame.
        dream_steps: dreamed steps of each.
        shot_share: share of the real states in which a shot goes off or is about to: in some scenarios that is once an
            episode.
        object_weight: what patches in cells with an object weigh more than others.
        object_weight_end: the same at the end: it falls over the last third of the run. Codes that weigh more seem
            likelier than they are, and pictures would be drawn full of them.
        forget_share: share of the pictures that are drawn without a picture before.
        own_share: share of the others whose picture before is the decoder's own.
        wrong_codes: greatest share of wrong codes in the picture before.
        ema_decay: of the moving average that is packed (arXiv 2510.11690).
    """

    steps: int = 24_000
    batch: int = 24
    lr: float = 2e-3
    weights: str | None = None
    init: str | None = None
    noise: float = 0.15
    dream_share: float = 0.5
    dreams: int = 6_000
    dream_context: int = 8
    dream_steps: int = 26
    shot_share: float = 0.12
    object_weight: float = 6.0
    object_weight_end: float = 2.0
    forget_share: float = 0.25
    own_share: float = 0.25
    wrong_codes: float = 0.3
    ema_decay: float = 0.998
