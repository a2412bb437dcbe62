"""Promises of the simple players and of the roster: legal actions, held as long as they say, known by name."""

from __future__ import annotations

import numpy as np
import pytest

from doom_dream_env.envs.game import Game
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.policies import AlternatingPolicy, random_action
from doom_dream_env.scenarios import SCENARIOS, press
from training.players.base import AlternatingPlayer, PlayerPolicy, RandomPlayer, random_alternation
from training.players.roster import BEHAVIOURS, TEACHERS, make_player

NO_GAME: Game = None  # type: ignore[assignment]  # for players that look at nothing


def episode_return(game: Game, behaviour: str, seed: int) -> float:
    player = make_player(behaviour, game.scenario, np.random.default_rng(seed))
    game.reset(seed)
    total = 0.0
    ended = False
    while not ended:
        reward, terminated, truncated = game.step(player(game))
        total += reward
        ended = terminated or truncated
    return total


def test_press_names_buttons_and_random_play_stays_within_the_scenario() -> None:
    assert press().tolist() == [0] * 9 and np.flatnonzero(press("ATTACK", "USE")).tolist() == [6, 7]
    rng = np.random.default_rng(0)
    for scenario in SCENARIOS.values():
        drawn = {random_action(scenario, rng).tobytes() for _ in range(300)}
        if scenario.discrete:
            assert drawn == {row.tobytes() for row in scenario.action_table()}, scenario.name
        else:
            assert len(drawn) > 30, scenario.name


def test_random_players_hold_an_action_as_long_as_they_say() -> None:
    player = RandomPlayer(SCENARIOS["take_cover"], np.random.default_rng(0), longest=4)
    played = np.array([player(NO_GAME) @ (0, 0, 1, 2, 0, 0, 0, 0, 0) for _ in range(3000)])
    assert np.bincount(played, minlength=3) == pytest.approx([1000] * 3, abs=200)
    runs = np.diff(np.flatnonzero(np.r_[True, played[1:] != played[:-1], True]))
    assert 2.5 < runs.mean() < 5  # holds of 2.5 steps on average, a third of them repeated


def test_alternating_players_take_turns() -> None:
    left = press("MOVE_LEFT")
    right = press("MOVE_RIGHT")
    player = AlternatingPlayer(AlternatingPolicy((left, right), (3, 2)))
    played = [player(NO_GAME).tolist() for _ in range(7)]
    assert played == [row.tolist() for row in (left, left, left, right, right, left, left)]
    rng = np.random.default_rng(0)
    drawn = [random_alternation(SCENARIOS["take_cover"], rng) for _ in range(200)]
    same = np.mean([np.array_equal(*policy.actions) for policy in drawn])
    shortest = min(min(policy.steps) for policy in drawn)
    assert 0.2 < same < 0.5 and shortest >= 2  # a third do the same all the time


def test_an_unknown_behaviour_lists_the_known() -> None:
    for behaviour in ("brave", "handover:nobody"):
        with pytest.raises(ValueError) as error:
            make_player(behaviour, SCENARIOS["take_cover"], np.random.default_rng(0))
        assert behaviour in str(error.value) and all(name in str(error.value) for name in BEHAVIOURS)


def test_a_player_as_a_policy_plays_each_episode_as_it_would_alone() -> None:
    scenario = SCENARIOS["basic"]
    batch = GameBatch(2, "basic", privileged=True)
    policy = PlayerPolicy(lambda rng: TEACHERS["basic"](scenario, rng))
    played = evaluate_policy(batch, policy, 3, 3000)
    batch.close()
    game = Game(scenario, privileged=True)
    alone = [episode_return(game, "scripted", seed) for seed in (3000, 3001, 3002)]
    game.close()
    assert played.returns.tolist() == alone


@pytest.mark.slow
@pytest.mark.parametrize(("name", "margin"), [("take_cover", 400), ("defend_the_center", 5), ("health_gathering", 300)])
def test_scripted_players_beat_random_ones_by_far(name: str, margin: float) -> None:
    game = Game(SCENARIOS[name], privileged=True)
    seeds = range(70_100, 70_106)
    returns = {
        behaviour: [episode_return(game, behaviour, seed) for seed in seeds] for behaviour in ("random", "scripted")
    }
    game.close()
    assert np.mean(returns["scripted"]) > np.mean(returns["random"]) + margin, returns
