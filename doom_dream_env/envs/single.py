"""One environment with Gymnasium's interface, dreamed or real, with a window where one is wanted."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.screen import warn_without_screen
from doom_dream_env.envs.settings import NamedSpec
from doom_dream_env.envs.spaces import make_spaces, observe, steps_per_second, tell
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import FRAME_SHAPE

WINDOW_SCALE = 4


class SingleEnv(NamedSpec, gym.Env[np.ndarray, Any]):
    """A batch of one as a `gym.Env`. It can be copied and pickled; a copy opens a window of its own.

    Args:
        batch: the one environment.
        observation: "features" or "pixels".
        render_mode: None, or one of `metadata["render_modes"]`.
    """

    # A whole number, because gymnasium.utils.play insists on one; the exact rate is 35 tics / 4.
    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 9}

    def __init__(self, batch: LatentBatch, observation: str, render_mode: str | None) -> None:
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise UserError(f"render_mode {render_mode!r} is unknown; choose from {modes} or None")
        self.metadata = self.metadata | {"render_fps": round(steps_per_second(batch.scenario))}
        self.batch = batch
        self.observation = observation
        self.render_mode = render_mode
        self.observation_space, self.action_space = make_spaces(batch, observation)
        self._window: Any = None
        self._clock: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_window": None, "_clock": None}

    def _info(self) -> dict[str, np.float32]:
        """The drift and the scenario's game variables by their names in ViZDoom, e.g. "HEALTH"."""
        return {name: values[0] for name, values in tell(self.batch).items()}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: the same seed begins the same episode.
            options: of a dream, a clip to go on from: `{"frames": uint8 (T, 120, 160, 3), "actions": (T − 1, 9),
                "variables": (T, V)}`, the latter two optional.
        """
        super().reset(seed=seed)
        own = None if seed is None else int(self.np_random.integers(2**31))
        self.batch.reset(seed=own, options=options)
        if self.render_mode == "human":
            self._show()
        return observe(self.batch, self.observation)[0], self._info()

    def step(self, action: np.int64 | np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ValueError: if the action is not in the action space.
            RuntimeError: before reset or after the end of the episode.
        """
        if not self.action_space.contains(action):
            raise UserError(f"action {action!r} is not in {self.action_space}")
        _, reward, terminated, truncated = self.batch.step(torch.as_tensor(np.asarray(action)[None]))
        if self.render_mode == "human":
            self._show()
        observation = observe(self.batch, self.observation)[0]
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._info()

    def render(self) -> np.ndarray | None:
        """The picture now, uint8 (120, 160, 3): of a dream drawn on demand, given the one that was drawn a step ago."""
        if self.render_mode != "rgb_array":
            return None
        if self.batch.state is None:
            raise RuntimeError("render() before reset(): there is nothing to see yet")
        return self.batch.drawn()[0].cpu().numpy()

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Keys for `gymnasium.utils.play.play`; in free play, give that `noop=np.zeros(9, np.int8)`."""
        from doom_dream_env.play.keys import keys_to_action

        return keys_to_action(self.batch.scenario)

    def _show(self) -> None:
        import pygame

        if self._window is None:
            height, width, _ = FRAME_SHAPE
            pygame.display.init()
            pygame.display.set_caption(type(self).__name__)
            self._window = pygame.display.set_mode((width * WINDOW_SCALE, height * WINDOW_SCALE))
            self._clock = pygame.time.Clock()
            warn_without_screen("use render_mode='rgb_array' and gymnasium's RecordVideo to make a film")
        picture = self.batch.drawn()[0].cpu().numpy().swapaxes(0, 1)  # pygame's surfaces are (width, height, 3)
        pygame.transform.scale(pygame.surfarray.make_surface(picture), self._window.get_size(), self._window)
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(steps_per_second(self.batch.scenario))

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            import pygame

            pygame.display.quit()
            self._window = None
