"""Settings of the inverse dynamics model: its training and its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.config.base import Count, Number, TrainingConfig
from training.config.collect import Split

IDMPreset = Literal["tiny", "nano"]  # the keys of `doom_dream_env.idm.IDM_PRESETS`


@dataclass(frozen=True, kw_only=True)
class IDMTrainingConfig(TrainingConfig):
    """Train an inverse dynamics model: gameplay pictures to keys.

    Attributes:
        preset: sizes of the model.
        films: folder of films with what was pressed beside them (`python -m training film`), to learn from too: what is
            play and what is not, and looks that no recording has; None: no films.
        without: maps and players that must not be trained on, as they are for tests; a star stands for anything: MAP*.
    """

    out: Path = Path("runs/idm")
    scenarios: tuple[str, ...] = ("freedoom",)
    steps: Count = 4_000
    batch: Count = 8
    lr: Number = 2e-3
    preset: IDMPreset = "nano"
    films: Path | None = None
    without: tuple[str, ...] = ("E1M3", "E1M4", "MAP05", "MAP06", "perturbed")


@dataclass(frozen=True, kw_only=True)
class IDMScoreConfig:
    """Score an inverse dynamics model where the keys are known: events, steps, persistence; by map, player and look.

    Attributes:
        weights: folder of the model.
        data: folder of a dataset with recorded free play; None: no recorded play is scored.
        films: folder of films with what was pressed beside them (`python -m training film`); None: no film is scored.
        split: which part of the recorded play.
        maps: only these; empty: all.
        players: only these; empty: all.
        out: where figures, table and plot go.
        device: cpu, cuda, or auto: the GPU if there is one.
        threads: CPU threads; None: all.
    """

    weights: Path = Path("runs/idm/weights")
    data: Path | None = None
    films: Path | None = None
    split: Split = "test"
    maps: tuple[str, ...] = ()
    players: tuple[str, ...] = ()
    out: Path = Path("runs/idm-score")
    device: str = "auto"
    threads: Count | None = None
