"""Settings of the stage things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.seeds import EVALUATION
from training.config.base import Count, Number, Seed, TrainingConfig
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


@dataclass(frozen=True, kw_only=True)
class ThingsAgentsConfig:
    """Train an agent in dreams of things, and let it play the game.

    Attributes:
        weights: checkpoint of the stage things.
        eye: checkpoint of the stage eye, by which it plays from frames alone; None: the game tells where things are.
        data: folder of the dataset, with shards of things: where dreams begin.
        scenario: one with an action table.
        steps: dreamed steps of all dreams together.
        seed: of agent and dreams.
        episodes: real games.
        first_seed: of the games; from 90,000 up they are yours.
    """

    weights: Path = Path("runs/things/things.safetensors")
    eye: Path | None = None
    data: Path = Path("data")
    scenario: str = "take_cover"
    steps: Count = 450_000
    seed: Seed = 0
    episodes: Count = 100
    first_seed: Seed = EVALUATION
