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
from doom_dream_env.envs.settings import DreamSettings, NamedSpec
from doom_dream_env.envs.spaces import make_spaces, observe, steps_per_second, tell
from doom_dream_env.errors import UserError
from doom_dream_env.world_model import WorldModel


class DreamDoomVectorEnv(NamedSpec, DreamSettings, VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Vectorised `DreamDoom-v0` with Gymnasium's NEXT_STEP (default), SAME_STEP or no autoreset.

    Arguments as for `DreamDoomEnv`, and:

    Args:
        num_envs: number of dreams.
        autoreset_mode: what happens to an environment whose episode has ended. DISABLED: nothing; reset it with
            `reset(options={"reset_mask": ended})` before the next step.
        max_episode_steps: a shorter time limit in steps than the scenario's own.
    """

    metadata: dict[str, Any] = {
        "render_modes": ["rgb_array"],
        "render_fps": 8.75,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str = "take_cover",
        *,
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
            raise UserError(f"render_mode {render_mode!r} is unknown for many dreams; choose 'rgb_array' or None")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = ", ".join(mode.name for mode in AutoresetMode)
            raise UserError(f"autoreset_mode {autoreset_mode!r} is unknown; choose from {modes}") from None
        self.batch = DreamBatch(
            num_envs,
            scenario,
            temperature=temperature,
            device=device,
            weights=weights,
            max_episode_steps=max_episode_steps,
            map=map,
            wad=wad,
        )
        self.metadata = self.metadata | {
            "autoreset_mode": self.autoreset_mode,
            "render_fps": steps_per_second(self.batch.scenario),
        }
        self.num_envs = num_envs = self.batch.num_envs
        self.observation = observation
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = make_spaces(self.batch, observation)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _infos(self, present: np.ndarray) -> dict[str, Any]:
        """Info arrays (N,) for the environments of the mask `present` (N,), zero elsewhere, in Gymnasium's form."""
        infos: dict[str, Any] = {}
        for name, values in tell(self.batch).items():
            infos[name] = np.where(present, values, np.float32(0))
            infos[f"_{name}"] = present.copy()
        return infos

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new episodes in all environments, or in those of `options["reset_mask"]`.

        The dreams share one generator: of a list of seeds, the first that is not None seeds it.

        Raises:
            ValueError: on a list of seeds or a mask that does not fit, or an unknown option.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if seed is not None and not isinstance(seed, (int, np.integer)):
            if len(seed) != self.num_envs:
                needed = f"one for each of the {self.num_envs} environments"
                raise UserError(f"a list of seeds needs {needed}, got {len(seed)}")
            seed = next((own for own in seed if own is not None), None)
        seed = None if seed is None else int(seed)
        present = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask)
        if present.dtype != np.bool_ or present.shape != (self.num_envs,) or not present.any():
            raise UserError(f"reset_mask must be {self.num_envs} bools, at least one of them True, got {mask!r}")
        super().reset(seed=seed)
        self.batch.reset(self._mask(present), seed=seed, options=options or None)
        return observe(self.batch, self.observation), self._infos(present)

    def _mask(self, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(chosen.copy()).to(self.batch.device)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all environments; see Gymnasium's `VectorEnv.step` for what ended ones return in each mode.

        The model steps all dreams in one call. In NEXT_STEP mode those that had ended are stepped along with the
        others, which costs nothing, and are then reset: nothing of that step is seen.

        Raises:
            ValueError: on actions of another shape or out of range.
            RuntimeError: before the first reset; with autoreset disabled, while an environment has ended and was not
                reset.
        """
        batch = self.batch
        actions = np.array(actions)
        resets = self.autoreset_mode != AutoresetMode.DISABLED
        ended = batch.done.cpu().numpy()
        if resets and actions.shape[:1] == ended.shape:
            actions[ended] = 0  # ignored, whatever it is
        _, reward, terminated, truncated = batch.step(actions, allow_ended=resets)
        if ended.any():
            batch.reset(self._mask(ended))
        rewards = reward.cpu().numpy().astype(np.float64)
        observations = observe(batch, self.observation)
        infos = self._infos(np.ones(self.num_envs, bool))
        done = batch.done.cpu().numpy()
        if self.autoreset_mode == AutoresetMode.SAME_STEP and done.any():
            final = np.full(self.num_envs, None, object)
            for env in np.flatnonzero(done):
                final[env] = observations[env]
            final_infos = {
                "final_obs": final,
                "_final_obs": done.copy(),
                "final_info": self._infos(done),
                "_final_info": done.copy(),
            }
            batch.reset(batch.done)
            infos = final_infos | self._infos(np.ones(self.num_envs, bool))
            observations = observe(batch, self.observation)
        return observations, rewards, terminated.cpu().numpy(), truncated.cpu().numpy(), infos

    def get_state(self) -> dict[str, Any]:
        """A copy of all dreams, generator included: `set_state` goes on from here."""
        return self.batch.get_state()

    def set_state(self, saved: dict[str, Any]) -> np.ndarray:
        """Go back to saved dreams; returns the observations there.

        Raises:
            ValueError: if they were saved with other weights, in another scenario or in another number, or are damaged.
        """
        self.batch.set_state(saved)
        return observe(self.batch, self.observation)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Pictures of all environments."""
        return tuple(self.batch.drawn().cpu().numpy()) if self.render_mode == "rgb_array" else None
