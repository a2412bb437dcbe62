"""Promises of how plans are made, scored and reported: equal luck for all, true gradients, time for decisions alone.

Legend: n environments, P plans, K dreams of each, H steps, G groups of options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents.choices import ActionGroups
from doom_dream_env.agents.planning.config import CEMConfig, GradientConfig, PlannerConfig
from doom_dream_env.agents.planning.objectives import (
    UNRELATED,
    DreamedStep,
    GoalObjective,
    ReturnObjective,
    expected_health_change,
)
from doom_dream_env.agents.planning.rollout import mean_scores, score_plans
from doom_dream_env.scenarios import SCENARIOS, get_scenario, press
from doom_dream_env.world_model import DreamState, WorldModel
from training.config import PlanningConfig
from training.evaluation import planning

# ---- plans ---------------------------------------------------------------------------------------------------------


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


# ---- what can be chosen ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_option_is_found_again_from_its_buttons(name: str) -> None:
    groups = ActionGroups.of(get_scenario(name))
    choices = groups.sample(groups.uniform(1, 4), 50, hold=0.0, generator=generator())
    buttons = groups.buttons(choices)
    assert torch.equal(groups.choices(buttons), choices)
    assert torch.equal(groups.expected_buttons(groups.one_hot(choices)), buttons)
    assert bool(groups.exists.expand(*choices.shape, -1).gather(-1, choices[..., None]).all()), "a choice exists"


def test_free_play_never_presses_what_excludes_each_other() -> None:
    groups = ActionGroups.of(get_scenario("freedoom"))
    buttons = groups.buttons(groups.sample(groups.uniform(1, 4), 200, hold=0.0, generator=generator()))
    for one, other in ((0, 1), (2, 3), (4, 5)):
        assert not bool((buttons[..., one] * buttons[..., other]).any())
    assert bool(buttons.flatten(0, -2).any(0).all()), "and every button is pressed at times"
    both = torch.from_numpy(press("MOVE_FORWARD", "MOVE_BACKWARD", "USE")).float()
    assert groups.buttons(groups.choices(both)).tolist() == press("USE").tolist()


def test_held_plans_change_as_rarely_as_they_are_told() -> None:
    groups = ActionGroups.of(get_scenario("take_cover"))
    changes = {}
    for hold in (0.0, 0.7, 1.0):
        plans = groups.sample(groups.uniform(1, 40), 500, hold, generator())
        changes[hold] = float((plans[:, :, 1:] != plans[:, :, :-1]).float().mean())
    assert changes[1.0] == 0
    assert changes[0.0] == pytest.approx(2 / 3, abs=0.02) and changes[0.7] == pytest.approx(0.3 * 2 / 3, abs=0.02)


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


# ---- how plans are scored --------------------------------------------------------------------------------------------


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


def test_all_plans_have_the_same_luck(model: WorldModel) -> None:
    groups = ActionGroups.of(get_scenario("take_cover"))
    state = begun(model, count=1)
    plans = torch.ones(1, 2, H, 1, dtype=torch.long)
    plans[0, 1, -1] = 2  # differs in the last step alone
    scores, other = (
        score_plans(model, state, plans, groups, draw_luck(model, 1, 64, seed), objective(model), 1.0)[0]
        for seed in (0, 1)
    )
    between_plans = (scores[0] - scores[1]).std()
    assert between_plans < 0.5 * (scores[0] - other[0]).std(), "two plans differ by less than two draws of luck"


def test_survival_counts_only_where_death_alone_ends_an_episode(model: WorldModel) -> None:
    assert objective(model, "take_cover").survival_weight > 0
    assert objective(model, "basic").survival_weight == 0, "there, hitting the monster ends it"
    assert objective(model, "basic", health_weight=5.0).health_weight == 0, "there is no health to keep"


def test_a_goal_counts_the_last_step_most_and_death_as_far_away(model: WorldModel) -> None:
    state = begun(model, count=1)
    aim = GoalObjective(state.z[0] + 1.0, steps=3, decay=0.5)
    one = torch.ones(1)
    lived = DreamedStep(2, state, torch.zeros(1, 9), state, reward=one, alive=one, still_alive=one)
    gains = [float(aim.gain(replace(lived, number=number))) for number in range(3)]
    assert gains == pytest.approx([-1 / 7, -2 / 7, -4 / 7])
    assert float(aim.gain(replace(lived, still_alive=0 * one))) == pytest.approx(-UNRELATED * 4 / 7)


def test_the_expected_change_of_health_is_the_mean_of_many_dreams(model: WorldModel) -> None:
    count = 4000
    one = begun(model, count=1)
    buttons = torch.zeros(count, 9)
    for health in (100.0, 30.0):
        state = one.map(lambda x: x.expand(count, *x.shape[1:]))
        state = replace(state, variables=torch.full_like(state.variables, health) * (state.variables > 0))
        dreamed, _, _ = model.imagine(state, buttons, generator=generator())
        found = expected_health_change(model, state[:1], buttons[:1])
        changes = dreamed.variables[:, 0] - health
        assert float(found) == pytest.approx(float(changes.mean()), abs=4 * float(changes.std()) / count**0.5)


def test_the_gradient_of_a_plan_is_the_slope_of_its_score(model: WorldModel) -> None:
    state = begun(model)
    aim = objective(model, survival_weight=1.0, health_weight=10.0)
    buttons = torch.full((N, H, 9), 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(mean_scores(model, state, buttons, aim).sum(), buttons)
    step = 0.005
    along = gradient / gradient.norm()
    there, back = (mean_scores(model, state, buttons.detach() + sign * step * along, aim) for sign in (1, -1))
    slope = float((there - back).sum()) / (2 * step)
    assert slope > 1e-2
    assert float(gradient.norm()) == pytest.approx(slope, rel=0.05)


# ---- planning report -----------------------------------------------------------------------------------------------


QUICK: dict[str, Any] = {"horizon": 2, "dreams": 1, "rounds": 1}


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


def test_rounds_fill_the_time_that_there_is(immortal: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))  # each decision of both games takes a second
    monkeypatch.setattr(planning.time, "process_time", lambda: next(clock))
    planner = planning.make_planner(immortal, "take_cover", **QUICK)
    assert planning.rounds_within(planner, 1600, games=2) == 3
    assert planning.rounds_within(planner, 1, games=2) == 1, "one round is always finished"
    assert torch.is_tensor(planner.newest.choices)
