"""Scripted players that look at what ViZDoom knows, for dodging (Take Cover) and for one shot at one monster (Basic).

Those that aim while they turn are in `marksmen`, those that find their way in `walkers` and `explorers`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press

# DOOM's motion: each tic the velocity gains THRUST in the direction that is pressed and keeps FRICTION of itself.
THRUST = 0.75  # units per tic
FRICTION = 0.90625  # 29/32


class Dodger:
    """Take Cover by look-ahead: plays every plan "this, then that" against all fireballs in flight for two seconds."""

    HORIZON = 72  # tics to look ahead
    HOLDS = (1, 2, 4, 8, 18)  # steps for which a plan's first action may be held
    TOUCH = 22.0  # units between the middles of the player (16) and a fireball (6): they are boxes, not circles
    MARGIN = 4.0  # units more, below which a fireball counts as a hit
    WALLS = (16.0, 752.0)  # lowest and highest y that the player can reach
    WIDEST = 80.0  # units; clearance of a plan that no fireball comes near
    ENOUGH = 60.0  # units; more clearance than this is worth nothing
    LATER = 40  # tic at which it wants to be near the middle of the room

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        moves = {0.0: press(), 1.0: press("MOVE_LEFT"), -1.0: press("MOVE_RIGHT")}  # direction in y → buttons
        tics = np.arange(self.HORIZON)
        self.first_moves: list[Buttons] = []
        pushes = []
        for first, buttons in moves.items():
            for held in self.HOLDS:
                for then in moves:
                    self.first_moves.append(buttons)
                    pushes.append(np.where(tics < held * scenario.frame_skip, first, then))
        self.pushes = np.array(pushes)  # (plans, tics): −1, 0 or 1

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        path = self.paths(game)
        safe, clearance = self.dangers(game, path)
        middle = 0.5 * sum(self.WALLS)
        off_middle = np.abs(path[:, self.LATER] - middle)
        score = 10.0 * safe + np.minimum(clearance, self.ENOUGH) - 0.02 * off_middle
        return self.first_moves[int(np.argmax(score))]

    def paths(self, game: Game) -> npt.NDArray[np.float64]:
        """The player's y after every tic of each plan, (plans, tics)."""
        player = next(o for o in game.state.objects if o.name == "DoomPlayer")
        y = np.full(len(self.pushes), game.pose()[1])
        speed = np.full(len(self.pushes), player.velocity_y)
        path = np.empty(self.pushes.shape)
        for tic in range(self.HORIZON):
            speed = speed + THRUST * self.pushes[:, tic]
            y = np.clip(y + speed, *self.WALLS)
            speed = speed * FRICTION
            path[:, tic] = y
        return path

    def dangers(
        self, game: Game, path: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Tics until each plan is hit, and how close to it fireballs come, in units; (plans,) both."""
        x = game.pose()[0]
        tics = np.arange(1, self.HORIZON + 1)
        clearance = np.full(len(path), self.WIDEST)
        safe = np.full(len(path), float(self.HORIZON))
        for ball in game.state.objects:
            if not ball.name.endswith("Ball") or not ball.velocity_x:
                continue
            ball_x = ball.position_x + ball.velocity_x * tics
            ball_y = ball.position_y + ball.velocity_y * tics
            near = np.abs(ball_x - x) < self.TOUCH + abs(ball.velocity_x)  # in these tics it passes the player
            if not near.any():
                continue
            gap = np.abs(path - ball_y)[:, near] - abs(ball.velocity_y)
            clearance = np.minimum(clearance, gap.min(1))
            hit = gap < self.TOUCH + self.MARGIN
            safe = np.minimum(safe, np.where(hit.any(1), tics[near][hit.argmax(1)], self.HORIZON))
        return safe, clearance


class Sniper:
    """Basic: strafes till the shot will hit, gliding included, and shoots."""

    DELAY = 4  # tics from the trigger to the shot
    CYCLE = 4  # steps between two shots
    HALF_WIDTH = 28.0  # units, of the monster

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.left = press("MOVE_LEFT")
        self.right = press("MOVE_RIGHT")
        self.fire = press("ATTACK")
        self.wait = 0  # steps until the weapon is ready

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.wait -= 1
        player = next(o for o in game.state.objects if o.name == "DoomPlayer")
        monster = next((o for o in game.state.objects if o.name == "Cacodemon"), None)
        if monster is None:
            return press()
        glide = player.velocity_y * (1 - FRICTION ** (self.DELAY + 1)) / (1 - FRICTION)
        gap = monster.position_y - player.position_y - glide
        if abs(gap) >= self.HALF_WIDTH:
            return self.left if gap > 0 else self.right
        if self.wait > 0:
            return press()
        self.wait = self.CYCLE  # tapped, not held: held shots scatter
        return self.fire
