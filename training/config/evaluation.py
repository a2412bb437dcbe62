"""Settings of what is measured. What a figure means is fixed in `training.evaluation`, not set here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.seeds import EVALUATION, RANKING
from training.config.base import Count, Seed, Whole


@dataclass(frozen=True, kw_only=True)
class ScorecardConfig:
    """Measure what the weights know, on seeds that training never saw, and write scorecard and model card.

    Attributes:
        weights: name or folder; None: the best that ship.
        data: folder of the dataset, with the splits val and test.
        scenarios: None: all that the weights know.
        out: where the scorecard goes; None: the weights' folder.
        limit: use at most about so many recorded steps of each scenario and split; None: all.
        episodes: of each fixed policy, dreamed and real; fewer in scenarios whose episodes last long.
        pictures: also measure what a player sees: keys, flashes, pictures after half a minute. This takes
            minutes for each scenario.
    """

    weights: str | None = None
    data: Path = Path("data")
    scenarios: tuple[str, ...] | None = None
    out: Path | None = None
    limit: Count | None = 4_000
    episodes: Count = 400
    pictures: bool = False


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Measure what agents that learned in the dream are worth in the real game.

    Attributes:
        agents: names of shipped agents, agents' folders, Stable-Baselines3 PPO archives, or minds such as `planner`
            (`doom_dream_env.agents.minds`); empty: all agents that ship.
        scenario: of an archive or a mind; an agent says it.
        trust: load archives of Stable-Baselines3. They hold pickled Python objects: loading one runs whatever code its
            maker put in. Agents' folders and weights hold none.
        weights: what they see through; None: what the agent names, else the best that ship.
        episodes: of the agent, and of each policy that it is compared with.
        first_seed: of the games that are played; from 90,000 up they are yours.
        out: folder of the reports.
        efficiency_seeds: agents that PPO trains anew in the dream, and as many in the game: what a learner gets from
            the dream, as a share of what it gets from the game. 0: this is not measured.
        efficiency_steps: of training of each of them.
    """

    agents: tuple[str, ...] = ()
    scenario: str | None = None
    trust: bool = False
    weights: str | None = None
    episodes: Count = 200
    first_seed: Seed = EVALUATION
    out: Path = Path("runs/transfer")
    efficiency_seeds: Whole = 0
    efficiency_steps: Whole = 200_000


@dataclass(frozen=True, kw_only=True)
class RankingConfig:
    """Measure whether the dream ranks policies as the real game does.

    Attributes:
        scenario: one with an action table.
        weights: name or folder; None: the best that ship.
        episodes: of each policy in the dream, and as many in the real game.
        first_seed: of the games that are played; from 90,000 up they are yours.
        out: folder of agents and results; None: runs/ranking/SCENARIO.
        clone: folder of a cloned action policy; None: the one that ships, if it was cloned through these weights.
        minds: further players, as `doom_dream_env.agents.minds` names them. Planners take a tenth of a second a step.
    """

    scenario: str = "take_cover"
    weights: str | None = None
    episodes: Count = 100
    first_seed: Seed = RANKING
    out: Path | None = None
    clone: Path | None = None
    minds: tuple[str, ...] = ()
