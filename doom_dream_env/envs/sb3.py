"""The dream for Stable-Baselines3, which has vector environments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.dream import make_spaces, observe
from doom_dream_env.world_model import WorldModel


class DreamDoomVecEnv(VecEnv):
    """N dreams as an SB3 `VecEnv`: ended lanes begin anew at once, `infos[i]["terminal_observation"]` holds their last sight.

    Arguments as for `DreamDoomEnv`, and:

    Args:
        starts: as for `DreamBatch`.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
    """

    def __init__(
        self,
        num_envs: int,
        scenario: str = "take_cover",
        observation: str = "features",
        temperature: float = 1.0,
        device: str = "cpu",
        weights: WorldModel | str | Path | None = None,
        starts: str = "beginnings",
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        self.lanes = DreamBatch(num_envs, scenario, temperature, device, weights, starts, map, wad)
        self.max_episode_steps = max_episode_steps
        self.observation = observation
        self.render_mode = "rgb_array"
        super().__init__(num_envs, *make_spaces(self.lanes, observation))
        self._actions = np.zeros(num_envs, np.int64)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, int)

    def reset(self) -> np.ndarray:
        """Begin new episodes in all lanes; a seed given to `seed()` is used once."""
        seed = next((s for s in self._seeds if s is not None), None)
        options = next((o for o in self._options if o), None)
        self.lanes.reset(seed=seed, options=options)
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return observe(self.lanes, self.observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all lanes."""
        _, reward, terminated, truncated = self.lanes.step(self._actions)
        if self.max_episode_steps is not None:
            truncated = truncated | ((self.lanes.steps >= self.max_episode_steps) & ~terminated)
            self.lanes.done = terminated | truncated
        rewards, done = reward.cpu().numpy().astype(np.float32), (terminated | truncated).cpu().numpy()
        self._returns += rewards
        self._lengths += 1
        observations = observe(self.lanes, self.observation)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            timed_out = truncated.cpu().numpy()
            for lane in np.flatnonzero(done):
                infos[lane] = {
                    "terminal_observation": observations[lane].copy(),
                    "TimeLimit.truncated": bool(timed_out[lane]),
                    "episode": {"r": float(self._returns[lane]), "l": int(self._lengths[lane])},
                }
            self._returns[done], self._lengths[done] = 0, 0
            self.lanes.reset(torch.from_numpy(done).to(self.lanes.device))
            observations = observe(self.lanes, self.observation)
        return observations, rewards, done, infos

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Pictures of all lanes."""
        return list(self.lanes.pixels().cpu().numpy())

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this environment, once per lane."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of this environment; the lanes share it."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the underlying `DreamBatch`, once; its result for each lane."""
        result = getattr(self.lanes, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Lanes are never wrapped one by one."""
        return [False] * len(list(self._get_indices(indices)))
