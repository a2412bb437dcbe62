"""Real ViZDoom through the same encoder: the honest twin of the dream."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.envs.arguments import checked_temperature
from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.single import SingleEnv
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Scenario
from doom_dream_env.world_model import WorldModel


class RealBatch(LatentBatch):
    """N real games whose frames are encoded together; the counterpart of `DreamBatch` (same methods, true rewards).

    An ended episode's last features repeat its last frame, because ViZDoom shows none after the end. A running game
    cannot be copied: copies and pickles start games of their own, which wait for `reset`.

    Args:
        num_envs, scenario, max_episode_steps, map, wad: as for `EnvBatch`.
        privileged: also expose what a player cannot know, as for `Game`; it never reaches the features.
        device: where the weights go, when they are loaded here.
        weights: as for `WorldModel.from_pretrained`, or a `WorldModel`.
    """

    per_episode_seeds = True

    def __init__(
        self,
        num_envs: int,
        scenario: str | Scenario = "take_cover",
        *,
        privileged: bool = False,
        device: str | torch.device = "cpu",
        weights: WorldModel | str | Path | None = None,
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        super().__init__(
            num_envs,
            scenario,
            device=device,
            weights=weights,
            max_episode_steps=max_episode_steps,
            map=map,
            wad=wad,
        )
        self._start_games = functools.partial(
            GameBatch,
            self.num_envs,
            scenario,
            privileged=privileged,
            device=self.device,
            max_episode_steps=max_episode_steps,
            map=map,
            wad=wad,
        )
        self._game_batch = self._start_games()
        self.seeds = self._game_batch.seeds

    def __getstate__(self) -> dict[str, Any]:
        fresh = {
            "_game_batch": None,
            "_state": None,
            "steps": torch.zeros_like(self.steps),
            "done": torch.ones_like(self.done),
            "seeds": [None] * self.num_envs,
            "_begun": False,
        }
        return super().__getstate__() | fresh

    def __setstate__(self, values: dict[str, Any]) -> None:
        super().__setstate__(values)
        self._game_batch = self._start_games()
        self.seeds = self._game_batch.seeds

    @property
    def games(self) -> list[Game]:
        """The N games."""
        return self._game_batch.games

    def frames(self) -> np.ndarray:
        """Newest real frames, uint8 (N, 120, 160, 3)."""
        return self._game_batch.frames()

    def _game_variables(self) -> np.ndarray:
        return np.stack([game.variables for game in self.games])

    def _begin(self, envs: Tensor, seed: int | Sequence[int] | None, options: dict[str, Any] | None) -> None:
        self._game_batch.reset(envs, seed, options)
        which = envs.cpu().numpy()
        frames = self.frames()[which][:, None]  # (n, 1, 120, 160, 3)
        variables = self._game_variables()[which][:, None]
        new = self.model.observe(frames, variables=variables, scenario=self.known_scenario)
        self._put(envs, new)

    def _advance(self, buttons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, reward, terminated, truncated = self._game_batch.step(buttons, allow_ended=True)
        variables = self._game_variables()[:, None]
        self.state = self.model.observe(self.frames()[:, None], buttons[:, None], self._running(), variables)
        self._continues = 1 - terminated.float()
        return reward, terminated, truncated

    def pixels(self) -> Tensor:
        """The real frames, uint8 (N, 120, 160, 3)."""
        return torch.from_numpy(self.frames()).to(self.device)

    def drawn(self) -> Tensor:
        """The real frames, uint8 (N, 120, 160, 3)."""
        return self.pixels()

    def close(self) -> None:
        """Stop all games."""
        self._game_batch.close()


class RealDoomEnv(SingleEnv):
    """`RealDoom-v0`: the real game with the spaces of `DreamDoom-v0`.

    Swap the id to test in the game what was trained in the dream.
    Scenarios that the weights do not know (a configuration or map of the user's own) are seen through the same encoder,
    with neutral heads. Arguments as for `DreamDoomEnv`, but `map` is the one to play, and `temperature` means nothing
    here: it is taken so that nothing but the id need be swapped. A copy or pickle of a real game waits for `reset`.
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
        checked_temperature(temperature)
        batch = RealBatch(1, scenario, device=device, weights=weights, map=map, wad=wad)
        super().__init__(batch, observation, render_mode)
        self.batch: RealBatch

    def close(self) -> None:
        """Stop the game and close the window."""
        super().close()
        self.batch.close()
