"""Settings of the planners: one frozen dataclass per kind, and what is known to suit a scenario.

Legend: P plans of an environment, K dreams of each plan, H steps of a plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from doom_dream_env.errors import UserError
from doom_dream_env.world_model.validation import Count, Number, Share, Whole, check_values


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """What all planners have in common.

    Attributes:
        horizon: H, steps that a plan looks ahead.
        dreams: K, futures of each plan that a round dreams; the same luck for all plans of an environment.
        rounds: searches end after so many rounds, or when the budget is spent. A round tries every plan once.
        plans: P of a round, or of the first one: every option held to the end, what is known from the step before, and
            the rest drawn.
        hold: probability that a drawn plan holds its action for another step instead of drawing one. Without it, plans
            of many steps go nowhere: left and right cancel out.
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

    horizon: Count = 14
    dreams: Count = 2
    rounds: Count = 3
    plans: Count = 24
    hold: Share = 0.7
    temperature: Number = 1.0
    discount: Share = 1.0
    survival_weight: Number = 0.1
    health_weight: Number = 0.0
    pessimism: Number = 0.0
    goal_decay: Share = 0.5
    proposals: Whole = 4
    replan_every: Count = 1
    budget_ms: Number | None = None
    seed: Whole = 0

    def __post_init__(self) -> None:
        kind = type(self).__name__
        check_values(self, f"{kind}: {{}}")
        if self.replan_every > self.horizon:
            raise UserError(
                f"{kind}: a plan of horizon={self.horizon} steps cannot be followed for "
                f"replan_every={self.replan_every}; lower replan_every or raise horizon"
            )


@dataclass(frozen=True, kw_only=True)
class CEMConfig(PlannerConfig):
    """Cross-entropy method with a categorical proposal of each step (Rubinstein 1999; iCEM, arXiv 2008.06389).

    Attributes:
        elites: the best plans of a round, which the next proposal is fitted to.
        kept: elites of the last round that are tried again in the next one (iCEM).
        inertia: share of the old proposal in the new one.
        exploration: share of the uniform distribution in every proposal.
    """

    elites: Count = 5
    kept: Whole = 2
    inertia: Share = 0.2
    exploration: Share = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kept <= self.elites <= self.plans:
            raise UserError(f"CEMConfig: needs kept ≤ elites ≤ plans, got {self.kept}, {self.elites} and {self.plans}")


@dataclass(frozen=True, kw_only=True)
class GradientConfig(PlannerConfig):
    """Drawn plans, the best improved by the gradient of the mean future. A round after the first is one step.

    Attributes:
        restarts: R, the best of the plans, which are improved side by side.
        sureness: what the logit of a plan's own choice has more than the others while buttons are relaxed.
        step: what a plan's steepest logit is moved by.
    """

    restarts: Count = 3
    sureness: Number = 2.0
    step: Number = 4.0


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
