"""Scripted players that find their way: to medikits (Health Gathering), home through a maze (My Way Home)."""

from __future__ import annotations

import numpy as np

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press
from training.players.aiming import bearing
from training.players.navigation import CELL, level


def turn_to(game: Game, x: float, y: float) -> float:
    """Degrees to turn left to face a point, in −180…180."""
    here_x, here_y, _, angle = game.pose()
    return float((np.degrees(np.arctan2(y - here_y, x - here_x)) - angle + 180) % 360 - 180)


class Walker:
    """Follows ways over the grid of the map.

    Attributes:
        way: cells still to walk over.
        extra: for every cell, what entering it costs on top.
    """

    LOOK_AHEAD = (16, 10, 6, 4, 2)  # cells of the way to aim at, the first to which one can walk straight

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.level = level(scenario)
        self.rng = rng
        self.way: list[int] = []
        self.extra = [0.0] * self.level.size

    def waypoint(self, game: Game) -> tuple[float, float]:
        """Where to walk to now: the farthest point of the way ahead in a straight line. Drops what lies behind."""
        x, y, _, _ = game.pose()
        ahead = np.array(self.way[: self.LOOK_AHEAD[0]])
        nearest = int(np.argmin(np.hypot(self.level.x[ahead] - x, self.level.y[ahead] - y)))
        self.way = self.way[nearest:]
        index = 0
        for index in self.LOOK_AHEAD:
            if index < len(self.way) and self.level.straight(x, y, self.way[index], self.extra):
                break
        index = min(index, len(self.way) - 1)
        return float(self.level.x[self.way[index]]), float(self.level.y[self.way[index]])


class Gatherer(Walker):
    """Health gathering: walks to the nearest medikit, around walls and vials of poison, one button at a time."""

    POISON_RADIUS = 40.0  # units: 20 + 16 and a margin
    POISON_COST = 400.0  # units of way round that it would rather go, per cell
    PATIENCE = 8  # steps between two looks around
    TURN_COST = 3.0  # units that one walks in the time of turning by a degree
    NEXT_COST = 0.4  # price of a medikit for each unit between it and the next one
    FEW_CELLS = 3  # of the way left: look around again

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        super().__init__(scenario, rng)
        self.left = press("TURN_LEFT")
        self.right = press("TURN_RIGHT")
        self.forward = press("MOVE_FORWARD")
        self.wait = 0  # steps until the next look around
        self.turning = False  # the first step of a turn is one of 7 degrees, every further one of 14

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.wait -= 1
        if self.wait <= 0 or len(self.way) < self.FEW_CELLS:
            self.look(game)
        if not self.way:
            return self.forward
        return self.steer(game, *self.waypoint(game))

    def look(self, game: Game) -> None:
        """Choose a medikit and the way to it."""
        self.wait = self.PATIENCE
        x, y = game.pose()[:2]
        grid = self.level
        extra = np.zeros(grid.size)
        for thing in game.state.objects:
            if "Poison" in thing.name:
                place = (thing.position_x, thing.position_y)
                extra[grid.around(*place, self.POISON_RADIUS + CELL)] += self.POISON_COST / 10
                extra[grid.around(*place, self.POISON_RADIUS)] += self.POISON_COST
        wanted = [thing for thing in game.state.objects if "Medikit" in thing.name or thing.name == "GreenArmor"]
        places = np.array([(thing.position_x, thing.position_y) for thing in wanted])
        goals = np.full(grid.size, np.inf)
        for thing, place in zip(wanted, places, strict=True):
            to_next = np.sort(np.hypot(*(places - place).T))[1:2].sum()  # zero if it is the last one
            angle, _ = bearing(game, thing)
            goals[grid.cell(*place)] = self.TURN_COST * abs(angle) + self.NEXT_COST * to_next
        self.extra = extra.tolist()
        self.way, _ = grid.way(grid.cell(x, y), goals, self.extra)

    def steer(self, game: Game, x: float, y: float) -> Buttons:
        """Turn to a point or walk to it."""
        here_x, here_y, _, _ = game.pose()
        angle = turn_to(game, x, y)
        distance = float(np.hypot(x - here_x, y - here_y))
        radius = 24.0 if len(self.way) < 16 else 14.0  # units by which it may miss the point
        tolerance = min(40.0, np.degrees(np.arctan2(radius, max(distance, 1.0))))
        self.turning = abs(angle) > max(tolerance, 7.5 if self.turning else 4.0)
        if not self.turning:
            return self.forward
        return self.left if angle > 0 else self.right


class Homecomer(Gatherer):
    """My way home: the shortest way to the armour."""

    PATIENCE = 20
