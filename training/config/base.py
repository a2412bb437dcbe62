"""What the stages that train a network have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from doom_dream_env.options import MOST_SEED
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import validation

MOST = 10**12
Count = Annotated[validation.Count, Field(le=MOST)]
Whole = Annotated[validation.Whole, Field(le=MOST)]
Seed = Annotated[validation.Whole, Field(le=MOST_SEED)]
Number = Annotated[validation.Number, Field(le=MOST)]
Preset = Literal["tiny", "nano", "base"]  # the keys of `doom_dream_env.world_model.PRESETS`


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of every stage that trains a network.

    Attributes:
        data: folder of the dataset.
        out: folder of the run: checkpoints, logs, and at last the weights.
        scenarios: names, or paths of ViZDoom configurations; the same in all stages of a run.
        steps: optimiser steps in all.
        batch: windows (in the decoder: pictures) per step, of all ranks together: the same run on any number of them.
        lr: peak learning rate.
        seed: seed of initial weights, windows and noise.
        device: cpu, cuda, or auto: the GPU if there is one.
        threads: CPU threads; None: all.
    """

    data: Path = Path("data")
    out: Path = Path("runs/nano")
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    steps: Count
    batch: Count
    lr: Number
    seed: Seed = 0
    device: str = "auto"
    threads: Count | None = None
