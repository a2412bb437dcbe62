"""What the stages that train a network have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from doom_dream_env.scenarios import SCENARIOS

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
        optimizer: for hidden matrices; all else is trained by AdamW.
        lr: peak learning rate.
        seed: seed of initial weights, windows and noise.
        checkpoint_every: steps between checkpoints.
        limit: use at most about so many recorded steps of each scenario.
        device: cpu, cuda, or auto: the GPU if there is one.
        threads: CPU threads; None: all.
    """

    data: Path = Path("data")
    out: Path = Path("runs/nano")
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    steps: int
    batch: int
    optimizer: Literal["adamw", "muon"] = "muon"
    lr: float
    seed: int = 0
    checkpoint_every: int = 250
    limit: int | None = None
    device: str = "auto"
    threads: int | None = None
