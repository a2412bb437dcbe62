"""The scripted player of free play that a policy can learn from: it fights as the explorer, but walks by sight.

The explorer knows the whole map and goes where no picture shows a way. This one looks along rays within its view and
takes the way that is long, straight ahead, leads through a door or to where it has not been.

Legend: R rays, P points of a ray.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press
from training.players.explorers import Explorer
from training.players.navigation import CELL, STEP

Array = npt.NDArray[np.float64]


class Wanderer(Explorer):
    """Walks along what it sees, turns round before walls, opens doors, and fights as an `Explorer` does."""

    RAYS = np.arange(-48.0, 49.0, 8.0)  # degrees from straight ahead; the view is 90 degrees wide
    GRAIN = CELL / 2  # units between two points of a ray
    FARTHEST = 800.0  # units that it looks
    NEAR = 500.0  # units within which it notices doors and where it has not been
    AMPLE = 500.0  # units; a longer way is not better
    BENT = 2.0  # units of way that a degree away from straight ahead is worth
    FRESH = 150.0  # the same of a way to where it has not been
    DOOR = 200.0  # the same of a door on that way
    BLIND_ALLEY = 108.0  # units; where no way is longer it turns round
    OPEN = 160.0  # units of way ahead at which it has turned enough
    ROOMY = 150.0  # units of way ahead at which it runs
    LONGEST_TURN = 30  # steps
    PATIENCE = 6  # steps of standing still until it turns round

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        super().__init__(scenario, rng)
        self.turning = 0  # which way it turns round, left positive; 0: it walks
        self.turn_time = 0  # steps of turning round

    def explore(self, game: Game, halted: bool) -> Buttons:
        """Take the best way in sight, or turn round where there is none."""
        if self.still > self.STUCK:
            self.still = 0
            self.turning = int(self.rng.choice([-1, 1]))
            return self.get_clear()
        length, bonus = self.look(game)
        width = np.minimum(np.minimum(length[:-2], length[2:]), length[1:-1])  # a way must have some width
        rays = self.RAYS[1:-1]
        best = int(np.argmax(np.minimum(width, self.AMPLE) - self.BENT * np.abs(rays) + bonus[1:-1]))
        angle = float(rays[best])
        ahead = float(length[len(length) // 2])
        if self.turning and (ahead <= self.OPEN or abs(angle) >= 20) and self.turn_time < self.LONGEST_TURN:
            self.turn_time += 1
            return self.turn(60.0 * self.turning)
        self.turning = self.turn_time = 0
        push = halted and self.time - self.used > self.USE_EVERY  # whatever is in the way may be a door
        if length.max() < self.BLIND_ALLEY or (halted and self.still > self.PATIENCE):
            if push:
                self.used = self.time
                return press("USE", "MOVE_FORWARD")
            half = len(length) // 2
            self.turning = 1 if length[half:].sum() > length[: half + 1].sum() else -1
            return self.turn(60.0 * self.turning)
        action = self.turn(angle)
        if abs(angle) < 30 or ahead > 100:
            run = width[best] > self.ROOMY and abs(angle) < 20
            action |= press("MOVE_FORWARD", *(["SPEED"] if run else []))
        if push and self.still > 2:
            self.used = self.time
            action |= press("USE")
        return action

    def look(self, game: Game) -> tuple[Array, Array]:
        """How far one can walk along each ray, in units, and what there is to like on the way; (R,) each."""
        level = self.level
        x, y, _, heading = (float(value) for value in game.pose())
        along = self.GRAIN * np.arange(1, int(self.FARTHEST / self.GRAIN) + 1)
        angles = np.radians(heading + self.RAYS)[:, None]
        column = (x + along * np.cos(angles) - level.origin[0]) // CELL
        row = (y + along * np.sin(angles) - level.origin[1]) // CELL
        cells = row.clip(0, level.rows - 1) * level.columns + column.clip(0, level.columns - 1)
        cells = cells.astype(int)  # R, P
        floor = level.z[cells]
        before = np.concatenate([np.full_like(floor[:, :1], level.z[level.inside(x, y)]), floor[:, :-1]], 1)
        moving = np.isinf(before) | np.isinf(floor)
        climb = np.where(moving, 0.0, floor) - np.where(moving, 0.0, before)
        barred = ~level.free[cells] | (climb > STEP)
        barred[:, :2] = False  # it stands there
        points = np.where(barred.any(1), barred.argmax(1), len(along))
        noticed = (np.arange(len(along)) < points[:, None]) & (along < self.NEAR)
        fresh = (self.unseen[cells] & noticed).any(1)
        door = (level.mobile[cells] & noticed).any(1)
        return self.GRAIN * points, fresh * (self.FRESH + self.DOOR * door)
