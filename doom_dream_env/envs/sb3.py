"""The dream for Stable-Baselines3, which has vector environments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.spaces import make_spaces, observe
from doom_dream_env.world_model import WorldModel


class DreamDoomVecEnv(VecEnv):
    """N dreams as an SB3 `VecEnv`: those that end begin anew at once.

    `infos[i]["terminal_observation"]` holds their last sight. SB3's `VecMonitor` around it records episodes' returns.
    Arguments as for `DreamDoomEnv`, and:

    Args:
        num_envs: number of dreams.
        initial_states: as for `DreamBatch`.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
    """

    def __init__(
        self,
        num_envs: int,
        scenario: str = "take_cover",
        *,
        observation: str = "features",
        temperature: float = 1.0,
        device: str = "cpu",
        weights: WorldModel | str | Path | None = None,
        initial_states: str = "episode_start",
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        self.batch = DreamBatch(
            num_envs,
            scenario,
            temperature=temperature,
            device=device,
            weights=weights,
            initial_states=initial_states,
            max_episode_steps=max_episode_steps,
            map=map,
            wad=wad,
        )
        self.observation = observation
        self.render_mode = "rgb_array"
        super().__init__(num_envs, *make_spaces(self.batch, observation))
        self._actions = np.zeros(num_envs, np.int64)

    def reset(self) -> np.ndarray:
        """Begin new episodes in all environments; a seed given to `seed()` is used once."""
        seed = next((s for s in self._seeds if s is not None), None)
        options = next((o for o in self._options if o), None)
        self.batch.reset(seed=seed, options=options)
        self._reset_seeds()
        self._reset_options()
        return observe(self.batch, self.observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all environments."""
        _, reward, _, truncated = self.batch.step(self._actions)
        rewards = reward.cpu().numpy().astype(np.float32)
        observations = observe(self.batch, self.observation)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done = self.batch.done.cpu().numpy()
        if done.any():
            for env in np.flatnonzero(done):
                infos[env] = {
                    "terminal_observation": observations[env].copy(),
                    "TimeLimit.truncated": bool(truncated[env]),
                }
            self.batch.reset(torch.from_numpy(done).to(self.batch.device))
            observations = observe(self.batch, self.observation)
        return observations, rewards, done, infos

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Pictures of all environments."""
        return list(self.batch.pixels().cpu().numpy())

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object, once for each environment asked for."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of this object; the environments share it."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the underlying `DreamBatch` once; its result for each environment asked for."""
        result = getattr(self.batch, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Environments are never wrapped one by one."""
        return [False] * len(list(self._get_indices(indices)))
