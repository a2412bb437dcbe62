"""Players that make the data: random, blind, and scripted ones that look at what ViZDoom knows.

A player is a callable from a running privileged `Game` to the nine 0/1 buttons of the next step (in a discrete scenario: a row
of its action table); it is made anew for every episode. Scripted players (`training.teachers`, `training.explorers`) are a
ceiling: nothing they see reaches the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import BUTTONS, Buttons, Scenario, press
from training.explorers import Explorer, Gatherer, Homecomer
from training.teachers import Corridor, Dodger, Gunner, Rocketeer, Sniper

Player = Callable[[Game], Buttons]
# How often each of the nine buttons is down in random free play: mostly forward, so that it gets somewhere.
FREE_PLAY_ODDS = (0.6, 0.1, 0.15, 0.15, 0.2, 0.2, 0.2, 0.1, 0.15)


def random_action(scenario: Scenario, rng: np.random.Generator) -> Buttons:
    """A uniform row of the action table, or in free play a mixture of buttons."""
    if scenario.discrete:
        return rng.choice(scenario.action_table())
    return (rng.random(len(BUTTONS)) < FREE_PLAY_ODDS).astype(np.uint8)


class RandomPlayer:
    """Random actions, each held for a uniform number of 1 to `hold` steps; None: `hold` is log-uniform between 1 and 20."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator, hold: int | None = None) -> None:
        self.scenario, self.rng, self.hold = scenario, rng, hold or int(np.exp(rng.uniform(0, np.log(21))))
        self.left, self.action = 0, press()

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        if self.left <= 0:
            self.left, self.action = int(self.rng.integers(1, self.hold + 1)), random_action(self.scenario, self.rng)
        self.left -= 1
        return self.action


class BlindSweep:
    """Sees nothing: alternates two actions, `first` steps of one and `second` of the other, on and on."""

    def __init__(self, actions: tuple[Buttons, Buttons], steps: tuple[int, int]) -> None:
        self.actions, self.steps, self.t = actions, steps, 0

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        phase = self.t % sum(self.steps)
        self.t += 1
        return self.actions[0] if phase < self.steps[0] else self.actions[1]

    @classmethod
    def random(cls, scenario: Scenario, rng: np.random.Generator) -> BlindSweep:
        """Two actions, now and then twice the same one, with log-uniform durations of 2 to 60 steps."""
        one, two = random_action(scenario, rng), random_action(scenario, rng)
        steps = np.exp(rng.uniform(np.log(2), np.log(60), size=2)).astype(int)
        return cls((one, two), (int(steps[0]), int(steps[1])))


class Noisy:
    """Another player, interrupted by bursts of random play; the rate is drawn per episode."""

    def __init__(self, player: Player, scenario: Scenario, rng: np.random.Generator) -> None:
        self.player, self.random, self.rng = player, RandomPlayer(scenario, rng), rng
        self.rate, self.burst = float(rng.uniform(0.02, 0.3)), 0

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        action = self.player(game)
        if self.burst == 0 and self.rng.random() < self.rate:
            self.burst, self.random.left = int(self.rng.integers(1, 8)), 0
        if self.burst:
            self.burst -= 1
            return self.random(game)
        return action


class Relay:
    """A scripted player up to some step, and from there on one that knows no more than the frames show.

    That is an agent, or whoever sees nothing: random play, a blind sweep, or standing still. A scripted player looks at what no frame
    shows, so what it does betrays it: a dream that learned from it alone believes that whoever steps left has seen a reason to, and spares
    him. Here the same moments go on without that knowledge. Only they are worth recording.
    """

    CONTEXT, LATEST = 16, 0.6  # steps recorded before the change; latest change, share of the time limit

    def __init__(self, player: Player, scenario: Scenario, rng: np.random.Generator, agent: AgentPlayer | None = None) -> None:
        self.player, self.step, self.agent = player, 0, agent
        self.change = int(np.exp(rng.uniform(np.log(8), np.log(self.LATEST * scenario.time_limit))))
        self.recorded_from = max(0, self.change - self.CONTEXT)
        kinds = (RandomPlayer(scenario, rng), BlindSweep.random(scenario, rng), lambda game: press())
        self.second: Player = agent or kinds[int(rng.integers(len(kinds)))]

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.step += 1
        if self.step > self.change:
            return self.second(game)
        action = self.player(game)
        if self.agent and self.step > self.recorded_from:
            self.agent.watch(game, action, start=self.recorded_from == 0)
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

    def watch(self, game: Game, action: Buttons, start: bool = True) -> None:
        """Look at the newest frame, in which somebody else presses `action`; `start`: the first one seen begins the episode."""
        import torch

        with torch.inference_mode():
            frame, variables = game.frame[None, None], game.variables[None, None]
            actions = None if self.state is None else self.pressed[None, None]
            self.state = self.model.observe(frame, actions, self.state, variables, self.scenario.name, start)
        self.pressed = action

    def __call__(self, game: Game) -> Buttons:
        """Look at the newest frame, choose."""
        import torch

        self.watch(game, self.pressed)
        with torch.inference_mode():
            action = int(self.agent.act(self.model.features(self.state), generator=self.dice)[0])
        self.pressed = self.table[action]
        return self.pressed


@functools.lru_cache(maxsize=8)
def _load_agent(folder: str) -> Any:
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import WorldModel

    agent = Agent.load(folder)
    model = WorldModel.from_pretrained(agent.card.weights)
    return Agent.load(folder, model.fingerprint), model


TEACHERS: dict[str, Callable[[Scenario, np.random.Generator], Player]] = {
    "take_cover": Dodger,
    "basic": Sniper,
    "defend_the_center": Gunner,
    "defend_the_line": Gunner,
    "health_gathering": Gatherer,
    "health_gathering_supreme": Gatherer,
    "deadly_corridor": Corridor,
    "my_way_home": Homecomer,
    "predict_position": Rocketeer,
    "freedoom": Explorer,
}
BEHAVIOURS = ("random", "sweep", "scripted", "noisy", "relay")


def make_player(behaviour: str, scenario: Scenario, rng: np.random.Generator) -> Player:
    """Make a player for one episode.

    Args:
        behaviour: one of `BEHAVIOURS`, the folder of a saved agent, or "relay:" and such a folder.
        scenario: the world it plays.
        rng: the source of all its dice.
    """
    if behaviour == "random":
        return RandomPlayer(scenario, rng)
    if behaviour == "sweep":
        return BlindSweep.random(scenario, rng)
    folder = behaviour.removeprefix("relay:")
    agent = AgentPlayer(folder, scenario, rng) if (Path(folder) / "agent.json").is_file() else None
    if agent and folder == behaviour:
        return agent
    if behaviour in ("scripted", "noisy", "relay") or agent:
        if scenario.name not in TEACHERS:
            raise ValueError(f"nobody knows how to play {scenario.name}; use the behaviours random and sweep, or an agent's folder")
        teacher = TEACHERS[scenario.name](scenario, rng)
        if behaviour == "noisy":
            return Noisy(teacher, scenario, rng)
        return teacher if behaviour == "scripted" else Relay(teacher, scenario, rng, agent)
    raise ValueError(f"behaviour {behaviour!r} is unknown; choose from {', '.join(BEHAVIOURS)}, or give the folder of a saved agent")
