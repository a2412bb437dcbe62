"""Aiming while turning: what a turn is worth in this game, and the best way to a shot that hits.

Legend: n ways to turn, m targets. Angles are in degrees, left positive; distances in map units, times in tics.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

STEP = 4  # tics
UNIT = 360 * 320 / 65536  # degrees that turning gains per tic: one unit in each of the first 5 tics, two in later ones
SLOW_TICS = 5
FULL_SPEED = 8  # tics of turning after which nothing changes any more
# Where bullets go, in degrees, when ATTACK is held from one shot to the next: a triangle of ±5.6. A tapped shot goes
# straight.
SPREAD = 5.625 * np.array([-0.68, -0.45, -0.29, -0.16, -0.05, 0.05, 0.16, 0.29, 0.45, 0.68])
STRAIGHT = np.zeros(1)


def bearing(game: Game, target: Any) -> tuple[float, float]:
    """Angle (in −180…180) and distance from the player to an object."""
    x, y, _, angle = game.pose()
    dx = target.position_x - x
    dy = target.position_y - y
    return (np.degrees(np.arctan2(dy, dx)) - angle + 180) % 360 - 180, float(np.hypot(dx, dy))


def units_turned(held: int, tics: int = STEP) -> int:
    """Units that a player gains in `tics` who has been turning for `held` tics already."""
    return tics + max(0, min(tics, held + tics - SLOW_TICS))


@functools.cache
def turning_plans(held: int, depth: int) -> Numbers:
    """All ways to turn for up to `depth` steps.

    After a step without turning the next turn begins slowly, after a change of direction it does not: so sums of turns
    to and fro come within a unit of any small angle.

    Args:
        held: tics of turning until now.
        depth: steps.

    Returns:
        (n, 3): steps, units turned (left positive), first move (1 left, 0 none, −1 right).
    """
    plans = [(0, 0, held, 0)]  # steps, units, tics of turning, first move
    found: dict[tuple[int, int], int] = {}
    for steps, units, past, first in plans:  # grows on the way
        found.setdefault((steps, units), first)
        if steps == depth:
            continue
        for move in (0, 1, -1):
            turned = units + move * units_turned(past)
            turning = min(past + STEP, FULL_SPEED) if move else 0
            plans.append((steps + 1, turned, turning, first if steps else move))
    return np.array([(*plan, first) for plan, first in found.items()])


class Marksman:
    """Turns and shoots: weighs every way to turn in the next steps with a shot at its end, and begins the best one."""

    DEPTH = 5  # steps
    DELAY = 4  # tics from the trigger to the shot
    REFIRE = 14  # tics from the trigger to the look whether it is held
    CYCLE = 19  # tics from the trigger to the next tap
    READY = 0  # tic at which the weapon is up
    RADII: dict[str, float] = {}  # the targets' names, and half the width of each
    MEMORY = 1  # steps over which speeds are measured
    HASTE = 8.0  # tics; the larger, the less hurry

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.moves = {0: press(), 1: press("TURN_LEFT"), -1: press("TURN_RIGHT")}
        self.fire = press("ATTACK")
        self.tic = 0
        self.ready = self.READY
        self.refire = -1  # tic at which the game looks whether ATTACK is still held
        self.shot = -1  # tic at which the last shot goes off
        self.afterwards = 0  # move between the trigger and the shot
        self.held = 0  # tics of turning till now
        self.position = (0.0, 0.0)  # of the player
        self.speed = np.zeros((0, 2))  # of the targets, per tic
        self.past: dict[int, list[Array]] = {}  # where each target was in the last steps

    # ---- what differs between scenarios ------------------------------------------------------------------------------

    def targets(self, game: Game) -> list[Any]:
        """What to shoot at."""
        return [o for o in game.state.objects if o.name in self.RADII]

    def weights(self, names: list[str], distances: Array) -> Array:
        """What hitting each target is worth, (m,)."""
        return 1.0 / (1.0 + distances / 300.0)

    def chances(self, angles: Array, places: Array, radii: Array) -> Array:
        """Chance that a shot hits each target, (n, m).

        Args:
            angles: of the shots, (n,).
            places: of the targets at that moment, seen from the player, (n, m, 2).
            radii: of the targets, (m,).
        """
        half = np.degrees(np.arctan2(radii, np.hypot(places[..., 0], places[..., 1])))
        off = np.degrees(np.arctan2(places[..., 1], places[..., 0])) - angles[:, None]
        off = np.abs((off + 180) % 360 - 180)
        return np.clip((half - off) / (0.3 * half), 0, 1)

    def speeds(self, ids: list[int], places: Array) -> Array:
        """How far each target moves in a tic, by its last `MEMORY` steps, (m, 2)."""
        self.past = {
            key: [*self.past.get(key, []), place][-self.MEMORY - 1 :] for key, place in zip(ids, places, strict=True)
        }
        moved = [(path[-1] - path[0]) / (STEP * max(len(path) - 1, 1)) for path in self.past.values()]
        return np.array(moved).reshape(-1, 2)

    def choose(self, game: Game) -> Buttons:
        """Choose an action."""
        if (action := self.shoot(game)) is not None:
            return action
        nearest = min((bearing(game, target)[0] for target in self.targets(game)), key=abs, default=0.0)
        return self.turn(0 if abs(nearest) < STEP * UNIT else int(np.sign(nearest)))

    # ---- what all do -------------------------------------------------------------------------------------------------

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        action = self.choose(game)
        self.tic += STEP
        return action

    def turn(self, move: int) -> Buttons:
        """Turn left (1), right (−1) or not (0)."""
        self.held = min(self.held + STEP, FULL_SPEED) if move else 0
        return self.moves[move]

    def shoot(self, game: Game) -> Buttons | None:
        """Begin or go on with the best plan that hits something; None if there is none."""
        if self.tic <= self.shot:
            move = self.afterwards
            self.afterwards = 0
            return self.turn(move)
        targets = self.targets(game)
        if not targets:
            return None
        x, y, _, heading = (float(value) for value in game.pose())
        places = np.array([(o.position_x, o.position_y) for o in targets])
        self.speed = self.speeds([o.id for o in targets], places)
        self.position = (x, y)
        seen = places - self.position
        distances = np.hypot(*seen.T)
        weights = self.weights([o.name for o in targets], distances)
        radii = np.array([self.RADII[o.name] for o in targets])
        order = np.argsort(distances)

        plans, begin, again, shot = self.possible_plans()
        # A shot goes off in the step after the trigger's: until then one may turn on.
        turning_on = np.minimum(shot - begin - 3, STEP)
        places_then = seen + self.speed * (shot - self.tic)[:, None, None]
        best = 1e-6
        choice = None
        for after in (0, 1, -1):
            angles = heading + UNIT * (plans[:, 1] + after * turning_on)
            gain = self.gain(angles, places_then, radii, weights, order, STRAIGHT)
            if again.any():
                gain[again] = self.gain(angles[again], places_then[again], radii, weights, order, SPREAD)
            rate = gain / (shot - self.tic + self.HASTE)
            if len(rate) and rate.max() > best:
                best = rate.max()
                choice = (int(np.argmax(rate)), after)
        if choice is None:
            return None
        chosen, after = choice
        steps, _, first = plans[chosen]
        if steps:
            return self.turn(int(first))
        self.afterwards = after
        self.held = 0
        self.shot = int(shot[chosen])
        trigger = self.shot - self.DELAY
        self.ready = trigger + self.CYCLE
        self.refire = trigger + self.REFIRE
        return self.fire

    def possible_plans(self) -> tuple[Numbers, Numbers, npt.NDArray[np.bool_], Numbers]:
        """Plans in whose step after the turn the weapon takes the trigger.

        Returns:
            plans (n, 3) as `turning_plans` has them; tic at which the trigger's step begins (n,); whether ATTACK would
            be held from the shot before (n,); tic of the shot (n,).
        """
        plans = turning_plans(self.held, self.DEPTH)
        begin = self.tic + STEP * plans[:, 0]
        again = (begin <= self.refire) & (self.refire < begin + STEP)
        trigger = np.where(again, self.refire, np.maximum(begin, self.ready))
        possible = trigger < begin + STEP
        return plans[possible], begin[possible], again[possible], trigger[possible] + self.DELAY

    def gain(
        self,
        angles: Array,
        places: Array,
        radii: Array,
        weights: Array,
        order: Numbers,
        spread: Array,
    ) -> Array:
        """What shots are worth, (n,): the nearest target on a bullet's way takes it.

        Args:
            angles: as for `chances`.
            places: the same.
            radii: the same.
            weights: as `weights` has them.
            order: of the targets, nearest first.
            spread: angles that are added to the shot, each as likely as the others.
        """
        total = np.zeros(len(angles))
        for off in spread:
            chance = self.chances(angles + off, places, radii)
            left = np.ones(len(angles))  # chance that the bullet has hit nothing yet
            for i in order:
                total += left * chance[:, i] * weights[i]
                left *= 1 - chance[:, i]
        return total / len(spread)
