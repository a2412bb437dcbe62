"""`DreamDoom-v0`: one dream as a Gymnasium environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.settings import DreamSettings
from doom_dream_env.envs.single import SingleEnv
from doom_dream_env.envs.spaces import observe
from doom_dream_env.world_model import WorldModel


class DreamDoomEnv(DreamSettings, SingleEnv):
    """`DreamDoom-v0`: steps in latent space, no game running; pixels are decoded only when somebody looks.

    Args:
        scenario: name of the scenario, or the path of a ViZDoom configuration that the weights were trained on.
        observation: "features" or "pixels".
        render_mode: None, "rgb_array" or "human".
        temperature: 0 … the mean next state, 1 the learned distribution; `env.unwrapped.temperature` sets it later.
        device: where the weights go; "auto": to the GPU where there is one.
        weights: as for `WorldModel.from_pretrained`, or a `WorldModel`.
        map: of free play, whose initial states to dream from.
        wad: a WAD of the user's own, where the map is from there.
    """

    def __init__(
        self,
        scenario: str = "take_cover",
        *,
        observation: str = "features",
        render_mode: str | None = None,
        temperature: float = 1.0,
        device: str = "cpu",
        weights: WorldModel | str | Path | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        batch = DreamBatch(1, scenario, temperature=temperature, device=device, weights=weights, map=map, wad=wad)
        super().__init__(batch, observation, render_mode)
        self.batch: DreamBatch

    def get_state(self) -> dict[str, Any]:
        """A copy of the dream, generator included: `set_state` goes on from here, as often as you like."""
        return self.batch.get_state()

    def set_state(self, saved: dict[str, Any]) -> np.ndarray:
        """Go back to a saved dream; returns the observation there.

        Raises:
            ValueError: if it was saved with other weights or in another scenario, or is damaged.
        """
        self.batch.set_state(saved)
        return observe(self.batch, self.observation)[0]
