"""Promises of planners as policies: they find what leads to the goal, keep their budget, say what they cannot do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import random_frames

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.agents.agent import make_network
from doom_dream_env.agents.planning import KINDS, Planner, default_kind, make_planner, planner
from doom_dream_env.agents.planning.objectives import DreamedStep, GoalObjective
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.envs import DreamBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.observed import ObservedBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.policies import AlternatingPolicy, NoopPolicy
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import DreamState, WorldModel

QUICK: dict[str, Any] = {"horizon": 4, "dreams": 2}
RIGHT = 1  # of take_cover's action table


def dreams(model: WorldModel, scenario: str = "take_cover", count: int = 3, **more: Any) -> DreamBatch:
    batch = DreamBatch(count, scenario, weights=model, **more)
    batch.reset(seed=0)
    return batch


def quick(model: WorldModel, kind: str | None = None, scenario: str = "take_cover", **settings: Any) -> Planner:
    return make_planner(model, scenario, kind, **(QUICK | settings))


# ---- they plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"improve"}))
def test_a_planner_finds_what_leads_to_the_goal(immortal: WorldModel, kind: str) -> None:
    batch = dreams(immortal, count=1)
    assert batch.state is not None
    goal = batch.state
    for action in (1, 1, 2, 2):
        goal, _, _ = immortal.imagine(goal, batch.action_table[action][None], temperature=0)
    more = {} if kind == "switch" else {"plans": 64, "rounds": 6}
    found = quick(immortal, kind, temperature=0, **more)
    found.objective = GoalObjective(goal.z[0], 4, decay=0.0)
    plan = found.plan(batch.state)
    assert plan.choices.flatten().tolist() == [1, 1, 2, 2]
    assert float(plan.score) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("kind", "scenario"), [("cem", "freedoom"), ("gradient", "freedoom"), (None, "basic")])
def test_planners_play_whole_episodes(model: WorldModel, kind: str | None, scenario: str) -> None:
    batch = DreamBatch(2, scenario, weights=model, max_episode_steps=6)
    played = evaluate_policy(batch, quick(model, kind, scenario, rounds=1), episodes=3, first_seed=0)
    assert np.isfinite(played.returns).all() and (played.lengths >= 1).all()


def test_equal_seeds_plan_equally(model: WorldModel) -> None:
    answers = []
    for seed in (5, 5, 6):
        batch = dreams(model)
        cem = quick(model, "cem", seed=seed, rounds=2)
        pressed = []
        for _ in range(3):
            pressed.append(cem(batch))
            batch.step(pressed[-1], allow_ended=True)
        answers.append((torch.stack(pressed), cem.newest.probabilities))
    assert torch.equal(answers[0][0], answers[1][0]) and torch.equal(answers[0][1], answers[1][1])
    assert not torch.equal(answers[0][1], answers[2][1])


def test_many_environments_are_planned_for_in_parts(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = dreams(model, count=5)
    assert batch.state is not None
    exhaustive = quick(model, temperature=0)
    together = exhaustive.plan(batch.state)
    monkeypatch.setattr(planner, "LARGEST_BATCH", 2 * exhaustive._dreams_at_once)
    apart = exhaustive.plan(batch.state)
    assert torch.equal(together.choices, apart.choices)
    torch.testing.assert_close(together.score, apart.score, rtol=1e-4, atol=1e-4)


def test_small_tables_are_gone_through_and_others_are_drawn_from() -> None:
    kinds = {name: default_kind(get_scenario(name)) for name in ("take_cover", "deadly_corridor", "freedoom")}
    assert kinds == {"take_cover": "switch", "deadly_corridor": "cem", "freedoom": "cem"}


def test_pessimism_prefers_what_is_sure(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def score_plans(model: WorldModel, plans: torch.Tensor, *more: Any) -> torch.Tensor:
        risky = torch.tensor([0.0, 10.0])  # mean 5
        sure = torch.tensor([4.0, 4.0])
        return torch.where((plans[:, :, 0] == RIGHT), risky, sure)

    monkeypatch.setattr(planner, "score_plans", score_plans)
    batch = dreams(model)
    assert bool((quick(model)(batch) == batch.action_table[RIGHT]).all())
    assert not bool((quick(model, pessimism=1.0)(batch) == batch.action_table[RIGHT]).all(-1).any())


# ---- an agent is improved --------------------------------------------------------------------------------------------


def agent_that_plays(model: WorldModel, action: int) -> Agent:
    """Its logits do not depend on what it sees."""
    network = make_network((model.config.feature_width, 3), "Tanh")
    for layer in network:
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = 50.0 * torch.eye(3)[action]
    return Agent(AgentCard("take_cover", model.fingerprint, "", "Tanh"), network)


class Worth:
    """An objective that pays for what is pressed: `paid` for each step of an action, and noise."""

    def __init__(self, paid: dict[int, float], noise: float = 0.0) -> None:
        self.paid = paid
        self.noise = noise

    def gain(self, step: DreamedStep) -> torch.Tensor:
        pressed = step.buttons @ torch.from_numpy(get_scenario("take_cover").action_table()).float().T
        action = torch.where(step.buttons.any(-1), pressed.argmax(-1), 0)
        worth = torch.tensor([self.paid.get(number, 0.0) for number in range(3)])[action]
        return worth + self.noise * torch.randn(len(worth), generator=torch.manual_seed(step.number))

    def end(self, steps: int, state: DreamState, alive: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(alive)


def test_an_agents_mistake_is_mended(immortal: WorldModel) -> None:
    batch = dreams(immortal)
    improved = quick(immortal, "improve", proposal=agent_that_plays(immortal, 2), hold=(1, 4))
    improved.objective = Worth({RIGHT: 1.0})
    pressed = improved(batch)
    assert torch.equal(pressed, batch.action_table[torch.full((3,), RIGHT)])
    # It counts on the agent, who plays on as before when the action that was tried is over.
    assert improved.newest.choices[:, :, 0].tolist() == [[RIGHT, RIGHT, RIGHT, RIGHT]] * 3
    shorter = quick(immortal, "improve", proposal=agent_that_plays(immortal, 2), hold=(2,))
    shorter.objective = improved.objective
    shorter(batch)
    assert shorter.newest.choices[:, :, 0].tolist() == [[RIGHT, RIGHT, 2, 2]] * 3


def test_what_chance_explains_does_not_turn_an_agent(immortal: WorldModel) -> None:
    batch = dreams(immortal, count=16)
    plays = agent_that_plays(immortal, 2)
    turned = {}
    for confidence in (0.0, 4.0):
        improved = quick(immortal, "improve", proposal=plays, confidence=confidence, dreams=8)
        improved.objective = Worth({}, noise=1.0)
        turned[confidence] = int((improved(batch) != batch.action_table[2]).any(-1).sum())
    assert turned[4.0] <= 2 < turned[0.0]


def test_a_gradient_betters_plans_that_chance_has_drawn(immortal: WorldModel) -> None:
    batch = dreams(immortal, count=4)
    assert batch.state is not None
    goal = batch.state
    for action in (1, 1, 2, 2, 1, 0):
        goal, _, _ = immortal.imagine(goal, batch.action_table[action].expand(4, -1), temperature=0)
    found = quick(immortal, "gradient", horizon=6, temperature=0, plans=4, rounds=8)
    found.objective = GoalObjective(goal.z[0], 6, decay=0.5)
    rounds = [plan.score for plan, _ in zip(found._search(batch.state, None), range(8), strict=False)]
    assert all(bool((later >= sooner - 1e-6).all()) for sooner, later in itertools.pairwise(rounds))
    assert bool((rounds[-1] > rounds[0]).any())


# ---- from step to step -----------------------------------------------------------------------------------------------


class Counting:
    """Counts for how many environments a planner has searched, with a plan to begin with or without."""

    def __init__(self, watched: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, bool]] = []
        search = watched._search

        def counted(state: DreamState, last: Plan | None) -> Iterator[Plan]:
            self.seen.append((len(state), last is not None))
            return search(state, last)

        monkeypatch.setattr(watched, "_search", counted)

    def new(self) -> list[tuple[int, bool]]:
        seen, self.seen = self.seen, []
        return seen


def test_plans_are_followed_and_begun_anew_with_the_episode(
    immortal: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = dreams(immortal)
    policy = quick(immortal, replan_every=2)
    counting = Counting(policy, monkeypatch)
    pressed = policy(batch)
    assert counting.new() == [(3, False)]
    plan = policy.newest
    batch.step(pressed)
    assert torch.equal(policy(batch), policy.groups.buttons(plan.choices[:, 1])) and counting.new() == []
    batch.step(pressed)
    batch.reset(torch.tensor([True, False, False]))
    policy(batch)
    assert counting.new() == [(1, False), (2, True)]
    policy(dreams(immortal, count=2))
    assert counting.new() == [(2, False)], "the plans of another batch are no use"


def test_nobody_plans_for_what_has_ended(mortal: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = dreams(mortal)
    policy = quick(mortal)
    counting = Counting(policy, monkeypatch)
    batch.step(policy(batch))
    assert bool(batch.done.all())
    counting.new()
    assert not bool(policy(batch).any()) and counting.new() == []


def test_a_proposal_policys_play_is_tried(immortal: WorldModel) -> None:
    batch = dreams(immortal)
    assert batch.state is not None
    right = AlternatingPolicy.of_indices(batch.scenario, [(RIGHT, 1)])
    with_proposal = make_planner(immortal, "take_cover", "cem", proposal=right, **QUICK)
    found = with_proposal._candidates(batch.state, None)
    assert found.shape == (3, 4, 4, 1) and bool((found == RIGHT).all())
    assert with_proposal.plan(batch.state).choices.shape == (3, 4, 1)


def test_a_planner_can_plan_in_inference_mode(model: WorldModel) -> None:
    """A window plays in it, and autograd refuses its tensors."""
    with torch.inference_mode():
        batch = dreams(model)
        policy = quick(model, "gradient", rounds=2)
        for _ in range(2):
            batch.step(policy(batch), allow_ended=True)


# ---- the budget ------------------------------------------------------------------------------------------------------


class Clock:
    """Each look at it takes 10 ms."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.01
        return self.now


def test_the_search_ends_when_another_round_would_be_late(
    immortal: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = dreams(immortal, count=2)
    assert batch.state is not None
    rounds = {}
    monkeypatch.setattr(planner, "time", Clock())
    for budget, most in ((None, 7), (26.0, 100), (11.0, 100)):
        policy = quick(immortal, "cem", budget_ms=budget, rounds=most)
        score = Mock(side_effect=policy._scores)
        monkeypatch.setattr(policy, "_scores", score)
        policy.plan(batch.state)
        rounds[budget] = score.call_count
    assert rounds == {None: 7, 26.0: 5, 11.0: 2}, "two environments have twice the time of one"


def test_a_budget_too_small_for_one_round_is_refused(model: WorldModel) -> None:
    with pytest.raises(ValueError, match=r"budget_ms=0\.001 is too small: one round takes .* raise it, or lower"):
        quick(model, budget_ms=0.001)


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_environments_that_a_planner_cannot_see_are_refused(model: WorldModel, immortal: WorldModel) -> None:
    policy = quick(model)
    with pytest.raises(ValueError, match="weights=batch.model"):
        policy(dreams(immortal))
    with pytest.raises(ValueError, match="made for take_cover, these environments are basic"):
        policy(dreams(model, "basic"))
    with pytest.raises(RuntimeError, match="reset"):
        policy(DreamBatch(1, weights=model))
    with pytest.raises(RuntimeError, match="nothing has been planned"):
        quick(model).newest  # noqa: B018
    games = GameBatch(1, "take_cover")
    try:
        with pytest.raises(ValueError, match="seen through a world model.*GameBatch"):
            policy(games)
    finally:
        games.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cme"}, "choose from switch, cem, mppi, gradient, improve"),
        ({"kind": "improve", "scenario": "freedoom", "proposal": NoopPolicy()}, "no action table"),
        ({"kind": "improve", "proposal": NoopPolicy()}, "this planner improves an agent"),
        ({"kind": "improve"}, "no agent ships for take_cover and these weights"),
        ({"plans": 3}, "a switch planner has no settings plans"),
        ({"goal": np.zeros((240, 320, 3), np.uint8)}, r"shape \(120, 160, 3\).*160x120"),
        ({"goal": np.zeros((120, 160, 3), np.float32)}, "uint8"),
        ({"goal": random_frames(), "value": lambda features: features[:, 0]}, "one aim"),
        ({"kind": "switch", "scenario": "freedoom"}, "no action table"),
    ],
)
def test_a_planner_that_cannot_be_says_why(model: WorldModel, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_planner(model, **({"scenario": "take_cover"} | arguments))


def test_a_scenario_that_the_weights_do_not_know_is_refused(model: WorldModel) -> None:
    stranger = make_planner(model, "take_cover").scenario
    with pytest.raises(ValueError, match="nothing can be planned there"):
        make_planner(model, replace(stranger, name="my_own"))


# ---- episodes that are played elsewhere ------------------------------------------------------------------------------


def test_what_is_shown_is_what_a_policy_sees(model: WorldModel) -> None:
    batch = dreams(model)
    assert batch.state is not None
    observed = ObservedBatch(3, weights=model)
    observed.show(batch.state, 7)
    assert torch.equal(observed.features, batch.features)
    assert observed.steps.tolist() == [7, 7, 7] and not bool(observed.done.any())
    with pytest.raises(RuntimeError, match="played elsewhere"):
        observed.reset()
    with pytest.raises(RuntimeError, match="played elsewhere"):
        observed.step(torch.zeros(3, dtype=torch.long))
