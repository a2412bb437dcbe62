"""Settings of the planners' report, and of agents that learn from a planner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from doom_dream_env.seeds import EVALUATION


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
        settings: of the planners, where they are to be other than usual (`discount 0.97`).
    """

    weights: str | None = None
    scenarios: tuple[str, ...] = ("take_cover", "defend_the_center", "health_gathering")
    maps: tuple[str, ...] = ()
    minds: tuple[str, ...] = ("random", "routine", "agent", "planner:cem", "planner:gradient")
    milliseconds: float = 100.0
    episodes: int = 24
    first_seed: int = EVALUATION
    games: int = 8
    out: Path = Path("runs/planning")
    settings: dict[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """Train an agent on what a planner decides in the dream: expert iteration (arXiv 1705.08439).

    Attributes:
        scenario: what is played.
        weights: name or folder; None: the best that ship.
        kind: of the planner, as `doom_dream_env.agents.planning.KINDS` names them; None: cem.
        out: folder of what was recorded and of the agents; the last one is in `agent`.
        iterations: how often the planner plays and the agent learns. From the second one on the agent proposes plans.
        rollouts: of all dreams in each iteration; every one is kept when it is finished.
        dreams: side by side.
        horizon: steps of a rollout, which begins at real moments: dreams × horizon decisions.
        learner_share: share of the dreams in which the agent, not the planner, presses the buttons, from the second
            iteration on: the planner is asked about moments that the agent gets into (DAgger, arXiv 1011.0686).
        temperature: of the dreams that are played.
        epochs: passes over all that was recorded.
        width: of the agent's two hidden layers.
        seed: of everything.
        settings: of the planner, where they are to be other than usual.
    """

    scenario: str = "take_cover"
    weights: str | None = None
    kind: str | None = None
    out: Path = Path("runs/distil")
    iterations: int = 2
    rollouts: int = 3
    dreams: int = 32
    horizon: int = 48
    learner_share: float = 0.5
    temperature: float = 1.0
    epochs: int = 30
    width: int = 128
    seed: int = 0
    settings: dict[str, int | float] = field(default_factory=dict)
