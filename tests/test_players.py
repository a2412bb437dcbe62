"""Promises of the scripted players: legal actions, ways around walls, and scores to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from doom_dream_env.envs.games import GameBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import SCENARIOS, get_scenario
from training.players.base import Player, PlayerPolicy, RandomPlayer
from training.players.explorers import Explorer
from training.players.navigation import REGION
from training.players.roster import BEHAVIOURS, TEACHERS, make_player
from training.players.wanderers import Wanderer

slow = pytest.mark.slow


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
    assert played.returns.tolist() == returns("basic", range(3000, 3003))


def play(game: Game, player: Player, seed: int, steps: int = 10**6) -> tuple[float, int]:
    """An episode of legal actions; returns the sum of rewards and the number of regions seen."""
    game.reset(seed)
    legal = {row.tobytes() for row in game.scenario.action_table()}
    total = 0.0
    places = []
    for _ in range(steps):
        places.append(game.pose()[:2])
        action = player(game)
        assert action.dtype == np.uint8 and action.shape == (9,) and action.max() <= 1
        assert not game.scenario.discrete or action.tobytes() in legal, f"{action} is no action of the table"
        reward, terminated, truncated = game.step(action)
        total += reward
        if terminated or truncated:
            break
    return total, len(np.unique(np.array(places) // REGION, axis=0))


def returns(name: str, seeds: range, behaviour: str = "scripted") -> list[float]:
    """Returns of whole episodes of a player."""
    scenario = SCENARIOS[name]
    game = Game(scenario, privileged=True)
    found = [play(game, make_player(behaviour, scenario, np.random.default_rng(seed)), seed)[0] for seed in seeds]
    game.close()
    return found


@pytest.mark.parametrize(
    ("name", "seeds", "floor"),
    [
        ("basic", range(3000, 3006), 65.0),
        ("predict_position", range(3000, 3004), 0.4),
        ("deadly_corridor", range(3000, 3002), 1500.0),
        ("health_gathering", range(1000, 1002), 1900),
        ("health_gathering_supreme", range(1000, 1002), 1500),
        ("my_way_home", range(1000, 1002), 0.9),
        pytest.param("defend_the_center", range(3000, 3002), 20.0, marks=slow),
        pytest.param("defend_the_line", range(3000, 3003), 25.0, marks=slow),
        pytest.param("take_cover", range(3000, 3002), 1500.0, marks=slow),
    ],
)
def test_a_teacher_plays_legal_actions_and_well(name: str, seeds: range, floor: float) -> None:
    assert np.mean(returns(name, seeds)) >= floor


@pytest.mark.parametrize(
    "name", ["basic", "predict_position", "deadly_corridor", pytest.param("defend_the_line", marks=slow)]
)
def test_a_teacher_that_is_interrupted_still_plays_legal_actions_to_the_end(name: str) -> None:
    assert np.isfinite(returns(name, range(3100, 3102), "perturbed")).all()


@pytest.mark.parametrize("kind", [Explorer, Wanderer])
def test_players_of_free_play_see_more_than_random_play(kind: type[Explorer]) -> None:
    game = Game(get_scenario("freedoom", map="MAP01"), privileged=True)
    seen = {}
    for player in (kind, RandomPlayer):
        seen[player] = [play(game, player(game.scenario, np.random.default_rng(seed)), seed, 500)[1] for seed in (0, 1)]
    game.close()
    assert np.mean(seen[kind]) > 1.5 * np.mean(seen[RandomPlayer])
