"""Settings of data collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from doom_dream_env.scenarios import SCENARIOS
from training.config.base import Count, Number

Split = Literal["train", "val", "test"]  # the keys of `doom_dream_env.seeds.SPLITS`

# Who plays, and each one's share of the recorded steps (not of the episodes: good players live long).
DEFAULT_MIX = {"random": 0.25, "alternating": 0.25, "scripted": 0.1, "perturbed": 0.15, "handover": 0.25}
# Random play of a maze or of free play sees nothing but its beginning.
MAZE_MIX = {"random": 0.1, "alternating": 0.1, "scripted": 0.3, "perturbed": 0.5}
# Dynamics that have seen few walls let dreamed players walk through them, away from all that flies.
WALLS_MIX = {"holding": 0.25}
MIXES = {
    # Free play is the one scenario in which whoever does nothing can stay unharmed for minutes.
    "freedoom": {"random": 0.1, "alternating": 0.1, "scripted": 0.2, "perturbed": 0.35, "handover": 0.25},
    "my_way_home": MAZE_MIX,
    "health_gathering_supreme": MAZE_MIX,
    "deadly_corridor": {"random": 0.15, "alternating": 0.1, "scripted": 0.2, "perturbed": 0.25, "handover": 0.3},
}


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Record gameplay of real ViZDoom.

    Attributes:
        out: folder of the dataset.
        scenarios: names, or paths of ViZDoom configurations.
        split: which range of seeds to play.
        steps: of each scenario (31,500 are an hour); free play gets three times as many, shared by its maps.
        mix: who plays, and the share of the steps: random, holding, alternating, scripted, perturbed, handover, or an
            agent's folder, each followed by a number. Empty: each scenario's own mix (`training.config.collect`).
        maps: of free play; empty: ten of Freedoom, or all maps of the WAD.
        wad: a WAD of your own for free play.
        licence: under which the frames may be passed on, where a WAD does not ship with ViZDoom: as the hub abbreviates
            it, or in words. None: they are not to be published (`dream-doom push` refuses).
        workers: ViZDoom processes; None: one per core.
        ray: address of a Ray cluster that makes the shards instead (`auto`, or HOST:PORT); None: this machine does.
        tics: also store the frames of the tics between two steps.
        things: also store where the things of the level are, and how far the walls.
        frames: False: store no frames, only things, which take a tenth of the room.
        benchmark: record nothing, only measure how fast collecting is beside ViZDoom alone.
    """

    out: Path = Path("data")
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    split: Split = "train"
    steps: Count = 32_000
    mix: dict[str, Number] = field(default_factory=dict)
    maps: tuple[str, ...] = ()
    wad: str | None = None
    licence: str | None = None
    workers: Count | None = None
    ray: str | None = None
    tics: bool = False
    things: bool = False
    frames: bool = True
    benchmark: bool = False

    def mix_of(self, scenario: str) -> dict[str, float]:
        """Who plays a scenario of this name, and the share of its steps."""
        mix = MIXES.get(scenario, DEFAULT_MIX)
        return self.mix or (mix | WALLS_MIX if self.things else mix)
