"""Players that make the data: random, blind, and scripted ones that look at what ViZDoom knows.

A player is a callable from a running privileged `Game` to an index into the scenario's action table; it is
made anew for every episode. Scripted players are teachers and a ceiling: nothing they see reaches the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import Scenario

Player = Callable[[Game], int]


def action_index(scenario: Scenario, button: str | None) -> int:
    """Index of the action that presses `button` alone (None: nothing)."""
    return 0 if button is None else len(scenario.buttons) - scenario.buttons.index(button)


class RandomPlayer:
    """Uniform actions, each held for a uniform number of 1 to `hold` steps."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator, hold: int = 10) -> None:
        self.n, self.rng, self.hold = len(scenario.buttons) + 1, rng, hold
        self.left, self.action = 0, 0

    def __call__(self, game: Game) -> int:
        """Choose an action."""
        if self.left <= 0:
            self.left, self.action = int(self.rng.integers(1, self.hold + 1)), int(self.rng.integers(self.n))
        self.left -= 1
        return self.action


class BlindSweep:
    """Sees nothing: alternates two actions, `first` steps of one and `second` of the other, on and on."""

    def __init__(self, actions: tuple[int, int], steps: tuple[int, int]) -> None:
        self.actions, self.steps, self.t = actions, steps, 0

    def __call__(self, game: Game) -> int:
        """Choose an action."""
        phase = self.t % sum(self.steps)
        self.t += 1
        return self.actions[0] if phase < self.steps[0] else self.actions[1]

    @classmethod
    def random(cls, scenario: Scenario, rng: np.random.Generator) -> BlindSweep:
        """Two different actions with log-uniform durations of 2 to 60 steps."""
        actions = rng.choice(len(scenario.buttons) + 1, size=2, replace=False)
        steps = np.exp(rng.uniform(np.log(2), np.log(60), size=2)).astype(int)
        return cls((int(actions[0]), int(actions[1])), (int(steps[0]), int(steps[1])))


class Dodger:
    """Take Cover by look-ahead: plays every plan "this, then that" against all fireballs in flight for two seconds.

    The player's motion is DOOM's: each tic the velocity gains `THRUST` sideways and keeps 29/32 of itself.
    """

    THRUST, FRICTION, TOUCH, HORIZON = 0.75, 0.90625, 22.0, 72  # units per tic, units (16 + 6, box), tics
    WALLS = (16.0, 752.0)

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        moves = {0.0: 0, 1.0: action_index(scenario, "MOVE_LEFT"), -1.0: action_index(scenario, "MOVE_RIGHT")}
        self.plans = [
            (moves[first], np.where(np.arange(self.HORIZON) < held * scenario.frame_skip, first, then))
            for first in moves
            for held in (1, 2, 4, 8, 18)
            for then in moves
        ]
        self.pushes = np.array([push for _, push in self.plans])

    def __call__(self, game: Game) -> int:
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


class Gunner:
    """Defend the center: turns to the nearest monster, shoots when it is under the crosshair."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.left, self.right = action_index(scenario, "TURN_LEFT"), action_index(scenario, "TURN_RIGHT")
        self.fire, self.wait = action_index(scenario, "ATTACK"), 0

    def __call__(self, game: Game) -> int:
        """Choose an action."""
        self.wait -= 1
        in_sight = {label.object_id: label for label in game.state.labels if label.object_category == "Monster"}
        monsters = [o for o in game.state.objects if o.name in ("Demon", "MarineChainsawVzd")]
        if not monsters:
            return self.left
        angle, distance = min((bearing(game, o) for o in monsters), key=lambda a: a[1] + 2.0 * abs(a[0]))
        under = any(label.x <= 80 <= label.x + label.width for label in in_sight.values())
        if under and self.wait <= 0 and distance < 450:
            self.wait = 4  # a pistol cycle is 14 tics
            return self.fire
        if abs(angle) < 3:
            return 0
        return self.left if angle > 0 else self.right


class Gatherer:
    """Health gathering: walks to the nearest medikit, turning first."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.left, self.right = action_index(scenario, "TURN_LEFT"), action_index(scenario, "TURN_RIGHT")
        self.forward = action_index(scenario, "MOVE_FORWARD")

    def __call__(self, game: Game) -> int:
        """Choose an action."""
        kits = [bearing(game, o) for o in game.state.objects if "Medikit" in o.name]
        if not kits:
            return self.forward
        angle, distance = min(kits, key=lambda a: a[1] + 1.5 * abs(a[0]))
        if abs(angle) > max(8.0, min(40.0, np.degrees(np.arctan2(20.0, max(distance, 1.0))))):
            return self.left if angle > 0 else self.right
        return self.forward


SCRIPTED: dict[str, Callable[[Scenario, np.random.Generator], Player]] = {
    "take_cover": Dodger,
    "defend_the_center": Gunner,
    "health_gathering": Gatherer,
}


class Noisy:
    """Another player, interrupted by bursts of random play; the rate is drawn per episode."""

    def __init__(self, player: Player, scenario: Scenario, rng: np.random.Generator) -> None:
        self.player, self.random, self.rng = player, RandomPlayer(scenario, rng), rng
        self.rate, self.burst = float(rng.uniform(0.02, 0.3)), 0

    def __call__(self, game: Game) -> int:
        """Choose an action."""
        action = self.player(game)
        if self.burst == 0 and self.rng.random() < self.rate:
            self.burst, self.random.left = int(self.rng.integers(1, 8)), 0
        if self.burst:
            self.burst -= 1
            return self.random(game)
        return action


class AgentPlayer:
    """A saved agent, which sees what it saw in training: the encoder's features of the real frames."""

    def __init__(self, folder: str, scenario: Scenario, rng: np.random.Generator) -> None:
        import torch

        torch.set_num_threads(1)  # one of many processes
        self.agent, self.model = _load_agent(folder)
        if self.agent.card.scenario != scenario.name:
            raise ValueError(f"agent {folder} was trained for {self.agent.card.scenario}, not for {scenario.name}")
        self.scenario, self.table = scenario, scenario.action_table()
        self.state: Any = None
        self.dice = torch.Generator().manual_seed(int(rng.integers(2**31)))
        self.pressed = self.table[0]

    def __call__(self, game: Game) -> int:
        """Look at the newest frame, choose."""
        import torch

        with torch.inference_mode():
            frame, variables = game.frame[None, None], game.variables[None, None]
            actions = None if self.state is None else self.pressed[None, None]
            self.state = self.model.observe(frame, actions, self.state, variables, self.scenario.name)
            action = int(self.agent.act(self.model.features(self.state), generator=self.dice)[0])
        self.pressed = self.table[action]
        return action


@functools.lru_cache(maxsize=2)
def _load_agent(folder: str) -> Any:
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import WorldModel

    agent = Agent.load(folder)
    model = WorldModel.from_pretrained(agent.card.weights)
    return Agent.load(folder, model.fingerprint), model


BEHAVIOURS = ("random", "sweep", "scripted", "noisy")


def make_player(behaviour: str, scenario: Scenario, rng: np.random.Generator) -> Player:
    """Make a player for one episode.

    Args:
        behaviour: one of `BEHAVIOURS`, or the folder of a saved agent.
        scenario: the world it plays.
        rng: the source of all its dice.
    """
    if behaviour == "random":
        return RandomPlayer(scenario, rng)
    if behaviour == "sweep":
        return BlindSweep.random(scenario, rng)
    if behaviour == "scripted":
        return SCRIPTED[scenario.name](scenario, rng)
    if behaviour == "noisy":
        return Noisy(SCRIPTED[scenario.name](scenario, rng), scenario, rng)
    if (Path(behaviour) / "agent.json").is_file():
        return AgentPlayer(behaviour, scenario, rng)
    raise ValueError(f"behaviour {behaviour!r} is unknown; choose from {', '.join(BEHAVIOURS)}, or give the folder of a saved agent")
