"""Promises of planners: they find what leads to the goal, keep their budget, and are reported on real games.

Legend: N environments, P plans, K dreams of each, H steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import random_frames

from doom_dream_env.agents.choices import ActionGroups
from doom_dream_env.agents.planning import KINDS, Planner, make_planner, planner
from doom_dream_env.agents.planning.config import CEMConfig, GradientConfig, PlannerConfig
from doom_dream_env.agents.planning.objectives import (
    GoalObjective,
    ReturnObjective,
    expected_health_change,
)
from doom_dream_env.agents.planning.plan import Plan
from doom_dream_env.agents.planning.rollout import score_plans
from doom_dream_env.envs import DreamBatch
from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.observed import ObservedBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from training.config import PlanningConfig
from training.evaluation import planning

QUICK: dict[str, Any] = {"horizon": 4, "dreams": 2}
RIGHT = 1  # of take_cover's action table


def dreams(model: WorldModel, scenario: str = "take_cover", count: int = 3, **more: Any) -> DreamBatch:
    batch = DreamBatch(count, scenario, weights=model, **more)
    batch.reset(seed=0)
    return batch


def quick(model: WorldModel, kind: str | None = None, scenario: str = "take_cover", **settings: Any) -> Planner:
    return make_planner(model, scenario, kind, **(QUICK | settings))


# ---- they plan -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_a_planner_finds_what_leads_to_the_goal(immortal: WorldModel, kind: str) -> None:
    batch = dreams(immortal, count=1)
    assert batch.state is not None
    goal = batch.state
    for action in (1, 1, 2, 2):
        goal, _, _ = immortal.imagine(goal, batch.action_table[action][None], temperature=0)
    found = quick(immortal, kind, temperature=0, plans=64, rounds=6)
    found.objective = GoalObjective(goal.z[0], 4, decay=0.0)
    plan = found.plan(batch.state)
    assert plan.choices.flatten().tolist() == [1, 1, 2, 2]
    assert float(plan.score) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "scenario"), [("cem", "freedoom"), ("gradient", "freedoom"), (None, "deadly_corridor")]
)
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


def test_pessimism_prefers_what_is_sure(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def score_plans(model: WorldModel, state: DreamState, plans: torch.Tensor, *more: Any) -> torch.Tensor:
        risky = torch.tensor([0.0, 10.0])  # mean 5
        sure = torch.tensor([4.0, 4.0])
        return torch.where((plans[:, :, 0] == RIGHT), risky, sure)

    monkeypatch.setattr(planner, "score_plans", score_plans)
    batch = dreams(model)
    assert bool((quick(model)(batch) == batch.action_table[RIGHT]).all())
    assert not bool((quick(model, pessimism=1.0)(batch) == batch.action_table[RIGHT]).all(-1).any())


# ---- from step to step -----------------------------------------------------------------------------------------------
class Counting:
    """Counts for how many environments a planner has planned, with a plan to begin with or without."""

    def __init__(self, watched: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, bool]] = []
        plan = watched.plan

        def counted(state: DreamState, last: Plan | None = None) -> Plan:
            self.seen.append((len(state), last is not None))
            return plan(state, last)

        monkeypatch.setattr(watched, "plan", counted)

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
        policy = quick(immortal, "cem", rounds=most)
        policy.config = replace(policy.config, budget_ms=budget)  # behind the check that measures a round
        score = Mock(side_effect=score_plans)
        monkeypatch.setattr(planner, "score_plans", score)
        policy.plan(batch.state)
        rounds[budget] = score.call_count
    assert rounds == {None: 7, 26.0: 5, 11.0: 2}, "two environments have twice the time of one"


def test_a_budget_too_small_for_one_round_is_refused(model: WorldModel) -> None:
    with pytest.raises(ValueError, match=r"budget_ms=0\.001 is too small: one round takes .* raise it, or lower"):
        quick(model, budget_ms=0.001)


# ---- mistakes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda model, other: dreams(other), ValueError, "weights=batch.model"),
        (lambda model, other: dreams(model, "basic"), ValueError, "made for take_cover, these environments are basic"),
        (lambda model, other: DreamBatch(1, weights=model), RuntimeError, "reset"),
        (lambda model, other: GameBatch(1, "take_cover"), ValueError, "seen through a world model.*GameBatch"),
    ],
)
def test_environments_that_a_planner_cannot_see_are_refused(
    make: Callable[..., EnvBatch], error: type[Exception], message: str, model: WorldModel, immortal: WorldModel
) -> None:
    batch = make(model, immortal)
    with pytest.raises(error, match=message):
        quick(model)(batch)
    batch.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cme"}, "choose from cem, gradient"),
        ({"elite": 3}, "a cem planner has no settings elite; it has .*, elites"),
        ({"goal": np.zeros((240, 320, 3), np.uint8)}, r"shape \(120, 160, 3\).*160x120"),
        ({"goal": np.zeros((120, 160, 3), np.float32)}, "uint8"),
        ({"goal": random_frames(), "value": lambda features: features[:, 0]}, "one aim"),
    ],
)
def test_a_planner_that_cannot_be_says_why(model: WorldModel, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_planner(model, **({"scenario": "take_cover"} | arguments))


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


# ---- plans -----------------------------------------------------------------------------------------------------------
N, P, K, H = 2, 7, 3, 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def begun(model: WorldModel, scenario: str = "take_cover", count: int = N) -> DreamState:
    """The first moments of dreams."""
    z, variables = model.initial_states[get_scenario(scenario).place]
    return model.begin(z[:count], variables[:count], model.scenario_index(scenario, count))


def draw_luck(model: WorldModel, count: int, dreams: int, seed: int) -> torch.Tensor:
    return model.dynamics.draw_noise(H * count * dreams, generator(seed)).reshape(H, count, dreams, -1)


def objective(model: WorldModel, scenario: str = "take_cover", **settings: float) -> ReturnObjective:
    return ReturnObjective.of(model, get_scenario(scenario), PlannerConfig(**settings), None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlannerConfig(horizon=0), "horizon must be greater"),
        (lambda: PlannerConfig(dreams=1.5), "dreams must be a whole number"),  # type: ignore[arg-type]
        (lambda: PlannerConfig(discount=1.1), "discount must be less"),
        (lambda: PlannerConfig(temperature=float("nan")), "temperature must be a finite number"),
        (lambda: PlannerConfig(horizon=3, replan_every=4), "lower replan_every"),
        (lambda: PlannerConfig(proposals=-1), "proposals must be greater"),
        (lambda: CEMConfig(plans=4, elites=5), "kept ≤ elites ≤ plans"),
        (lambda: GradientConfig(restarts=0), "restarts must be"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("scenario", ["take_cover", "freedoom"])
def test_shared_beginnings_change_no_score(model: WorldModel, scenario: str) -> None:
    """Every plan dreamed on its own, step by step, has the score that the tree of all plans gives it."""
    groups = ActionGroups.of(get_scenario(scenario))
    state = begun(model, scenario)
    plans = groups.sample(groups.uniform(N, H), P, hold=0.6, generator=generator())
    luck = draw_luck(model, N, K, seed=1)
    aim = objective(model, scenario, discount=0.9, survival_weight=0.5, health_weight=3.0)
    found = score_plans(model, state, plans, groups, luck, aim, temperature=1.0)
    assert found.shape == (N, P, K)
    for plan in range(P):
        dream = state.map(lambda x: x.repeat_interleave(K, 0))
        total = torch.zeros(N * K)
        alive = torch.ones(N * K)
        for step in range(H):
            buttons = groups.buttons(plans[:, plan, step]).repeat_interleave(K, 0)
            health = alive * expected_health_change(model, dream, buttons) * aim.health_weight / 100
            dream, reward, continues = model.imagine(dream, buttons, noise=luck[step].flatten(0, 1))
            total += 0.9**step * (alive * reward + aim.survival_weight * alive * continues + health)
            alive = alive * continues
        torch.testing.assert_close(found[:, plan].flatten(), total, rtol=1e-4, atol=1e-4)


def test_a_report_is_finished_where_it_was_killed(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real games; they last 19 steps each, for predict_position is over soon after its only rocket."""
    seeds: list[int] = []
    evaluate = planning.evaluate_policy

    def counted(batch: Any, policy: Any, episodes: int, first_seed: int, label: str) -> Any:
        seeds.extend(range(first_seed, first_seed + episodes))
        return evaluate(batch, policy, episodes, first_seed, label)

    monkeypatch.setattr(planning, "evaluate_policy", counted)

    def report(episodes: int) -> dict[str, Any]:
        config = PlanningConfig(
            weights=str(weights),
            scenarios=("predict_position",),
            minds=("noop", "agent", "planner"),
            episodes=episodes,
            milliseconds=1e-3,
            first_seed=90_000,
            games=2,
            out=tmp_path,
        )
        return planning.run(config)["predict_position"]

    first = report(2)
    assert list(first) == ["noop", "planner"], "no agent ships for these weights"
    again = report(3)
    assert sorted(seeds) == sorted(2 * [90_000, 90_001, 90_002])
    assert again["planner"]["episodes"] == 3 and again["planner"]["rounds"] == 1
    assert again["planner"]["milliseconds"] > again["noop"]["milliseconds"]
    assert json.loads((tmp_path / "planning.json").read_text())["predict_position"] == again
    assert "| predict_position | planner |" in (tmp_path / "planning.md").read_text()


def test_free_play_counts_kills_and_squares_on_every_map(weights: Path, tmp_path: Path) -> None:
    def report(scenario: str, *maps: str) -> dict[str, Any]:
        return planning.run(
            PlanningConfig(
                weights=str(weights),
                scenarios=(scenario,),
                maps=maps,
                minds=("noop", "random"),
                episodes=2,
                games=2,
                out=tmp_path,
            )
        )

    # On both of these a player who does nothing is dead within seconds.
    found = report("freedoom", "E1M5", "MAP11")
    assert list(found) == ["freedoom E1M5", "freedoom MAP11"]
    for minds in found.values():
        assert minds["noop"]["squares"] == 1 < minds["random"]["squares"] and minds["noop"]["kills"] == 0
    assert report("freedoom", "E1M5", "MAP11") == found, "finished games are not played again"
    assert "squares walked over" in (tmp_path / "planning.md").read_text()
    with pytest.raises(ValueError, match="maps are for free play"):
        report("take_cover", "MAP07")
