"""Promises of the scripted players: legal actions, ways around walls, and scores to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from doom_dream_env.envs.game import Game
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.policies import random_action
from doom_dream_env.scenarios import SCENARIOS, get_scenario, press
from training.players.base import Player, PlayerPolicy, RandomPlayer
from training.players.explorers import Explorer
from training.players.navigation import REGION
from training.players.roster import BEHAVIOURS, TEACHERS, make_player
from training.players.walkers import Gatherer, Homecomer
from training.players.wanderers import Wanderer

# ---- players -------------------------------------------------------------------------------------------------------


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


# ---- teachers ------------------------------------------------------------------------------------------------------


slow = pytest.mark.slow


def play(name: str, seeds: range, behaviour: str = "scripted") -> list[float]:
    """Returns of whole episodes, in each of which every action was a row of the table."""
    scenario = SCENARIOS[name]
    rows = {row.tobytes() for row in scenario.action_table()}
    returns = []
    game = Game(scenario, privileged=True)
    for seed in seeds:
        game.reset(seed)
        player = make_player(behaviour, scenario, np.random.default_rng(seed))
        total = 0.0
        ended = False
        while not ended:
            action = player(game)
            assert action.tobytes() in rows, f"{name}: {action} is no action of its table"
            reward, terminated, truncated = game.step(action)
            total += reward
            ended = terminated or truncated
        returns.append(total)
    game.close()
    return returns


@pytest.mark.parametrize(
    ("name", "episodes", "floor"),
    [
        ("basic", 6, 65.0),
        ("predict_position", 4, 0.4),
        ("deadly_corridor", 2, 1500.0),
        pytest.param("defend_the_center", 2, 20.0, marks=slow),
        pytest.param("defend_the_line", 3, 25.0, marks=slow),
        pytest.param("take_cover", 2, 1500.0, marks=slow),
    ],
)
def test_a_teacher_plays_legal_actions_and_well(name: str, episodes: int, floor: float) -> None:
    returns = play(name, range(3000, 3000 + episodes))
    assert np.mean(returns) >= floor, f"{name}: {returns}"


@pytest.mark.parametrize(
    "name", ["basic", "predict_position", "deadly_corridor", pytest.param("defend_the_line", marks=slow)]
)
def test_a_teacher_that_is_interrupted_still_plays_legal_actions_to_the_end(name: str) -> None:
    assert np.isfinite(play(name, range(3100, 3102), "perturbed")).all()


# ---- explorers -----------------------------------------------------------------------------------------------------


def explore(game: Game, player: Player, seed: int, steps: int = 10**6) -> tuple[float, int]:
    """Play; returns the sum of rewards and the number of regions seen."""
    game.reset(seed)
    legal = {row.tobytes() for row in game.scenario.action_table()}
    total = 0.0
    places = []
    for _ in range(steps):
        places.append(game.pose()[:2])
        action = player(game)
        assert action.dtype == np.uint8 and action.shape == (9,) and action.max() <= 1
        assert not game.scenario.discrete or action.tobytes() in legal
        reward, terminated, truncated = game.step(action)
        total += reward
        if terminated or truncated:
            break
    return total, len(np.unique(np.array(places) // REGION, axis=0))


@pytest.mark.parametrize(
    ("name", "teacher", "floor"),
    [
        ("health_gathering", Gatherer, 1900),
        ("health_gathering_supreme", Gatherer, 1500),
        ("my_way_home", Homecomer, 0.9),
    ],
)
def test_teachers_find_their_way(name: str, teacher: type[Gatherer], floor: float) -> None:
    game = Game(get_scenario(name), privileged=True)
    scores = [explore(game, teacher(game.scenario, np.random.default_rng(seed)), seed)[0] for seed in (1000, 1001)]
    game.close()
    assert np.mean(scores) > floor


@pytest.mark.parametrize("kind", [Explorer, Wanderer])
def test_players_of_free_play_see_more_than_random_play(kind: type[Explorer]) -> None:
    game = Game(get_scenario("freedoom", map="MAP01"), privileged=True)
    seen = {}
    for player in (kind, RandomPlayer):
        seen[player] = [
            explore(game, player(game.scenario, np.random.default_rng(seed)), seed, 500)[1] for seed in (0, 1)
        ]
    game.close()
    assert np.mean(seen[kind]) > 1.5 * np.mean(seen[RandomPlayer])
