"""Scripted, privileged players for the worlds of aiming, dodging and running the gauntlet: teachers, and the ceiling to aim at."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press


class Dodger:
    """Take Cover by look-ahead: plays every plan "this, then that" against all fireballs in flight for two seconds.

    The player's motion is DOOM's: each tic the velocity gains `THRUST` sideways and keeps 29/32 of itself.
    """

    THRUST, FRICTION, TOUCH, HORIZON = 0.75, 0.90625, 22.0, 72  # units per tic, units (16 + 6, box), tics
    WALLS = (16.0, 752.0)

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        moves = {0.0: press(), 1.0: press("MOVE_LEFT"), -1.0: press("MOVE_RIGHT")}
        self.plans = [
            (moves[first], np.where(np.arange(self.HORIZON) < held * scenario.frame_skip, first, then))
            for first in moves
            for held in (1, 2, 4, 8, 18)
            for then in moves
        ]
        self.pushes = np.array([push for _, push in self.plans])

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        x, y, _, _ = game.pose()
        player = next(o for o in game.state.objects if o.name == "DoomPlayer")
        where, speed = np.full(len(self.plans), y), np.full(len(self.plans), player.velocity_y)
        path = np.empty((len(self.plans), self.HORIZON))
        for tic in range(self.HORIZON):
            speed = speed + self.THRUST * self.pushes[:, tic]
            where = np.clip(where + speed, *self.WALLS)
            speed = speed * self.FRICTION
            path[:, tic] = where
        tics = np.arange(1, self.HORIZON + 1)
        clearance, safe = np.full(len(self.plans), 80.0), np.full(len(self.plans), float(self.HORIZON))
        for ball in game.state.objects:
            if not ball.name.endswith("Ball") or not ball.velocity_x:
                continue
            ball_x, ball_y = ball.position_x + ball.velocity_x * tics, ball.position_y + ball.velocity_y * tics
            near = np.abs(ball_x - x) < self.TOUCH + abs(ball.velocity_x)
            if not near.any():
                continue
            gap = np.abs(path - ball_y)[:, near] - abs(ball.velocity_y)
            clearance = np.minimum(clearance, gap.min(1))
            hit = gap < self.TOUCH + 4
            safe = np.minimum(safe, np.where(hit.any(1), tics[near][hit.argmax(1)], self.HORIZON))
        middle = 0.5 * sum(self.WALLS)
        score = 10.0 * safe + np.minimum(clearance, 60.0) - 0.02 * np.abs(path[:, 40] - middle)
        return self.plans[int(np.argmax(score))][0]


def bearing(game: Game, target: Any) -> tuple[float, float]:
    """Angle (degrees, left positive, in −180…180) and distance from the player to an object."""
    x, y, _, angle = game.pose()
    dx, dy = target.position_x - x, target.position_y - y
    return (np.degrees(np.arctan2(dy, dx)) - angle + 180) % 360 - 180, float(np.hypot(dx, dy))


UNIT = 360 * 320 / 65536  # degrees that turning gains per tic: one unit in each of the first 5 tics, two in later ones
SLOW_TICS = 5
# Where bullets go, in degrees, when ATTACK is held from one shot to the next: a triangle of ±5.6. A tapped shot goes straight.
SPREAD = 5.625 * np.array([-0.68, -0.45, -0.29, -0.16, -0.05, 0.05, 0.16, 0.29, 0.45, 0.68])


def units_turned(held: int, tics: int = 4) -> int:
    """Units that a player gains in `tics` who has been turning for `held` tics already."""
    return tics + max(0, min(tics, held + tics - SLOW_TICS))


@functools.cache
def turning_plans(held: int, depth: int) -> npt.NDArray[np.int64]:
    """All ways to turn for up to `depth` steps, shape (n, 3): steps, units (left positive), first move (1, 0 or −1).

    After a step without turning the next turn begins slowly, after a change of direction it does not: so sums of turns to and fro
    come within a unit of any small angle.
    """
    plans, best = [(0, 0, held, 0)], dict[tuple[int, int], int]()
    for steps, units, past, first in plans:  # grows on the way
        best.setdefault((steps, units), first)
        if steps < depth:
            for move in (0, 1, -1):
                after = units + move * units_turned(past)
                plans.append((steps + 1, after, min(past + 4, 8) if move else 0, first if steps else move))
    return np.array([(*plan, first) for plan, first in best.items()])


class Marksman:
    """Turns and shoots: weighs every way to turn in the next steps with a shot at its end, and begins the best one."""

    DEPTH = 5  # steps
    DELAY, REFIRE, CYCLE = 4, 14, 19  # tics from the trigger to the shot, to the look whether it is held, and to the next tap
    READY = 0  # tic at which the weapon is up
    RADII: dict[str, float] = {}  # the targets' names, and half the width of each
    MEMORY = 1  # steps over which speeds are measured
    HASTE = 8.0  # tics; the larger, the less hurry

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.moves = {0: press(), 1: press("TURN_LEFT"), -1: press("TURN_RIGHT")}
        self.fire = press("ATTACK")
        self.tic, self.ready, self.refire = 0, self.READY, -1
        self.shot, self.afterwards = -1, 0  # tic at which the last shot goes off, and the move before it
        self.held = 0  # tics of turning till now
        self.at, self.speed = (0.0, 0.0), np.zeros((0, 2))
        self.past: dict[int, list[npt.NDArray[np.float64]]] = {}

    def targets(self, game: Game) -> list[Any]:
        """What to shoot at."""
        return [o for o in game.state.objects if o.name in self.RADII]

    def weights(self, names: list[str], distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What hitting each target is worth."""
        return 1.0 / (1.0 + distances / 300.0)

    def chances(self, angles: Any, places: Any, radii: Any) -> Any:
        """Chance that a shot at `angles` (n,) hits a target at `places` (n, m, 2), seen from the player."""
        half = np.degrees(np.arctan2(radii, np.hypot(places[..., 0], places[..., 1])))
        off = np.degrees(np.arctan2(places[..., 1], places[..., 0])) - angles[:, None]
        off = np.abs((off + 180) % 360 - 180)
        return np.clip((half - off) / (0.3 * half), 0, 1)

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        action = self.choose(game)
        self.tic += 4
        return action

    def turn(self, move: int) -> Buttons:
        """Turn left (1), right (−1) or not (0)."""
        self.held = min(self.held + 4, 8) if move else 0
        return self.moves[move]

    def choose(self, game: Game) -> Buttons:
        """Choose an action."""
        if (action := self.shoot(game)) is not None:
            return action
        nearest = min((bearing(game, o)[0] for o in self.targets(game)), key=abs, default=0.0)
        return self.turn(0 if abs(nearest) < 4 * UNIT else int(np.sign(nearest)))

    def shoot(self, game: Game) -> Buttons | None:
        """Begin or go on with the best plan that hits something; None if there is none."""
        if self.tic <= self.shot:
            move, self.afterwards = self.afterwards, 0
            return self.turn(move)
        if not (found := self.targets(game)):
            return None
        x, y, _, heading = (float(v) for v in game.pose())
        where = np.array([(o.position_x, o.position_y) for o in found])
        speed = self.speed = self.speeds([o.id for o in found], where)
        where, self.at = where - (x, y), (x, y)
        distances = np.hypot(*where.T)
        weights, radii = self.weights([o.name for o in found], distances), np.array([self.RADII[o.name] for o in found])
        order = np.argsort(distances)
        # a plan: turn, press in the first step in which the weapon takes it, turn on till the shot goes off
        plans = turning_plans(self.held, self.DEPTH)
        begin = self.tic + 4 * plans[:, 0]
        again = (begin <= self.refire) & (self.refire < begin + 4)
        pressed = np.where(again, self.refire, np.maximum(begin, self.ready))
        possible = pressed < begin + 4
        plans, begin, again, shot = plans[possible], begin[possible], again[possible], pressed[possible] + self.DELAY
        late = np.minimum(shot - begin - 3, 4)  # tics of the step after the trigger, up to the shot
        places = where + speed * (shot - self.tic)[:, None, None]
        best, choice = 1e-6, None
        for after in (0, 1, -1):
            angles = heading + UNIT * (plans[:, 1] + after * late)
            gain = self.gain(angles, places, radii, weights, order, np.zeros(1))
            if again.any():
                gain[again] = self.gain(angles[again], places[again], radii, weights, order, SPREAD)
            rate = gain / (shot - self.tic + self.HASTE)
            if len(rate) and rate.max() > best:
                best, choice = rate.max(), (int(np.argmax(rate)), after)
        if choice is None:
            return None
        chosen, after = choice
        steps, _, first = plans[chosen]
        if steps:
            return self.turn(int(first))
        self.afterwards, self.held, self.shot = after, 0, int(shot[chosen])
        self.ready, self.refire = (self.shot - self.DELAY + wait for wait in (self.CYCLE, self.REFIRE))
        return self.fire

    def speeds(self, ids: list[int], where: Any) -> Any:
        """How far each target moves in a tic, by its last `MEMORY` steps."""
        self.past = {key: [*self.past.get(key, []), place][-self.MEMORY - 1 :] for key, place in zip(ids, where, strict=True)}
        return np.array([(p[-1] - p[0]) / (4 * max(len(p) - 1, 1)) for p in self.past.values()]).reshape(-1, 2)

    def gain(self, angles: Any, places: Any, radii: Any, weights: Any, order: Any, spread: Any) -> Any:
        """What a shot at `angles` is worth: the nearest target on its way takes it."""
        total = np.zeros(len(angles))
        for off in spread:
            chance, left = self.chances(angles + off, places, radii), np.ones(len(angles))
            for i in order:
                total += left * chance[:, i] * weights[i]
                left *= 1 - chance[:, i]
        return total / len(spread)


class Gunner(Marksman):
    """Defend the center and the line: shoots what is near and what throws fire."""

    RADII = {"Demon": 30.0, "MarineChainsawVzd": 16.0, "DoomImp": 20.0}
    READY = 6

    def weights(self, names: list[str], distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What hitting each target is worth."""
        return np.where(np.array(names) == "DoomImp", 1.0, 0.05 + 1.5 * np.clip(1.2 - distances / 500, 0, 1))


class Sniper:
    """Basic: strafes till the shot will hit, gliding included, and shoots."""

    DELAY, CYCLE, FRICTION, WIDTH = 4, 4, 0.90625, 28.0  # tics to the shot, steps to the next, speed kept per tic, half a monster

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.left, self.right, self.fire = press("MOVE_LEFT"), press("MOVE_RIGHT"), press("ATTACK")
        self.wait = 0

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.wait -= 1
        player = next(o for o in game.state.objects if o.name == "DoomPlayer")
        monster = next((o for o in game.state.objects if o.name == "Cacodemon"), None)
        if monster is None:
            return press()
        glide = player.velocity_y * (1 - self.FRICTION ** (self.DELAY + 1)) / (1 - self.FRICTION)
        gap = monster.position_y - player.position_y - glide
        if abs(gap) < self.WIDTH:
            if self.wait > 0:
                return press()
            self.wait = self.CYCLE  # tapped, not held: held shots scatter
            return self.fire
        return self.left if gap > 0 else self.right


class Rocketeer(Marksman):
    """Predict position: one slow rocket for a monster that walks to and fro; aims where it will be.

    The monster's first way is straight. Having touched a wall it zigzags about that line: there it is shot as it comes by.
    """

    RADII = {"Cacodemon": 40.0}  # its 31 and most of the rocket's 11
    DELAY, READY, HASTE, MEMORY = 8, 4, 60.0, 8
    ROCKET, MONSTER, START = 20.0, 20 / 3, 50.0  # speeds, units per tic; units of the way that the rocket need not fly
    STRAIGHT, ZIGZAG = 570.0, 450.0  # the largest |y| at which a monster is worth a rocket
    LATE, NEAR = 160, 100.0  # a zigzag is shot at after so many tics, and not if it nears the line, where it may end
    CRATE = 160.0, -288.0  # who walks at a larger x than this is stopped at this y

    def targets(self, game: Game) -> list[Any]:
        """The monster."""
        self.middle = next(o.position_x for o in game.state.objects if o.name == "PatrolPoint")
        return super().targets(game)

    def speeds(self, ids: list[int], where: Any) -> Any:
        """How far the monster moves in a tic: in y only."""
        mean, self.last = super().speeds(ids, where) * (0, 1), where[0]
        steps, off = np.diff(self.past[ids[0]][-3:], axis=0), self.middle - where[0, 0]
        self.straight = len(steps) > 1 and not steps[:, 0].any() and abs(steps[:, 1].sum()) > 30 and abs(off) < 11
        self.homing = len(steps) > 0 and abs(off) < self.NEAR and (off * steps[-1, 0] > 0 or abs(off) < 11)
        return np.sign(mean) * self.MONSTER if self.straight else mean

    def chances(self, angles: Any, places: Any, radii: Any) -> Any:
        """Chance that a rocket at `angles` (n,) hits a target which is at `places` (n, m, 2) when it starts."""
        there = places
        for _ in range(3):
            there = places + self.speed * ((np.hypot(there[..., 0], there[..., 1]) - self.START) / self.ROCKET)[..., None]
        y, now = there[..., 1] + self.at[1], self.last[1]
        if self.straight:
            free = np.abs(y) < self.STRAIGHT
            if self.middle > self.CRATE[0]:
                free &= (y - self.CRATE[1]) * (now - self.CRATE[1]) > 0
        else:
            free = (np.abs(y) < self.ZIGZAG) & (self.tic > self.LATE) & (not self.homing)
        return super().chances(angles, there, radii) * free


class Corridor(Marksman):
    """Deadly corridor: shoots the first pair at once, the others from where only their elbows show, and walks to the armour."""

    RADII = {"Zombieman": 20.0, "ShotgunGuy": 20.0, "ChaingunGuy": 20.0}
    READY = 16
    SIGHT, NECK, WALL = 400.0, 160.0, 32.0  # units before a pair: where to stop, where the corridor widens; half its width
    GLIDE = 9.7  # units of gliding for each unit of speed

    def targets(self, game: Game) -> list[Any]:
        """Those of the nearest pair."""
        x = float(game.pose()[0])
        return [o for o in super().targets(game) if -100 < o.position_x - x < self.SIGHT + 100]

    def chances(self, angles: Any, places: Any, radii: Any) -> Any:
        """Chance that a shot hits a box beside the corridor and not the wall before it."""
        side = np.sign(places[..., 1] + self.at[1])
        inner = np.degrees(np.arctan2(places[..., 1] - side * radii, places[..., 0] + radii)) * side
        outer = np.degrees(np.arctan2(places[..., 1] + side * radii, places[..., 0] - radii)) * side
        ahead = places[..., 0] - self.NECK
        wall = np.degrees(np.arctan2(side * self.WALL - self.at[1], np.maximum(ahead, 1e-3))) * side
        outer = np.where(ahead > 0, np.minimum(outer, wall), outer)
        angle = ((angles[:, None] + 180) % 360 - 180) * side
        return np.clip(np.minimum(angle - inner, outer - angle) - 0.2, 0, 0.5) * 2

    def choose(self, game: Game) -> Buttons:
        """Choose an action."""
        player = next(o for o in game.state.objects if o.name == "DoomPlayer")
        ahead = min((o.position_x - player.position_x for o in self.targets(game)), default=np.inf)
        near = ahead < self.NECK + self.WALL  # in sight of it: shoot on the run
        if (abs(player.velocity_x) < 1 or near or self.tic <= self.shot) and (action := self.shoot(game)) is not None:
            return action
        off = round(((float(game.pose()[3]) + 180) % 360 - 180) / UNIT)
        if off:  # look along the corridor again
            plans = turning_plans(self.held, self.DEPTH)
            ends = plans[plans[:, 1] == -off]
            return self.turn(int(ends[0, 2]) if len(ends) else -int(np.sign(off)))
        self.held = 0
        braking = player.velocity_x > 1 and ahead - self.GLIDE * player.velocity_x < self.SIGHT
        return press() if braking else press("MOVE_FORWARD")
