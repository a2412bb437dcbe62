"""Scripted players that turn and shoot: Defend the Center, Defend the Line, Predict Position, Deadly Corridor.

Legend: n ways to turn, m targets. Angles are in degrees, left positive; distances in map units, times in tics.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, press
from training.players.aiming import UNIT, Array, Marksman, turning_plans


class Gunner(Marksman):
    """Defend the center and the line: shoots what is near and what throws fire."""

    RADII = {"Demon": 30.0, "MarineChainsawVzd": 16.0, "DoomImp": 20.0}
    READY = 6

    def weights(self, names: list[str], distances: Array) -> Array:
        """What hitting each target is worth, (m,)."""
        near = 0.05 + 1.5 * np.clip(1.2 - distances / 500, 0, 1)
        return np.where(np.array(names) == "DoomImp", 1.0, near)


class Rocketeer(Marksman):
    """Predict position: one slow rocket for a monster that walks to and fro; aims where it will be.

    The monster's first way is straight. Having touched a wall it zigzags about that line: there it is shot as it comes
    by.
    """

    RADII = {"Cacodemon": 40.0}  # its 31 and most of the rocket's 11
    DELAY = 8
    READY = 4
    HASTE = 60.0
    MEMORY = 8
    ROCKET = 20.0  # speed, units per tic
    MONSTER = 20 / 3  # the same
    START = 50.0  # units of the way that the rocket need not fly
    REACH_STRAIGHT = 570.0  # largest |y| at which a monster on its first way is worth a rocket
    REACH_ZIGZAG = 450.0  # the same of one that zigzags
    LATE = 160  # tic from which on a zigzag is shot at
    NEAR = 100.0  # units to the line, where the zigzag may end: not shot at if it comes so near
    ON_LINE = 11.0  # units from the line at which the monster counts as on it
    CRATE = (160.0, -288.0)  # who walks at a larger x than this is stopped at this y

    def targets(self, game: Game) -> list[Any]:
        """The monster."""
        self.line = next(o.position_x for o in game.state.objects if o.name == "PatrolPoint")
        return super().targets(game)

    def speeds(self, ids: list[int], places: Array) -> Array:
        """How far the monster moves in a tic: in y only, (1, 2)."""
        mean = super().speeds(ids, places) * (0, 1)
        self.monster = places[0]
        steps = np.diff(self.past[ids[0]][-3:], axis=0)
        off = self.line - places[0, 0]
        on_line = abs(off) < self.ON_LINE
        self.straight = len(steps) > 1 and not steps[:, 0].any() and abs(steps[:, 1].sum()) > 30 and on_line
        self.homing = len(steps) > 0 and abs(off) < self.NEAR and (off * steps[-1, 0] > 0 or on_line)
        return np.sign(mean) * self.MONSTER if self.straight else mean

    def chances(self, angles: Array, places: Array, radii: Array) -> Array:
        """Chance that a rocket hits the monster, (n, 1); `places` is where it is when the rocket starts."""
        there = places
        for _ in range(3):  # the rocket flies to where the monster will be when it arrives
            distance = np.hypot(there[..., 0], there[..., 1])
            there = places + self.speed * ((distance - self.START) / self.ROCKET)[..., None]
        y = there[..., 1] + self.position[1]
        if self.straight:
            worth = np.abs(y) < self.REACH_STRAIGHT
            crate_x, crate_y = self.CRATE
            if self.line > crate_x:
                worth &= (y - crate_y) * (self.monster[1] - crate_y) > 0
        else:
            worth = (np.abs(y) < self.REACH_ZIGZAG) & (self.tic > self.LATE) & (not self.homing)
        return super().chances(angles, there, radii) * worth


class Corridor(Marksman):
    """Deadly corridor: shoots the first pair at once, the others from where only their elbows show.

    In between it walks on, to the armour.
    """

    RADII = {"Zombieman": 20.0, "ShotgunGuy": 20.0, "ChaingunGuy": 20.0}
    READY = 16
    SIGHT = 400.0  # units before a pair: where to stop
    NECK = 160.0  # units before a pair: where the corridor widens
    WALL = 32.0  # half the corridor's width
    GLIDE = 9.7  # units of gliding for each unit of speed

    def targets(self, game: Game) -> list[Any]:
        """Those of the nearest pair."""
        x = float(game.pose()[0])
        return [o for o in super().targets(game) if -100 < o.position_x - x < self.SIGHT + 100]

    def chances(self, angles: Array, places: Array, radii: Array) -> Array:
        """Chance that a shot hits a box beside the corridor and not the wall before it, (n, m)."""
        side = np.sign(places[..., 1] + self.position[1])
        inner = np.degrees(np.arctan2(places[..., 1] - side * radii, places[..., 0] + radii)) * side
        outer = np.degrees(np.arctan2(places[..., 1] + side * radii, places[..., 0] - radii)) * side
        ahead = places[..., 0] - self.NECK
        wall = np.degrees(np.arctan2(side * self.WALL - self.position[1], np.maximum(ahead, 1e-3))) * side
        outer = np.where(ahead > 0, np.minimum(outer, wall), outer)
        angle = ((angles[:, None] + 180) % 360 - 180) * side
        return np.clip(np.minimum(angle - inner, outer - angle) - 0.2, 0, 0.5) * 2

    def choose(self, game: Game) -> Buttons:
        """Choose an action."""
        player = next(o for o in game.state.objects if o.name == "DoomPlayer")
        ahead = min((o.position_x - player.position_x for o in self.targets(game)), default=np.inf)
        near = ahead < self.NECK + self.WALL  # in sight of it: shoot on the run
        if abs(player.velocity_x) < 1 or near or self.tic <= self.shot:
            if (action := self.shoot(game)) is not None:
                return action
        off = round(((float(game.pose()[3]) + 180) % 360 - 180) / UNIT)
        if off:  # look along the corridor again
            plans = turning_plans(self.held, self.DEPTH)
            fitting = plans[plans[:, 1] == -off]
            return self.turn(int(fitting[0, 2]) if len(fitting) else -int(np.sign(off)))
        self.held = 0
        braking = player.velocity_x > 1 and ahead - self.GLIDE * player.velocity_x < self.SIGHT
        return press() if braking else press("MOVE_FORWARD")
