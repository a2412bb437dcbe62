"""Settings of the planners' report, and of agents that learn from a planner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.seeds import EVALUATION
from training.config.base import Count, Number, Seed, Whole


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """Measure planners in the real game at equal computing time, beside the agent that ships and the routine.

    Attributes:
        weights: name or folder; None: the best that ship.
        scenarios: what is played.
        maps: of free play; none: the scenario's own.
        minds: who plays, as `doom_dream_env.agents.minds` names them. Where no agent ships, `agent` is left out.
        milliseconds: computing time of a planner's decision on one thread; rounds are set so that it is met about.
            Processor time, because on a busy machine the clock on the wall says how busy it is.
        episodes: of each.
        first_seed: of the games that are played; from 90,000 up they are yours.
        games: side by side.
        out: folder of the report.
    """

    weights: str | None = None
    scenarios: tuple[str, ...] = ("take_cover", "defend_the_center", "health_gathering")
    maps: tuple[str, ...] = ()
    minds: tuple[str, ...] = ("random", "routine", "agent", "planner:cem", "planner:gradient")
    milliseconds: Number = 100.0
    episodes: Count = 24
    first_seed: Seed = EVALUATION
    games: Whole = 8
    out: Path = Path("runs/planning")


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """Train an agent on what a planner decides in the dream: expert iteration (arXiv 1705.08439).

    Attributes:
        scenario: what is played.
        weights: name or folder; None: the best that ship.
        out: folder of what was recorded and of the agents; the last one is in `agent`.
        iterations: how often the planner plays and the agent learns. From the second one on the agent proposes plans.
        seed: of everything.
    """

    scenario: str = "take_cover"
    weights: str | None = None
    out: Path = Path("runs/distil")
    iterations: Whole = 2
    seed: Seed = 0
