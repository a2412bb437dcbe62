"""A planner: a policy that tries plans in the dream before it acts.

Legend: N environments, n of them that need a plan, P plans of each, K dreams of each plan, H steps, G groups of
options, M options of the largest group, D state width.
"""

from __future__ import annotations

import math
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents.choices import ActionGroups
from doom_dream_env.agents.planning.config import PlannerConfig
from doom_dream_env.agents.planning.objectives import (
    GoalObjective,
    Objective,
    ReturnObjective,
    ValueFunction,
    encoded_goal,
)
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.rollout import score_plans
from doom_dream_env.envs.base import EnvBatch, LatentBatch
from doom_dream_env.envs.isolation import isolated
from doom_dream_env.envs.observed import ObservedBatch
from doom_dream_env.errors import UserError
from doom_dream_env.policies import Policy
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.threads import at_most

LARGEST_BATCH = 4096  # dreams at once; 100 kB each. More environments than fit are planned for one part after another


class Planner(ABC):
    """Plans by trial in the dream; a `Policy` of environments that are seen through a world model.

    Args:
        model: the dream that plans are tried in. The environments must be seen through the same weights.
        scenario: name of the scenario, which these weights must know.
        config: settings.
        goal: a frame to get near to, uint8 (120, 160, 3), instead of earning rewards.
        proposal: another policy, some of whose dreamed play is tried in the first round of every search.
        value: a critic, asked for what is to be earned behind the horizon.

    Attributes:
        groups: what plans choose from.
        objective: what they are scored by.

    Raises:
        ValueError: if the weights do not know the scenario, the goal is no frame, there is a value of a goal, or the
            budget is too small for one round.
    """

    settings: ClassVar[type[PlannerConfig]]

    def __init__(
        self,
        model: WorldModel,
        scenario: str | Scenario,
        config: PlannerConfig | None = None,
        *,
        goal: np.ndarray | Tensor | None = None,
        proposal: Policy | None = None,
        value: ValueFunction | None = None,
    ) -> None:
        config = self.settings() if config is None else config
        if type(config) is not self.settings:
            raise UserError(f"{type(self).__name__} needs a {self.settings.__name__}, got a {type(config).__name__}")
        self.scenario = get_scenario(scenario)
        if self.scenario.name not in model.config.scenarios:
            known = ", ".join(model.config.scenarios)
            raise UserError(f"these weights know {known}, not {self.scenario.name!r}: nothing can be planned there")
        self.model = model
        self.config: Any = config
        self.proposal = proposal
        # Gradients need ordinary tensors, also when a window makes its planner in inference mode.
        with torch.inference_mode(False):
            self.groups = ActionGroups.of(self.scenario, model.device)
            self.objective = self._objective(goal, value)
        self.generator = torch.Generator(model.device).manual_seed(config.seed)
        self._batch: weakref.ref[EnvBatch] | None = None  # whose plans these are:
        self._plan: Plan | None = None
        self._followed = torch.zeros(0, dtype=torch.long)  # steps of each that were carried out
        if config.budget_ms is not None:
            self._check_budget(config.budget_ms)

    def _objective(self, goal: np.ndarray | Tensor | None, value: ValueFunction | None) -> Objective:
        if goal is None:
            return ReturnObjective.of(self.model, self.scenario, self.config, value)
        if value is not None:
            raise UserError("a plan has one aim: give a goal, or a value of what comes behind the horizon")
        return GoalObjective(encoded_goal(self.model, goal), self.config.horizon, self.config.goal_decay)

    @property
    def device(self) -> torch.device:
        """Where the dream is."""
        return self.model.device

    @abstractmethod
    def _search(self, state: DreamState, last: Plan | None) -> Iterator[Plan]:
        """Plan for n environments: a better plan (or one known better) with each round, without an end.

        Args:
            state: n dreams.
            last: what is left of the plans of the steps before; None: nothing is known.
        """

    # ---- planning ----------------------------------------------------------------------------------------------------

    @isolated
    def plan(self, state: DreamState, last: Plan | None = None, rounds: int | None = None) -> Plan:
        """The best plans found for n environments within the rounds or the time that there are.

        Args:
            state: n dreams.
            last: plans to begin with, such as `Plan.later` of those of the step before.
            rounds: at most so many; None: as the configuration says.
        """
        size = max(1, LARGEST_BATCH // (self.config.plans * self.config.dreams))
        parts = torch.arange(len(state), device=self.device).split(size)
        with at_most(1):  # small operations; on two threads, a busy neighbour makes them many times slower
            rounds = rounds or self.config.rounds
            found = [self._plan_part(state[part], None if last is None else last[part], rounds) for part in parts]
            return Plan.joined(torch.cat, *found)

    def _plan_part(self, state: DreamState, last: Plan | None, rounds: int) -> Plan:
        budget = None if self.config.budget_ms is None else len(state) * self.config.budget_ms / 1000
        started = before = time.perf_counter()
        longest = 0.0
        for number, plan in enumerate(self._search(state, last), start=1):
            now = time.perf_counter()
            longest = max(longest, now - before)
            before = now
            if number == rounds or (budget is not None and now - started + longest > budget):
                return plan
        raise AssertionError("a search has no end of its own")

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Buttons for all environments, (N, 9); environments that have ended get none.

        Raises:
            ValueError: if the batch is not seen through this planner's weights, or is of another scenario.
        """
        state = self._checked_state(batch)
        n = batch.num_envs
        known = self._plan
        if known is None or self._batch is None or self._batch() is not batch:
            self._batch = weakref.ref(batch)
            self._followed = torch.zeros(n, dtype=torch.long, device=self.device)
            known = Plan(
                torch.zeros(n, self.config.horizon, self.groups.count, dtype=torch.long, device=self.device),
                torch.zeros(n, device=self.device),
                self.groups.uniform(n, self.config.horizon).clone(),
            )
            fresh = torch.ones(n, dtype=torch.bool, device=self.device)
        else:
            known = known.later(1)
            fresh = batch.steps == 0
        running = ~batch.done
        # Episodes that have just begun know no earlier plan; they are planned for apart.
        for needed, has_last in (
            (running & fresh, False),
            (running & ~fresh & (self._followed >= self.config.replan_every), True),
        ):
            if bool(needed.any()):
                known = known.put(needed, self.plan(state[needed], known[needed] if has_last else None))
                self._followed[needed] = 0
        self._followed += 1
        self._plan = known
        buttons = self.groups.buttons(known.choices[:, 0])
        return buttons.masked_fill(batch.done[:, None], 0.0)

    @property
    def newest(self) -> Plan:
        """The plans of all N environments whose first step was answered last.

        Raises:
            RuntimeError: before there are any.
        """
        if self._plan is None:
            raise RuntimeError("nothing has been planned yet: call the planner first")
        return self._plan

    # ---- what the kinds share ----------------------------------------------------------------------------------------

    def _scores(self, state: DreamState, plans: Tensor) -> Tensor:
        """Scores (n, P) of plans (n, P, H, G) under new noise."""
        config = self.config
        shape = (config.horizon, len(state), config.dreams if config.temperature > 0 else 1)
        noise = self.model.dynamics.draw_noise(math.prod(shape), self.generator).reshape(*shape, -1)
        scores = score_plans(self.model, state, plans, self.groups, noise, self.objective, config.temperature)
        return scores.mean(-1) - config.pessimism * scores.std(-1, correction=0)

    def _known(self, state: DreamState, last: Plan | None) -> Tensor:
        """Plans that are tried in any case, int64 (n, P, H, G).

        They are: every option held to the end, the plan of the step before, and what the proposal policy does.
        """
        n = len(state)
        held = self.groups.single()[:, None].expand(-1, self.config.horizon, -1)
        found = [held.expand(n, *held.shape)]
        if last is not None:
            found.append(last.choices[:, None])
        if self.proposal is not None and self.config.proposals:
            found.append(self._proposed(state, self.proposal, self.config.proposals))
        return torch.cat(found, 1)

    def _drawn(self, probabilities: Tensor, known: int) -> Tensor:
        """The rest of a round's plans beside those that are known, drawn from probabilities (n, H, G, M)."""
        count = max(1, self.config.plans - known)
        return self.groups.sample(probabilities, count, self.config.hold, self.generator)

    def _proposed(self, state: DreamState, policy: Policy, count: int) -> Tensor:
        """Plans (n, count, H, G) that a policy makes when it plays on in the dream."""
        copies = state.map(lambda x: x.repeat_interleave(count, 0))
        batch = ObservedBatch(len(copies), self.scenario, weights=self.model)
        pressed = []
        for step in range(self.config.horizon):
            batch.show(copies, step)
            buttons = batch.buttons(policy(batch))
            pressed.append(self.groups.choices(buttons))
            copies, _, _ = self.model.imagine(copies, buttons, self.config.temperature, self.generator)
        return torch.stack(pressed, 1).unflatten(0, (len(state), count))

    # ---- mistakes ----------------------------------------------------------------------------------------------------

    def _checked_state(self, batch: EnvBatch) -> DreamState:
        if not isinstance(batch, LatentBatch):
            raise UserError(
                "a planner needs environments that are seen through a world model (DreamBatch, RealBatch), "
                f"got a {type(batch).__name__}"
            )
        if batch.model is not self.model and batch.model.fingerprint != self.model.fingerprint:
            raise UserError(
                f"this planner dreams with weights {self.model.fingerprint}, these environments are seen through "
                f"{batch.model.fingerprint}: make it with weights=batch.model"
            )
        if batch.scenario.name != self.scenario.name:
            made_for = self.scenario.name
            raise UserError(f"this planner was made for {made_for}, these environments are {batch.scenario.name}")
        if batch.state is None:
            raise RuntimeError("nothing has begun yet: call reset() first")
        return batch.state

    def _check_budget(self, budget_ms: float) -> None:
        """Measure a round three times, the first of which warms up."""
        scales = self.model.scales
        index = self.model.scenario_index(self.scenario.name, 1)
        state = self.model.begin(scales.new_zeros(1, self.model.config.state_width), scales[None].clone(), index)
        memory = self.generator.get_state()
        took = []
        for _ in range(3):
            started = time.perf_counter()
            self.plan(state, rounds=1)
            took.append(1000 * (time.perf_counter() - started))
        self.generator.set_state(memory)
        if min(took) > budget_ms:
            raise UserError(
                f"budget_ms={budget_ms:g} is too small: one round takes {min(took):.0f} ms here; raise it, or lower "
                f"horizon={self.config.horizon}, dreams={self.config.dreams} or plans={self.config.plans}"
            )


def best_of(plans: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best plans (n, count, H, G) of plans (n, P, H, G), the very best first, and their scores (n, count)."""
    best = scores.topk(min(count, plans.shape[1]), 1)
    return plans.gather(1, best.indices[..., None, None].expand(-1, -1, *plans.shape[2:])), best.values
