"""The two things that can be played, one tic of 1/35 s at a time: a dream, shown smoothly, and the real game.

Legend: D state width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.drawing import Drawing
from doom_dream_env.envs.observed import ObservedBatch
from doom_dream_env.game.game import Game
from doom_dream_env.play.human import HumanRecorder
from doom_dream_env.play.status import Picture
from doom_dream_env.scenarios import VARIABLES, Buttons, Scenario, press
from doom_dream_env.world_model import DreamState, WorldModel

Clip = dict[str, Any]  # options of `DreamBatch.reset`


def why_ended(scenario: Scenario, terminated: bool, reward: float, variables: dict[str, float]) -> str:
    """For people: why an episode ended with a step of that reward and those game variables."""
    if not terminated:
        return "time is up"
    if scenario.ends_only_by_death or variables.get("HEALTH", 1) <= 0:
        return "died"
    return "goal reached" if reward > scenario.goal_reward else "the episode is over"


class View(ABC):
    """What is seen of an episode, dreamed or real.

    Attributes:
        scenario: what is played.
        ended: why the episode has ended; "" while it goes on.
        reward: the return so far.
        points: the return of the whole steps that did not end the episode.
        steps: whole steps so far.
    """

    title = ""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._clear()

    def _clear(self) -> None:
        self.ended = ""
        self.reward = self.points = 0.0
        self.steps = 0

    @property
    def counted(self) -> str:
        """What a player is told of `points`: whole ones, as a dream pays the mean of what may have happened."""
        return f"{self.scenario.points} {max(round(self.points), 0)}" if self.scenario.points else ""

    def _named(self, values: Iterable[float]) -> dict[str, float]:
        """The game variables that the scenario has, by name."""
        pairs = zip(VARIABLES, values, strict=True)
        return {name: float(value) for name, value in pairs if name in self.scenario.variables}

    @abstractmethod
    def tick(self, buttons: Buttons, phase: int) -> None:
        """Go on by one tic of 1/35 s; `phase` counts the tics of a step from 0."""

    @abstractmethod
    def picture(self) -> Picture:
        """What is to be seen now."""

    @property
    @abstractmethod
    def variables(self) -> dict[str, float]:
        """The game variables that this scenario has."""

    @property
    @abstractmethod
    def batch(self) -> LatentBatch:
        """The episode as a policy sees it, at the last whole step: a batch of one."""


class DreamView(View):
    """A dream at 35 frames/s.

    A dream goes on in steps of four tics. The states between two steps are interpolated, and a step is dreamed again
    when the keys change in it, so that a key is seen at once.
    """

    title = "dream"

    def __init__(self, scenario: Scenario, batch: DreamBatch) -> None:
        super().__init__(scenario)
        self._batch = batch
        self.model = batch.model
        self._before: dict[str, Any] = {}  # the dream when this step began
        self._return_before = 0.0
        self._buttons = press()
        self._shown: Tensor  # state, (1, D)
        self._drawing = Drawing(self.model)
        self._ending = ""  # why the episode ends with this step

    @property
    def batch(self) -> DreamBatch:
        """The dream."""
        return self._batch

    def begin(self, clip: Clip | None, seed: int | None) -> None:
        """Begin an episode.

        Args:
            clip: real frames to go on from; None: an initial state that came with the weights.
            seed: as for `DreamBatch.reset`.
        """
        self._clear()
        self._drawing.begin(seed)
        self.batch.reset(seed=seed, options=clip)
        self._begin_step()

    def synchronise(self, state: DreamState, steps: int, reward: float) -> None:
        """Go on from what was observed in the real game: the state, its steps and its return."""
        self.batch.resume(state, steps)
        self._drawing.begin()
        self.ended = ""
        self.steps = steps
        self.reward = self.points = reward
        self._begin_step()

    def _begin_step(self) -> None:
        self._before = self.batch.get_state()
        self._return_before = self.reward
        self._shown = self._before["state"].z

    def tick(self, buttons: Buttons, phase: int) -> None:
        """Move what is shown towards the next state.

        That is dreamed when a step begins and again, from there, when the keys change.
        """
        if phase == 0 or not np.array_equal(buttons, self._buttons):
            self._dream_step(buttons)
        left = self.scenario.frame_skip - phase
        assert self.batch.state is not None
        self._shown = torch.lerp(self._shown, self.batch.state.z, 1 / left)
        if left == 1:
            self.steps += 1
            self.ended = self._ending
            if not self.ended:
                self.points = self.reward
            self._begin_step()

    def _dream_step(self, buttons: Buttons) -> None:
        self.batch.set_state(self._before)
        self._buttons = buttons
        _, reward, terminated, truncated = self.batch.step(buttons[None])
        self.reward = self._return_before + float(reward[0])
        self._ending = ""
        if bool(terminated[0] | truncated[0]):
            self._ending = why_ended(self.scenario, bool(terminated[0]), float(reward[0]), self.variables)

    def picture(self) -> Picture:
        """The picture between the states, drawn given the last one."""
        pressed = torch.from_numpy(self._buttons[None]).float()
        return self._drawing.draw(self._shown, pressed)[0].cpu().numpy()

    @property
    def variables(self) -> dict[str, float]:
        """The predicted variables."""
        return self._named(self.batch.variables[0].tolist())

    @property
    def drift(self) -> float:
        """As `LatentBatch.drift`."""
        return float(self.batch.drift()[0])

    def save(self) -> dict[str, Any]:
        """The dream at the last whole step."""
        return {"dream": self._before, "reward": self._return_before, "steps": self.steps}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `save` returned."""
        self.batch.set_state(saved["dream"])
        self._drawing.begin(seed=0)
        self.ended = ""
        self.reward = self.points = saved["reward"]
        self.steps = saved["steps"]
        self._begin_step()


class RealView(View):
    """The real game, tic by tic; what an agent sees of it is encoded once per step.

    Args:
        scenario: what is played.
        model: whose encoder looks at it.
        save: folder to record a person's play in.
        licence: of what is recorded, as for `HumanRecorder`.
    """

    title = "real"

    def __init__(self, scenario: Scenario, model: WorldModel, save: Path | None, licence: str | None = None) -> None:
        super().__init__(scenario)
        self.model = model
        self.game = Game(scenario, privileged=save is not None)
        self.recorder = HumanRecorder(save, scenario, self.game, licence) if save else None
        self._batch = ObservedBatch(1, scenario, weights=model)

    @property
    def batch(self) -> ObservedBatch:
        """The real game as it is seen through the encoder."""
        return self._batch

    @property
    def state(self) -> DreamState:
        """What the world model remembers of the episode."""
        assert self._batch.state is not None
        return self._batch.state

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed."""
        self._clear()
        if self.recorder:
            self.recorder.begin(seed)
        else:
            self.game.reset(seed)
        known = self.scenario.name in self.model.config.scenarios
        frame, variables = self._newest()
        name = self.scenario.name if known else None
        self._batch.show(self.model.observe(frame, variables=variables, scenario=name), self.steps)

    def _newest(self) -> tuple[Picture, npt.NDArray[np.float32]]:
        """Newest frame and game variables as a batch of one and one time step."""
        return self.game.frame[None, None], self.game.variables[None, None]

    def tick(self, buttons: Buttons, phase: int) -> None:
        """Play one tic, and look at the frame if it is the last one of the step."""
        if self.recorder:
            reward, terminated, truncated = self.recorder.tic(buttons)
        else:
            reward, terminated, truncated = self.game.step(buttons, tics=1)
        self.reward += reward
        if terminated or truncated:
            self.ended = why_ended(self.scenario, terminated, reward, self.variables)
        else:
            self.points = self.reward
        if self.ended or phase == self.scenario.frame_skip - 1:
            self.steps += 1
            frame, variables = self._newest()
            self._batch.show(self.model.observe(frame, buttons[None, None], self.state, variables), self.steps)

    def picture(self) -> Picture:
        """The newest frame."""
        return self.game.frame

    def clip(self) -> Clip:
        """The newest frame and the variables, to dream on from."""
        return {"frames": self.game.frame[None], "variables": self.game.variables[None]}

    @property
    def variables(self) -> dict[str, float]:
        """The true variables."""
        return self._named(self.game.variables)

    def close(self) -> None:
        """Stop the game, write what was recorded."""
        try:
            if self.recorder:
                self.recorder.close()
        finally:
            self.game.close()
