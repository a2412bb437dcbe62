"""Settings of the stages that train agents in the dream."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from doom_dream_env.seeds import AGENT_SELECTION

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
    seeds: int = 3
    steps: int | None = None
    episodes: int = 100
    first_seed: int = AGENT_SELECTION
    film: bool = False
    workers: int | None = None
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
        healed: scenarios in which the odds of gaining health are set, not those of losing it.
        episodes: of each player in the game, and in the dream at each setting; fewer where they last long.
        rounds: settings that are tried at most.
        out: folder of what was found, and of the weights.
    """

    weights: str | None = None
    scenarios: tuple[str, ...] | None = None
    agents: tuple[Path, ...] = ()
    healed: tuple[str, ...] = ("health_gathering", "health_gathering_supreme")
    episodes: int = 100
    rounds: int = 6
    out: Path = Path("runs/dials")


# Who plays in a round of `iterate` beside its agent.
OTHER_PLAYERS = {"random": 0.1, "alternating": 0.1, "handover": 0.5}


@dataclass(frozen=True, kw_only=True)
class IterateConfig:
    """Close the gap between dream and game: train an agent, record what happens to it, train the dynamics on.

    Attributes:
        out: folder of a finished run of the pipeline.
        data: folder of its dataset; None: the folder data below `out`.
        scenarios: whose gap is to be closed.
        rounds: agents to train; the data grow between them.
        agent_steps: dreamed steps of each agent's training; None: those of the scenario's recipe.
        episodes: in dream and game, for the gap.
        data_steps: real steps that each round adds to each scenario's data.
        agent_share: share of them that the agent plays.
        mix: who plays the others, and the share of the steps.
        dynamics_steps: optimiser steps that each round adds.
        batch: windows per optimiser step.
        scenario_weight: share of these scenarios' windows, where every other scenario has 1.
        scripted_share: share of the episodes of scripted players that these scenarios are still taught with.
        seed: of agents and training.
    """

    out: Path = Path("runs/nano")
    data: Path | None = None
    scenarios: tuple[str, ...] = ("take_cover",)
    rounds: int = 3
    agent_steps: int | None = None
    episodes: int = 100
    data_steps: int = 60_000
    agent_share: float = 0.3
    mix: dict[str, float] = field(default_factory=lambda: dict(OTHER_PLAYERS))
    dynamics_steps: int = 1_000
    batch: int = 40
    scenario_weight: float = 3.0
    scripted_share: float = 0.2
    seed: int = 0
