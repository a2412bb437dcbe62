"""Promises of the scripted players that find their way: ways lead around walls, and players get where they want."""

from __future__ import annotations

import numpy as np
import pytest

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import BUTTONS, get_scenario
from training.players.base import Player, RandomPlayer
from training.players.explorers import Explorer
from training.players.maps import MapGeometry
from training.players.navigation import CELL, REGION, Level
from training.players.walkers import Gatherer, Homecomer
from training.players.wanderers import Wanderer


def room(wall: bool) -> Level:
    """A room of 512 x 512, and across it a wall with a gap at its right end."""
    lines = [(0, 0, 0, 512), (0, 512, 512, 512), (512, 512, 512, 0), (512, 0, 0, 0)]
    sides = [[0, -1]] * 4
    if wall:
        lines.append((0, 256, 400, 256))
        sides = [*sides, [0, 0]]
    geometry = MapGeometry(
        lines=np.array(lines, float),
        sides=np.array(sides),
        blocking=np.arange(len(lines)) >= 4,
        specials=np.zeros(len(lines), np.int64),
        tags=np.zeros(len(lines), np.int64),
        heights=np.array([[0.0, 128.0]]),
        sector_specials=np.zeros(1, np.int64),
        sector_tags=np.zeros(1, np.int64),
    )
    return Level(geometry)


@pytest.mark.parametrize("wall", [False, True])
def test_a_way_leads_around_a_wall(wall: bool) -> None:
    grid = room(wall)
    start = grid.cell(100, 100)
    goal = grid.cell(100, 400)
    goals = np.full(grid.size, np.inf)
    goals[goal] = 0.0
    way, cost = grid.way(start, goals, [0.0] * grid.size)
    assert way[0] == start and way[-1] == goal
    assert grid.x[way].max() > 400 if wall else grid.x[way].max() < 150
    assert cost > 600 if wall else cost < 400
    assert np.hypot(np.diff(grid.x[way]), np.diff(grid.y[way])).max() < 1.5 * CELL
    assert grid.straight(100, 100, goal, [0.0] * grid.size) is not wall


def test_no_way_out_of_the_room() -> None:
    grid = room(True)
    goals = np.full(grid.size, np.inf)
    assert grid.way(grid.cell(100, 100), goals, [0.0] * grid.size) == ([], np.inf)
    assert not grid.free[grid.inside(100, 256)] and grid.free[grid.inside(480, 256)]


def play(game: Game, player: Player, seed: int, steps: int = 10**6) -> tuple[float, int]:
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
    scores = [play(game, teacher(game.scenario, np.random.default_rng(seed)), seed)[0] for seed in (1000, 1001)]
    game.close()
    assert np.mean(scores) > floor


@pytest.mark.parametrize("kind", [Explorer, Wanderer])
def test_players_of_free_play_see_more_than_random_play(kind: type[Explorer]) -> None:
    game = Game(get_scenario("freedoom", map="MAP01"), privileged=True)
    seen = {}
    for player in (kind, RandomPlayer):
        seen[player] = [play(game, player(game.scenario, np.random.default_rng(seed)), seed, 500)[1] for seed in (0, 1)]
    game.close()
    assert np.mean(seen[kind]) > 1.5 * np.mean(seen[RandomPlayer])


def test_a_cautious_explorer_backs_away_from_monsters() -> None:
    game = Game(get_scenario("freedoom", map="MAP01"), privileged=True)
    backwards = {}
    for caution in (0.0, 700.0):
        player = Explorer(game.scenario, np.random.default_rng(0))
        player.caution = caution
        player.wander = 0.0
        game.reset(0)
        while player.nearest_monster(game)[1] > 400:
            assert not any(game.step(player(game))[1:])
        backwards[caution] = 0
        for _ in range(12):
            action = player(game)
            backwards[caution] += int(action[BUTTONS.index("MOVE_BACKWARD")])
            game.step(action)
    game.close()
    assert backwards[0.0] == 0 < backwards[700.0]
