"""Settings of the stage things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.scenarios import SCENARIOS
from training.config.base import Count, Number, TrainingConfig
from training.config.collect import Split


@dataclass(frozen=True, kw_only=True)
class ThingsTrainingConfig(TrainingConfig):
    """Train the dynamics of things, on single steps of what the game knew (`collect --things --no-frames`).

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


@dataclass(frozen=True, kw_only=True)
class ThingsScoreConfig:
    """Measure what dreams of things keep, on play that training never saw.

    Attributes:
        weights: checkpoint of the stage things.
        data: folder of the dataset, with shards of things.
        split: which of them.
        scenarios: whose.
        count: dreams in which objects are looked for, of each scenario.
        steps: recorded steps from which outcomes are dreamed, of each scenario.
    """

    weights: Path = Path("runs/things/things.safetensors")
    data: Path = Path("data")
    split: Split = "val"
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    count: Count = 300
    steps: Count = 1500
