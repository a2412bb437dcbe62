"""Settings of the stage dynamics."""

from __future__ import annotations

from dataclasses import dataclass, field

from doom_dream_env.world_model.validation import Share
from training.config.base import Count, Number, Preset, TrainingConfig, Whole


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(TrainingConfig):
    """Train trunk and dynamics on long windows of states of the finished encoder.

    Attributes:
        init: begin from these weights (name or folder) instead of the stage representation.
        preset: their sizes; read only with `init`.
        rollout: steps that the model is fed its own predictions, with gradients through all of them.
        scenario_weights: scenarios, each followed by its share of the windows; every other scenario has a share of 1.
        seen_shards: scenarios, each followed by the number of shards that earlier training has seen. Of those only
            a quarter is used again: deaths are partly luck, and a network that sees the same ones again learns them
            by heart.
        scripted_share: scenarios, each followed by the share of the episodes of scripted players that is used. What
            they do betrays what they see and no frame shows, and a dream that learned from them spares whoever moves as
            they do ("delusions", arXiv 2110.10819).
    """

    steps: Count = 6_000
    batch: Count = 40
    lr: Number = 1e-3
    init: str | None = None
    preset: Preset = "nano"
    rollout: Count = 22
    scenario_weights: dict[str, Number] = field(default_factory=dict)
    seen_shards: dict[str, Whole] = field(default_factory=dict)
    scripted_share: dict[str, Share] = field(default_factory=dict)
