"""The two things that can be played, one display frame at a time: a dream, smoothly, and the real game."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from doom_dream_env.envs.batch import FEATURE_LIMIT, DreamBatch
from doom_dream_env.envs.game import Game
from doom_dream_env.play.human import HumanRecorder
from doom_dream_env.scenarios import VARIABLES, Buttons, Scenario, press
from doom_dream_env.world_model import DreamState, WorldModel

Picture = npt.NDArray[np.uint8]  # (120, 160, 3)
Clip = dict[str, Any]  # options of `DreamBatch.reset`


def why_ended(scenario: Scenario, terminated: bool, reward: float, variables: dict[str, float]) -> str:
    """For people: why an episode ended with a step of that reward and those game variables."""
    if not terminated:
        return "time is up"
    if scenario.mortal or variables.get("HEALTH", 1) <= 0:
        return "died"
    return "goal reached" if reward > scenario.prize else "the episode is over"


class Side:
    """What a dream and the real game have in common here.

    Attributes:
        ended: why the episode has ended; "" while it goes on.
        reward: the return so far.
        steps: whole steps so far.
    """

    title = ""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.ended, self.reward, self.steps = "", 0.0, 0

    def _begin(self) -> None:
        self.ended, self.reward, self.steps = "", 0.0, 0

    def _named(self, values: Any) -> dict[str, float]:
        return {name: float(value) for name, value in zip(VARIABLES, values, strict=True) if name in self.scenario.variables}

    def tick(self, buttons: Buttons, phase: int) -> None:
        """Go on by one tic of 1/35 s; `phase` counts the tics of a step from 0."""
        raise NotImplementedError

    def picture(self) -> Picture:
        """What is to be seen now."""
        raise NotImplementedError

    @property
    def variables(self) -> dict[str, float]:
        """The game variables that this world has."""
        raise NotImplementedError

    @property
    def features(self) -> Tensor:
        """What an agent sees at the last whole step, (1, F)."""
        raise NotImplementedError


class DreamSide(Side):
    """A dream at 35 frames/s: the states between two steps are interpolated, and a step is dreamed again when the keys change in it."""

    title = "dream"

    def __init__(self, scenario: Scenario, batch: DreamBatch) -> None:
        super().__init__(scenario)
        self.batch, self.model = batch, batch.model
        self._before: dict[str, Any] = {}  # the dream when this step began
        self._earned = 0.0  # the return until then
        self._buttons = press()
        self._shown: Tensor  # (1, D)
        self._ending = ""

    def begin(self, clip: Clip | None, seed: int | None) -> None:
        """Begin anew, from a real beginning or from a clip; `seed` as for `DreamBatch.reset`."""
        self._begin()
        self.batch.reset(seed=seed, options=clip)
        self._arrive()

    def synchronise(self, state: DreamState, steps: int, reward: float) -> None:
        """Go on from what was observed in the real game."""
        self.batch.state = state.clone()
        self.batch.steps.fill_(steps)
        self.batch.done.fill_(False)
        self.ended, self.steps, self.reward = "", steps, reward
        self._arrive()

    def _arrive(self) -> None:
        assert self.batch.state is not None
        self._before, self._earned, self._shown = self.batch.get_state(), self.reward, self.batch.state.z

    def tick(self, buttons: Buttons, phase: int) -> None:
        """Move what is shown towards the next state, which is dreamed when a step begins and again, from there, when the keys change."""
        if phase == 0 or not np.array_equal(buttons, self._buttons):
            self.batch.set_state(self._before)
            self._buttons = buttons
            _, reward, terminated, truncated = self.batch.step(buttons[None])
            self.reward = self._earned + float(reward[0])
            over = bool(terminated[0] | truncated[0])
            self._ending = why_ended(self.scenario, bool(terminated[0]), float(reward[0]), self.variables) if over else ""
        assert self.batch.state is not None
        left = self.scenario.frame_skip - phase
        self._shown = torch.lerp(self._shown, self.batch.state.z, 1 / left)
        if left == 1:
            self.steps, self.ended = self.steps + 1, self._ending
            self._arrive()

    def picture(self) -> Picture:
        """The decoded picture between the states."""
        return self.model.decode(self._shown)[0].cpu().numpy()

    @property
    def variables(self) -> dict[str, float]:
        """The predicted variables."""
        return self._named(self.batch.variables[0].tolist())

    @property
    def features(self) -> Tensor:
        """What an agent sees of the dream."""
        return self.batch.features

    @property
    def drift(self) -> float:
        """As `Lanes.drift`."""
        return float(self.batch.drift()[0])

    def save(self) -> dict[str, Any]:
        """The dream at the last whole step."""
        return {"dream": self._before, "reward": self._earned, "steps": self.steps}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `save` returned."""
        self.batch.set_state(saved["dream"])
        self.ended, self.reward, self.steps = "", saved["reward"], saved["steps"]
        self._arrive()


class RealSide(Side):
    """The real game, tic by tic; what an agent sees of it is encoded once per step.

    Args:
        scenario: the world.
        model: whose encoder looks at it.
        save: folder to record a person's play in.
    """

    title = "real"

    def __init__(self, scenario: Scenario, model: WorldModel, save: Path | None) -> None:
        super().__init__(scenario)
        self.model = model
        self.game = Game(scenario, privileged=save is not None)
        self.recorder = HumanRecorder(save, scenario, self.game) if save else None
        self.state: DreamState

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed."""
        self._begin()
        if self.recorder:
            self.recorder.begin(seed)
        else:
            self.game.reset(seed)
        world = self.scenario.name if self.scenario.name in self.model.config.scenarios else None
        self.state = self.model.observe(self.game.frame[None, None], variables=self.game.variables[None, None], scenario=world)

    def tick(self, buttons: Buttons, phase: int) -> None:
        """Play one tic, and look at the frame if it is the last one of the step."""
        reward, terminated, truncated = self.recorder.tic(buttons) if self.recorder else self.game.step(buttons, tics=1)
        self.reward += reward
        if terminated or truncated:
            self.ended = why_ended(self.scenario, terminated, reward, self.variables)
        if self.ended or phase == self.scenario.frame_skip - 1:
            self.steps += 1
            frame, variables = self.game.frame[None, None], self.game.variables[None, None]
            self.state = self.model.observe(frame, buttons[None, None], self.state, variables)

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

    @property
    def features(self) -> Tensor:
        """What an agent sees of the real game."""
        return self.model.features(self.state).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)

    def close(self) -> None:
        """Stop the game, write what was recorded."""
        if self.recorder:
            self.recorder.close()
        self.game.close()
