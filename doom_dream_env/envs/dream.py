"""`DreamDoom-v0`: one dream as a Gymnasium environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from doom_dream_env.envs.batch import FEATURE_LIMIT, DreamBatch, Lanes
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE
from doom_dream_env.world_model import WorldModel

WINDOW_SCALE = 4
OBSERVATIONS = ("features", "pixels")


def make_spaces(lanes: Lanes, observation: str) -> tuple[spaces.Box, spaces.Discrete | spaces.MultiBinary]:
    """Observation and action space of one lane.

    Raises:
        ValueError: if `observation` is neither "features" nor "pixels".
    """
    if observation not in OBSERVATIONS:
        raise ValueError(f"observation {observation!r} is unknown; choose from {', '.join(OBSERVATIONS)}")
    if observation == "pixels":
        box: spaces.Box = spaces.Box(0, 255, FRAME_SHAPE, np.uint8)
    else:
        box = spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, (lanes.model.config.feature_width,), np.float32)
    return box, spaces.Discrete(len(lanes.table)) if lanes.scenario.discrete else spaces.MultiBinary(len(BUTTONS))


def observe(lanes: Lanes, observation: str) -> np.ndarray:
    """Fresh observations of all lanes, (N, F) or (N, 120, 160, 3)."""
    tensor = lanes.features if observation == "features" else lanes.pixels()
    return tensor.cpu().numpy().copy()


class SingleEnv(gym.Env[np.ndarray, Any]):
    """One lane, dreamed or real, with Gymnasium's interface."""

    def __init__(self, lanes: Lanes, observation: str, render_mode: str | None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode {render_mode!r} is unknown; choose from {self.metadata['render_modes']} or None")
        self.lanes: Any = lanes
        self.observation, self.render_mode = observation, render_mode
        self.observation_space, self.action_space = make_spaces(lanes, observation)
        self._window: Any = None

    def _info(self) -> dict[str, Any]:
        values = self.lanes.variables[0].tolist()
        names = self.lanes.model.config.variables
        shown = {name: value for name, value in zip(names, values, strict=True) if name in self.lanes.scenario.variables}
        return {"drift": float(self.lanes.drift()[0]), "variables": shown}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode. `options`: see `DreamBatch.reset`."""
        super().reset(seed=seed)
        self.lanes.reset(seed=int(self.np_random.integers(2**31)) if seed is not None else None, options=options)
        if self.render_mode == "human":
            self._show()
        return observe(self.lanes, self.observation)[0], self._info()

    def step(self, action: np.int64 | np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ValueError: if the action is not in the action space.
            RuntimeError: before reset or after the end of the episode.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        _, reward, terminated, truncated = self.lanes.step(torch.as_tensor(np.asarray(action)[None]))
        if self.render_mode == "human":
            self._show()
        observation = observe(self.lanes, self.observation)[0]
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._info()

    def render(self) -> np.ndarray | None:
        """The picture now, uint8 (120, 160, 3), decoded on demand."""
        if self.render_mode != "rgb_array":
            return None
        if self.lanes.state is None:
            raise RuntimeError("render() before reset(): there is nothing to see yet")
        return self.lanes.pixels()[0].cpu().numpy()

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Keys for `gymnasium.utils.play.play`; in free play, give that `noop=np.zeros(9, np.int8)`."""
        from doom_dream_env.play.keys import keys_to_action

        return keys_to_action(self.lanes.scenario)

    def _show(self) -> None:
        import pygame

        if self._window is None:
            pygame.display.init()
            pygame.display.set_caption(type(self).__name__)
            self._window = pygame.display.set_mode((FRAME_SHAPE[1] * WINDOW_SCALE, FRAME_SHAPE[0] * WINDOW_SCALE))
            self._clock = pygame.time.Clock()
        picture = self.lanes.pixels()[0].cpu().numpy().swapaxes(0, 1)
        pygame.transform.scale(pygame.surfarray.make_surface(picture), self._window.get_size(), self._window)
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(1 / self.lanes.scenario.seconds_per_step)  # 8.75; "render_fps" must be whole for gymnasium.utils.play

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            import pygame

            pygame.display.quit()
            self._window = None


class DreamDoomEnv(SingleEnv):
    """`DreamDoom-v0`: steps in latent space, no game running; pixels are decoded only when somebody looks.

    Args:
        scenario: name of the world, or the path of a ViZDoom configuration that the weights were trained on.
        observation: "features" or "pixels".
        render_mode: None, "rgb_array" or "human".
        temperature: 0 … the central future, 1 the learned distribution.
        device: where the weights go.
        weights: as for `WorldModel.from_pretrained`, or a `WorldModel`.
        map: of free play, whose beginnings to dream from (`RealDoom-v0`: which to play).
        wad: a WAD of the user's own, where the map is from there.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 9}

    def __init__(
        self,
        scenario: str = "take_cover",
        observation: str = "features",
        render_mode: str | None = None,
        temperature: float = 1.0,
        device: str = "cpu",
        weights: WorldModel | str | Path | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        super().__init__(DreamBatch(1, scenario, temperature, device, weights, map=map, wad=wad), observation, render_mode)

    def get_state(self) -> dict[str, Any]:
        """A copy of the dream, dice included: `set_state` goes on from here, as often as you like."""
        return self.lanes.get_state()

    def set_state(self, saved: dict[str, Any]) -> np.ndarray:
        """Go back to a saved dream; returns the observation there."""
        self.lanes.set_state(saved)
        return observe(self.lanes, self.observation)[0]
