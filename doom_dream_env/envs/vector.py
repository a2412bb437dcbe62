"""`gym.make_vec("DreamDoom-v0", num_envs=N)`: N dreams in one batched model call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.dream import make_spaces, observe
from doom_dream_env.world_model import WorldModel


class DreamDoomVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Vectorised `DreamDoom-v0` with Gymnasium's NEXT_STEP (default) or SAME_STEP autoreset.

    Arguments as for `DreamDoomEnv`, and:

    Args:
        num_envs: number of dreams.
        autoreset_mode: what happens to a lane whose episode has ended.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 8.75, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str = "take_cover",
        observation: str = "features",
        render_mode: str | None = None,
        temperature: float = 1.0,
        device: str = "cpu",
        weights: WorldModel | str | Path | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown for many dreams; choose 'rgb_array' or None")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        if self.autoreset_mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise ValueError(f"autoreset_mode {autoreset_mode!r} is not supported; choose NEXT_STEP or SAME_STEP")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be 1 or more, or None, got {max_episode_steps!r}")
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.lanes = DreamBatch(num_envs, scenario, temperature, device, weights, map=map, wad=wad)
        self.num_envs, self.observation, self.render_mode = num_envs, observation, render_mode
        self.max_episode_steps = max_episode_steps
        self.single_observation_space, self.single_action_space = make_spaces(self.lanes, observation)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _infos(self, present: np.ndarray) -> dict[str, Any]:
        """Info arrays for the lanes of the mask `present` (N,), zero elsewhere, in Gymnasium's nested form."""

        def shown(values: Tensor) -> np.ndarray:
            return np.where(present, values.cpu().numpy().astype(np.float64), 0.0)

        variables: dict[str, np.ndarray] = {}
        for index, name in enumerate(self.lanes.model.config.variables):
            if name in self.lanes.scenario.variables:
                variables |= {name: shown(self.lanes.variables[:, index]), f"_{name}": present.copy()}
        return {
            "drift": shown(self.lanes.drift()),
            "_drift": present.copy(),
            "variables": variables,
            "_variables": present.copy(),
        }

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new episodes in all lanes, or in those of `options["reset_mask"]`.

        The lanes share their dice: of a list of seeds, the first that is not None seeds them.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if seed is not None and not isinstance(seed, (int, np.integer)):
            if len(seed) != self.num_envs:
                raise ValueError(f"a list of seeds needs one for each of the {self.num_envs} lanes, got {len(seed)}")
            seed = next((s for s in seed if s is not None), None)
        seed = None if seed is None else int(seed)
        present, lanes = np.ones(self.num_envs, bool), None
        if mask is not None:
            present = np.asarray(mask)
            if present.dtype != np.bool_ or present.shape != (self.num_envs,) or not present.any():
                raise ValueError(f"reset_mask must be {self.num_envs} bools, at least one of them True, got {mask!r}")
            lanes = torch.from_numpy(present.copy()).to(self.lanes.device)
        super().reset(seed=seed)
        self.lanes.reset(lanes, seed=seed, options=options or None)
        return observe(self.lanes, self.observation), self._infos(present)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all lanes; see Gymnasium's `VectorEnv.step` for what ended lanes return in each mode.

        The model steps all lanes in one call. In NEXT_STEP mode the lanes that had ended are stepped along with
        the others, which costs nothing, and are then reset: nothing of that step is seen.
        """
        lanes, actions = self.lanes, np.array(actions)
        old = torch.zeros_like(lanes.done) if lanes.state is None else lanes.done
        ended = old.cpu().numpy()
        if actions.shape[:1] == ended.shape:
            actions[ended] = 0  # ignored, whatever it is
        buttons = lanes.buttons(actions)
        lanes.done = lanes.done & ~old
        _, reward, terminated, truncated = lanes.step(buttons)
        if self.max_episode_steps is not None:
            truncated = truncated | ((lanes.steps >= self.max_episode_steps) & ~terminated)
        terminated, truncated = terminated & ~old, truncated & ~old
        lanes.done = terminated | truncated
        if ended.any():
            lanes.reset(old)
        rewards = np.where(ended, 0.0, reward.cpu().numpy().astype(np.float64))
        observations, infos = observe(lanes, self.observation), self._infos(np.ones(self.num_envs, bool))
        done = lanes.done.cpu().numpy()
        if self.autoreset_mode == AutoresetMode.SAME_STEP and done.any():
            final = np.full(self.num_envs, None, object)
            for lane in np.flatnonzero(done):
                final[lane] = observations[lane]
            infos = {"final_obs": final, "_final_obs": done.copy(), "final_info": self._infos(done), "_final_info": done.copy()}
            lanes.reset(lanes.done)
            infos |= self._infos(np.ones(self.num_envs, bool))
            observations = observe(lanes, self.observation)
        return observations, rewards, terminated.cpu().numpy(), truncated.cpu().numpy(), infos

    def get_state(self) -> dict[str, Any]:
        """A copy of all dreams, dice included."""
        return self.lanes.get_state()

    def set_state(self, saved: dict[str, Any]) -> np.ndarray:
        """Go back to saved dreams; returns the observations there."""
        self.lanes.set_state(saved)
        return observe(self.lanes, self.observation)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Pictures of all lanes."""
        return tuple(self.lanes.pixels().cpu().numpy()) if self.render_mode == "rgb_array" else None
