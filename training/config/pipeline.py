"""Settings of the whole way in one command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.scenarios import SCENARIOS
from training.config.base import Preset, Seed, Whole


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Go the whole way: collect, representation, dynamics, decoder, scorecard.

    Attributes:
        preset: sizes of the model, and of the stages (`training.pipeline.PLANS`).
        out: folder of the run; None: runs/PRESET.
        data: folder of the dataset; None: the folder data below `out`.
        scenarios: names, or paths of ViZDoom configurations.
        data_steps: recorded steps of each scenario; None: the plan's.
        representation_steps: optimiser steps of that stage; None: the plan's.
        dynamics_steps: optimiser steps of that stage; None: the plan's.
        decoder_steps: optimiser steps of that stage; None: the plan's.
        seed: of every stage.
    """

    preset: Preset = "nano"
    out: Path | None = None
    data: Path | None = None
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    data_steps: Whole | None = None
    representation_steps: Whole | None = None
    dynamics_steps: Whole | None = None
    decoder_steps: Whole | None = None
    seed: Seed = 0

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.out or Path("runs") / self.preset
