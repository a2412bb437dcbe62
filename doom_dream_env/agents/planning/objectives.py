"""What plans are for: return and survival, or a goal picture.

Legend: B dreams, F features, D state width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents.planning.config import PlannerConfig
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import FRAME_SHAPE, VARIABLES, Scenario
from doom_dream_env.world_model import DreamState, WorldModel

ValueFunction = Callable[[Tensor], Tensor]
"""A critic: features (B, F) → what is still to be earned from there, in rewards, (B,)."""

FULL_HEALTH = 100.0
HEALTH = VARIABLES.index("HEALTH")
UNRELATED = 2.0  # mean square of the difference of two states that have nothing to do with each other, per dimension


@dataclass(frozen=True)
class DreamedStep:
    """One step of B dreams, as objectives see it.

    Attributes:
        number: 0 for the first step of the plan.
        before: the dreams before it.
        buttons: what was pressed, (B, 9).
        after: the dreams after it.
        reward: of the step, if it was lived to see, (B,).
        alive: probability that the episode had not ended before it, (B,).
        still_alive: the same after it, (B,).
    """

    number: int
    before: DreamState
    buttons: Tensor
    after: DreamState
    reward: Tensor
    alive: Tensor
    still_alive: Tensor


class Objective(Protocol):
    """Scores dreams step by step."""

    def gain(self, step: DreamedStep) -> Tensor:
        """What a step adds to the score, (B,)."""

    def end(self, steps: int, state: DreamState, alive: Tensor) -> Tensor:
        """What is added behind the last step, (B,).

        Args:
            steps: H.
            state: at the end of the plan.
            alive: probability that the episode has not ended by then, (B,).
        """


@dataclass(frozen=True)
class ReturnObjective:
    """Discounted return, each reward times the probability of living to see it, and what is left at the horizon.

    Attributes:
        model: what features are read with.
        discount: γ.
        survival_weight: added for each step survived.
        health_weight: of full health, gained or lost.
        value: a critic, asked at the horizon; None: none.
    """

    model: WorldModel
    discount: float
    survival_weight: float
    health_weight: float
    value: ValueFunction | None = None

    @classmethod
    def of(
        cls, model: WorldModel, scenario: Scenario, config: PlannerConfig, value: ValueFunction | None
    ) -> ReturnObjective:
        """The objective of a planner in a scenario.

        Where something else than death can end an episode, such as reaching the goal, an end is not to be avoided as
        such, and survival has no weight of its own.
        """
        survival = config.survival_weight if scenario.ends_only_by_death else 0.0
        health = config.health_weight if "HEALTH" in scenario.variables else 0.0
        return cls(model, config.discount, survival, health, value)

    def gain(self, step: DreamedStep) -> Tensor:
        """As `Objective.gain`."""
        earned = step.alive * step.reward + self.survival_weight * step.still_alive
        if self.health_weight:
            change = expected_health_change(self.model, step.before, step.buttons)
            earned = earned + step.alive * change * (self.health_weight / FULL_HEALTH)
        return self.discount**step.number * earned

    def end(self, steps: int, state: DreamState, alive: Tensor) -> Tensor:
        """As `Objective.end`."""
        if self.value is None:
            return torch.zeros_like(alive)
        return self.discount**steps * alive * self.value(self.model.features(state))


@dataclass(frozen=True)
class GoalObjective:
    """Nearness to a goal's state: minus the mean squared difference per dimension, averaged over the steps.

    LeWorldModel (arXiv 2603.19312) counts the last step; counting earlier ones too, less and less, gives gradients a
    way (arXiv 2512.09929).

    Attributes:
        goal: state of the goal picture, (D,).
        steps: H.
        decay: see `PlannerConfig.goal_decay`.
    """

    goal: Tensor
    steps: int
    decay: float

    def gain(self, step: DreamedStep) -> Tensor:
        """As `Objective.gain`; a dream that has ended is as far away as an unrelated state."""
        distance = (step.after.z - self.goal).square().mean(-1)
        distance = step.still_alive * distance + (1 - step.still_alive) * UNRELATED
        weights = [self.decay ** (self.steps - 1 - t) for t in range(self.steps)]
        return -distance * (weights[step.number] / sum(weights))

    def end(self, steps: int, state: DreamState, alive: Tensor) -> Tensor:
        """Nothing."""
        return torch.zeros_like(alive)


def expected_health_change(model: WorldModel, state: DreamState, buttons: Tensor) -> Tensor:
    """Mean change of health that an action brings, over all changes that are possible, (B,).

    A hit is rare: of four dreams of fourteen steps most hold none, whatever is pressed, and plans that run into a
    fireball look like those that do not. The mean tells them apart in every dream.

    Args:
        model: the dream.
        state: B dreams before the action.
        buttons: the action, (B, 9).
    """
    dynamics = model.dynamics
    feature = dynamics.join_action(state.h, buttons)
    probabilities = dynamics.outcome_logits(feature, state.scenario)[:, HEALTH].softmax(-1)  # B, S
    health = state.variables[:, HEALTH, None]
    least = dynamics.least_variables[state.scenario, HEALTH, None]
    greatest = dynamics.greatest_variables[state.scenario, HEALTH, None]
    after = torch.minimum(torch.maximum(health + dynamics.changes[HEALTH], least), greatest)
    return (probabilities * (after - health)).sum(-1)


def encoded_goal(model: WorldModel, goal: np.ndarray | Tensor) -> Tensor:
    """State (D,) of a goal picture.

    Raises:
        ValueError: if it is no frame of the game's size.
    """
    frame = torch.as_tensor(goal)
    if tuple(frame.shape) != FRAME_SHAPE or frame.dtype != torch.uint8:
        raise UserError(
            f"the goal must be a frame, uint8 RGB of shape {FRAME_SHAPE}, got {frame.dtype} of {tuple(frame.shape)}; "
            "scale pictures to 160x120 first"
        )
    with torch.no_grad():
        return model.encode(frame[None, None])[0, 0]
