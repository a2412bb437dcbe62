"""Settings of the planners: one frozen dataclass per kind, and what is known to suit a scenario.

Legend: N environments, P plans of each, K dreams of each plan, H steps of a plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

WHOLE_FROM_ONE = (
    "horizon",
    "dreams",
    "rounds",
    "replan_every",
    "plans",
    "elites",
    "restarts",
)
SHARES = ("discount", "hold", "inertia", "exploration", "goal_decay")  # 0 to 1


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """What all planners have in common.

    Attributes:
        horizon: H, steps that a plan looks ahead.
        dreams: K, futures of each plan that a round dreams; the same luck for all plans of an environment.
        rounds: searches end after so many rounds, or when the budget is spent. A round tries every plan once, or
            improves all of them once.
        temperature: of these dreams; 0: the mean future, of which one is enough.
        discount: γ of rewards and of the time alive.
        survival_weight: reward for each step survived, where nothing but death ends an episode. It speaks where rewards
            are rare: in defend_the_center whoever dies kills no more.
        health_weight: reward for full health, in proportion for what of it a plan is expected to gain or lose, where
            the scenario has health. A plan of 1.6 s rarely ends in death; what it loses is health.
        pessimism: so many standard deviations over its dreams are taken off a plan's mean.
        goal_decay: towards a goal picture, step t weighs this to the power of the steps that remain: 0 counts the last
            step alone, 1 all alike.
        proposals: plans that follow the proposal policy in a dream, if there is such a policy.
        replan_every: steps of a plan that are carried out before the next one is made.
        budget_ms: milliseconds for a decision of one environment; n environments together have n times as much. The
            search ends when the next round would be late. None: all rounds, however long they take.
        seed: of all random numbers.
    """

    horizon: int = 14
    dreams: int = 2
    rounds: int = 1
    temperature: float = 1.0
    discount: float = 1.0
    survival_weight: float = 0.1
    health_weight: float = 0.0
    pessimism: float = 0.0
    goal_decay: float = 0.5
    proposals: int = 4
    replan_every: int = 1
    budget_ms: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if wrong := _wrong(field.name, getattr(self, field.name)):
                raise ValueError(f"{type(self).__name__}: {field.name} {wrong}")
        if self.replan_every > self.horizon:
            raise ValueError(
                f"{type(self).__name__}: a plan of horizon={self.horizon} steps cannot be followed for "
                f"replan_every={self.replan_every}; lower replan_every or raise horizon"
            )


def _wrong(name: str, value: object) -> str:
    """What is wrong with a setting; empty: nothing."""
    if name in WHOLE_FROM_ONE:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        return "" if fits else f"must be a whole number, 1 or more, got {value!r}"
    if name == "budget_ms" and value is None:
        return ""
    if isinstance(value, tuple):
        fits = bool(value) and all(isinstance(steps, int) and steps >= 1 for steps in value)
        return "" if fits else f"must be steps of 1 or more, got {value!r}"
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return f"must be a finite number, 0 or more, got {value!r}"
    if name in SHARES and value > 1:
        return f"must be from 0 to 1, got {value!r}"
    return ""


@dataclass(frozen=True, kw_only=True)
class SwitchOnceConfig(PlannerConfig):
    """Exhaustive: hold an action to the end, or change to another one once. Each round dreams all plans anew.

    For small action tables: n actions and s moments make n + s·n·(n − 1) plans, 21 in take_cover.

    Attributes:
        switch_after: steps after which a plan may change its action.
        softness: of the distribution over first actions that is reported (see `Plan.probabilities`), in standard
            deviations of the plans' scores.
    """

    switch_after: tuple[int, ...] = (2, 5, 9)
    softness: float = 0.3


@dataclass(frozen=True, kw_only=True)
class CEMConfig(PlannerConfig):
    """Cross-entropy method with a categorical proposal of each step (Rubinstein 1999; iCEM, arXiv 2008.06389).

    Attributes:
        plans: P, drawn in each round.
        elites: the best of them, which the next proposal is fitted to.
        kept: elites of the last round that are tried again in the next one (iCEM).
        hold: probability that a plan holds its action for another step instead of drawing one. Without it, plans of
            many steps go nowhere: left and right cancel out.
        inertia: share of the old proposal in the new one.
        exploration: share of the uniform distribution in every proposal.
    """

    rounds: int = 3
    plans: int = 24
    elites: int = 5
    kept: int = 2
    hold: float = 0.7
    inertia: float = 0.2
    exploration: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kept <= self.elites <= self.plans:
            raise ValueError(
                f"{type(self).__name__}: needs kept ≤ elites ≤ plans, got {self.kept}, {self.elites} and {self.plans}"
            )


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(PlannerConfig):
    """Model-predictive path integral control: as CEM, but all plans count, by the exponential of their scores.

    Source: arXiv 1707.02342; TD-MPC2 (arXiv 2310.16828) has the same form.

    Attributes:
        plans, hold, inertia, exploration: as for `CEMConfig`.
        softness: divides the scores in the exponent, in their standard deviations.
    """

    rounds: int = 3
    plans: int = 24
    hold: float = 0.7
    inertia: float = 0.2
    exploration: float = 0.05
    softness: float = 0.3


@dataclass(frozen=True, kw_only=True)
class GradientConfig(PlannerConfig):
    """Random plans, the best improved by the gradient of the expected future. A round after the first is one step.

    Attributes:
        plans: drawn at first.
        hold: as for `CEMConfig`.
        restarts: R, the best of them, which are improved side by side.
        sureness: what the logit of a plan's own choice has more than the others while buttons are relaxed.
        step: what a plan's steepest logit is moved by.
    """

    rounds: int = 3
    plans: int = 24
    hold: float = 0.7
    restarts: int = 3
    sureness: float = 2.0
    step: float = 4.0


@dataclass(frozen=True, kw_only=True)
class ImprovementConfig(PlannerConfig):
    """Follow an agent, unless dreams agree that another action now is better. Each round dreams everything anew.

    Attributes:
        hold: for how many steps an action that is tried is held before the agent plays on.
        confidence: so many standard errors must an action be ahead of the agent's own play to be taken in its place.
    """

    horizon: int = 16
    dreams: int = 6
    hold: tuple[int, ...] = (2,)
    confidence: float = 2.0


# What full health is worth in the rewards of a scenario, about: in take_cover 25 steps of life; in health_gathering,
# where the floor burns a point of it in a step, 100 steps; elsewhere what dying costs, or the kills of a life.
RECIPES: dict[str, dict[str, float]] = {
    "take_cover": {"health_weight": 100.0},
    "defend_the_center": {"health_weight": 10.0},
    "defend_the_line": {"health_weight": 10.0},
    "health_gathering": {"health_weight": 400.0},
    "health_gathering_supreme": {"health_weight": 400.0},
    "deadly_corridor": {"health_weight": 100.0},
    "freedoom": {"health_weight": 10.0},
}
