"""Dreams and real games for Stable-Baselines3, which has vector environments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.settings import DreamSettings
from doom_dream_env.envs.spaces import make_spaces, observe, steps_per_second, tell
from doom_dream_env.errors import UserError
from doom_dream_env.world_model import WorldModel

# What each environment has of its own; all other attributes of a batch are shared.
OWN_ATTRIBUTES = ("done", "features", "seeds", "steps", "variables")


class LatentVecEnv(VecEnv):
    """A `LatentBatch`, dreamed or real, as an SB3 `VecEnv`: episodes that end begin anew at once.

    `infos[i]` and `reset_infos[i]` hold the drift and the game variables, and where an episode ended, its last sight in
    `terminal_observation`. SB3's `VecMonitor` around it records episodes' returns.
    The environments are one batch and no objects of their own: `get_attr` and `env_method` answer for those that they
    are asked about. A subclass may add methods that return one value for each environment, such as the `action_masks`
    of sb3-contrib.

    Args:
        batch: the environments: a `DreamBatch`, or a `RealBatch` to train in the real game.
        observation: "features" or "pixels".
    """

    def __init__(self, batch: LatentBatch, observation: str = "features") -> None:
        self.batch = batch
        self.observation = observation
        self.render_mode = "rgb_array"
        super().__init__(self.batch.num_envs, *make_spaces(self.batch, observation))
        self.metadata: dict[str, Any] = {
            "render_modes": ["human", "rgb_array"],
            "render_fps": steps_per_second(self.batch.scenario),
        }
        self._actions = np.zeros(self.num_envs, np.int64)

    def reset(self) -> np.ndarray:
        """Begin new episodes in all environments.

        The environments share one generator: of the seeds given to `seed()`, the first seeds it, once. Options given to
        `set_options()` are used once as well; environments may have different ones.

        Raises:
            ValueError: if there is another number of options than of environments, or one does not fit.
        """
        if len(self._options) != self.num_envs:
            raise UserError(f"set_options() needs options for {self.num_envs} environments, got {len(self._options)}")
        seed = next((s for s in self._seeds if s is not None), None)
        rest = np.ones(self.num_envs, bool)
        rest[[env for env, options in enumerate(self._options) if options]] = False
        if rest.any():
            self.batch.reset(rest, seed=seed)
            seed = None
        for env in np.flatnonzero(~rest):
            self.batch.reset(np.arange(self.num_envs) == env, seed=seed, options=self._options[env])
            seed = None
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = self._infos()
        return observe(self.batch, self.observation)

    def _infos(self) -> list[dict[str, Any]]:
        told = tell(self.batch)
        return [{name: values[env] for name, values in told.items()} for env in range(self.num_envs)]

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all environments."""
        _, reward, _, truncated = self.batch.step(self._actions)
        rewards = reward.cpu().numpy().astype(np.float32)
        observations = observe(self.batch, self.observation)
        infos = self._infos()
        done = self.batch.done.cpu().numpy()
        if done.any():
            for env in np.flatnonzero(done):
                infos[env]["terminal_observation"] = observations[env].copy()
                infos[env]["TimeLimit.truncated"] = bool(truncated[env])
            self.batch.reset(torch.from_numpy(done).to(self.batch.device))
            observations = observe(self.batch, self.observation)
            begun = self._infos()
            self.reset_infos = [begun[env] if done[env] else self.reset_infos[env] for env in range(self.num_envs)]
        return observations, rewards, done, infos

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Pictures of all environments."""
        return list(self.batch.drawn().cpu().numpy())

    def close(self) -> None:
        """Stop what runs outside this process's memory."""
        self.batch.close()

    # ---- one by one --------------------------------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of each environment asked for: of its own, or what all of them share, here or in the batch."""
        if attr_name in OWN_ATTRIBUTES:
            values = getattr(self.batch, attr_name)
            return [values[env] for env in self._get_indices(indices)]
        value = getattr(self if hasattr(self, attr_name) else self.batch, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all environments, which share it.

        Raises:
            UserError: if it is to be set for some of the environments only, or to what it cannot be.
        """
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise UserError(f"all {self.num_envs} environments share one {attr_name}: set it without indices")
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method for each environment asked for.

        Args:
            method_name: "reset" begins anew in these environments and returns observation and info of each, "render"
                a picture, "drift" a float; or a method of a subclass, which is called once and must return one value
                for each of the N environments.
            *method_args: passed on.
            indices: of the environments; None: all.
            **method_kwargs: passed on.

        Raises:
            UserError: if a subclass's method returned another number of values.
        """
        asked = list(self._get_indices(indices))
        if method_name == "reset":
            results = self._reset_some(asked, **method_kwargs)
        elif method_name == "render":
            results = self.get_images()
        elif method_name == "drift":
            results = self.batch.drift().tolist()
        else:
            results = getattr(self, method_name)(*method_args, **method_kwargs)
        if not hasattr(results, "__len__") or len(results) != self.num_envs:
            raise UserError(f"{method_name} must return one value for each of the {self.num_envs} environments")
        return [results[env] for env in asked]

    def _reset_some(
        self, envs: list[int], *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Sequence[Any]:
        if seed is not None and len(set(envs)) < self.num_envs:
            raise UserError(f"all {self.num_envs} environments share one generator: give a seed without indices")
        self.batch.reset(np.isin(np.arange(self.num_envs), envs), seed=seed, options=options)
        return list(zip(observe(self.batch, self.observation), self._infos(), strict=True))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Environments are never wrapped one by one."""
        return [False for _ in self._get_indices(indices)]


class DreamDoomVecEnv(DreamSettings, LatentVecEnv):
    """N dreams as an SB3 `VecEnv`.

    Arguments as for `DreamDoomEnv`, and:

    Args:
        num_envs: number of dreams.
        initial_states: as for `DreamBatch`.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
    """

    batch: DreamBatch

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
        batch = DreamBatch(
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
        super().__init__(batch, observation)
