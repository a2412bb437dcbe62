"""An agent as a player, and players that take over from one who knows more than they do."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press
from training.players.base import AlternatingPlayer, Player, RandomPlayer, random_alternation

if TYPE_CHECKING:  # only agents need torch, and there is a process per core that records what players do
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import DreamState, WorldModel

CONTEXT = 16  # steps that are recorded before the handover
EARLIEST = 8  # step of the handover
LATEST = 0.6  # the same, as a share of the time limit


class AgentPlayer:
    """A saved agent, which sees what it saw in training: features of the real frames.

    Args:
        folder: of the agent.
        scenario: what it plays.
        rng: seeds the generator that its actions are sampled with.

    Attributes:
        state: what it has seen so far, a batch of one.

    Raises:
        ValueError: if it was trained for another scenario.
    """

    def __init__(self, folder: str, scenario: Scenario, rng: np.random.Generator) -> None:
        import torch

        torch.set_num_threads(1)  # games are collected by one process per core
        self._agent, self._model = load_agent(folder)
        trained_for = self._agent.card.scenario
        if trained_for != scenario.name:
            raise UserError(f"agent {folder} was trained for {trained_for}, not for {scenario.name}")
        self._scenario = scenario
        self._generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        self._pressed = press()  # since the frame that was seen last
        self.state: DreamState | None = None

    def watch(self, game: Game, action: Buttons, start: bool = True) -> None:
        """Look at the newest frame, in which somebody else presses `action`.

        Args:
            game: what to look at.
            action: buttons (9,).
            start: whether the first frame that it sees begins the episode.
        """
        import torch

        before = None if self.state is None else self._pressed[None, None]
        with torch.inference_mode():
            self.state = self._model.observe(
                game.frame[None, None],
                before,
                self.state,
                game.variables[None, None],
                self._scenario.name,
                start,
            )
        self._pressed = action

    def __call__(self, game: Game) -> Buttons:
        """Look at the newest frame, choose an action."""
        import torch

        self.watch(game, self._pressed)
        assert self.state is not None
        with torch.inference_mode():
            features = self._model.features(self.state)
            self._pressed = self._agent.buttons(features, self._scenario, self._generator)[0].numpy()
        return self._pressed


@functools.lru_cache(maxsize=8)
def load_agent(folder: str) -> tuple[Agent, WorldModel]:
    """An agent and the world model it was trained in, loaded once per process."""
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import WorldModel

    model = WorldModel.from_pretrained(Agent.load(folder).card.weights)
    return Agent.load(folder, model.fingerprint), model


class HandoverPlayer:
    """A scripted player up to some step, and from there on one that knows no more than the frames show.

    A scripted player looks at what no frame shows, so its actions betray it: a dream that learned from it alone
    believes that whoever steps left has seen a reason to, and spares him. Here the same moments go on under somebody
    without that knowledge: an agent, random play, two actions in turn, or nobody at all. Only what comes after the
    handover, and `CONTEXT` steps before it, is worth recording.

    Args:
        player: the scripted one.
        scenario: what is played.
        rng: source of random numbers.
        agent: who takes over; None: one of the others, drawn at random.

    Attributes:
        change: step of the handover, log-uniform between `EARLIEST` and `LATEST`.
        recorded_from: first step to record.
    """

    def __init__(
        self, player: Player, scenario: Scenario, rng: np.random.Generator, agent: AgentPlayer | None = None
    ) -> None:
        self.agent = agent
        self._player = player
        self._step = 0
        self.change = int(np.exp(rng.uniform(np.log(EARLIEST), np.log(LATEST * scenario.time_limit))))
        self.recorded_from = max(0, self.change - CONTEXT)
        others: list[Player] = [
            RandomPlayer(scenario, rng),
            AlternatingPlayer(random_alternation(scenario, rng)),
            lambda game: press(),
        ]
        self._successor: Player = agent or others[int(rng.integers(len(others)))]

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self._step += 1
        if self._step > self.change:
            return self._successor(game)
        action = self._player(game)
        if self.agent and self._step > self.recorded_from:
            self.agent.watch(game, action, start=self.recorded_from == 0)
        return action
