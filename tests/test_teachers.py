"""Promises of the scripted players that aim, dodge and run the gauntlet: legal actions, and scores to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import SCENARIOS
from training.players.aiming import UNIT, turning_plans
from training.players.marksmen import Gunner
from training.players.roster import make_player

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


@pytest.mark.parametrize("held", [0, 4, 8])
def test_turning_plans_are_the_games_own_turns(held: int) -> None:
    plans = {(steps, units): first for steps, units, first in turning_plans(held, 3).tolist()}
    after = {0: 4, 4: 7, 8: 8}[held]  # units of one more step, as measured
    assert plans[0, 0] == 0 and plans[1, after] == 1 and plans[1, -after] == -1
    reach = {units for _, units, _ in turning_plans(held, 5).tolist()}
    assert all(reach & {units - 1, units, units + 1} for units in range(-15, 16)), "some directions are out of reach"


def test_a_turn_is_as_large_as_planned() -> None:
    scenario = SCENARIOS["defend_the_center"]
    game = Game(scenario, privileged=True)
    game.reset(3000)
    player = Gunner(scenario, np.random.default_rng(0))
    units = 0
    for move, expected in ((1, 4), (1, 7), (-1, -8), (0, 0), (-1, -4), (1, 7)):
        game.step(player.turn(move))
        units += expected
        assert abs((float(game.pose()[3]) - units * UNIT + 180) % 360 - 180) < 0.1
    game.close()
