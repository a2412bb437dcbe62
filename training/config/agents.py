"""Settings of the stages that train agents in the dream."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from doom_dream_env.seeds import AGENT_SELECTION
from training.config.base import Count, Seed

Learner = Literal["ppo", "dreamer"]


@dataclass(frozen=True, kw_only=True)
class AgentsConfig:
    """Train several agents of each scenario in the dream and keep the one that plays the real game best.

    Attributes:
        weights: name or folder of the world model's weights; None: the best that ship.
        scenarios: None: all of the weights that have an action table.
        learner: ppo, or dreamer: actor and critic that learn in imagination (`doom_dream_env.agents.imagination`); of
            both, the best agent of either.
        prior: of dreamer: the folder of a cloned action policy that it is kept near; None: nobody.
        seeds: agents of each scenario and learner, of which one is kept.
        steps: dreamed steps of each; None: those of the scenario's recipe (`doom_dream_env.agents.ppo`).
        episodes: real and dreamed, by which they are compared.
        first_seed: of the real games by which they are compared; from 90,000 up they are yours.
        film: film the best agent of each scenario, in the game and beside it in the dream.
        workers: processes; None: one per core.
        work: folder of all agents.
        out: folder of the best agent of each scenario; None: the folder best below `work`.
    """

    weights: str | None = None
    scenarios: tuple[str, ...] | None = None
    learner: tuple[Learner, ...] = ("ppo",)
    prior: Path | None = None
    seeds: Count = 3
    steps: Count | None = None
    episodes: Count = 100
    first_seed: Seed = AGENT_SELECTION
    film: bool = False
    workers: Count | None = None
    work: Path = Path("runs/agents")
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DialsConfig:
    """Set how much dreams hurt and heal, so that nobody fares better in them than in the game.

    Attributes:
        weights: name or folder; None: the best that ship.
        scenarios: None: all of the weights in which there is health to lose.
        agents: folders of agents, one of each scenario in each, who play beside those who see nothing; empty: those
            that ship.
        episodes: of each player in the game, and in the dream at each setting; fewer where they last long.
        out: folder of what was found, and of the weights.
    """

    weights: str | None = None
    scenarios: tuple[str, ...] | None = None
    agents: tuple[Path, ...] = ()
    episodes: Count = 100
    out: Path = Path("runs/dials")
