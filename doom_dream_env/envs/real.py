"""Real ViZDoom through the same encoder: the honest twin of the dream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.envs.batch import Lanes
from doom_dream_env.envs.dream import SingleEnv
from doom_dream_env.envs.game import Game
from doom_dream_env.world_model import WorldModel


class RealBatch(Lanes):
    """N real games whose frames are encoded together; the counterpart of `DreamBatch` (same methods, true rewards)."""

    def __init__(
        self,
        num_envs: int,
        scenario: str = "take_cover",
        device: str | torch.device = "cpu",
        weights: WorldModel | str | Path | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        super().__init__(num_envs, scenario, weights, device, map, wad)
        self.games = [Game(self.scenario) for _ in range(num_envs)]
        self._pool = ThreadPoolExecutor(num_envs) if num_envs > 1 else None
        self._seeds = np.random.default_rng()

    def _map(self, function: Any, *arguments: Iterable[Any]) -> list[Any]:
        return list((self._pool.map if self._pool else map)(function, *arguments))

    def frames(self) -> np.ndarray:
        """Newest real frames, uint8 (N, 120, 160, 3)."""
        return np.stack([game.frame for game in self.games])

    @torch.inference_mode()
    def reset(self, lanes: Tensor | None = None, seed: int | Sequence[int] | None = None, options: None = None) -> Tensor:
        """Begin new episodes in all lanes or in those of a mask; `seed` is one for all dice or one per lane to reset."""
        if options:
            raise ValueError("RealDoom-v0 takes no reset options: a real game cannot begin from a clip")
        if lanes is None or self.state is None:
            lanes = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        which = lanes.nonzero()[:, 0].tolist()
        if seed is None or isinstance(seed, int):
            if seed is not None:
                self._seeds = np.random.default_rng(seed)
            seeds = [seed] if isinstance(seed, int) and len(which) == 1 else self._seeds.integers(2**31, size=len(which)).tolist()
        else:
            seeds = list(seed)
        self._map(lambda i, s: self.games[i].reset(s), which, seeds)
        frames = np.stack([self.games[i].frame for i in which])[:, None]
        variables = np.stack([self.games[i].variables for i in which])[:, None]
        fresh = self.model.observe(frames, variables=variables, scenario=self.world)
        self.state = fresh if len(which) == self.num_envs or self.state is None else self.state.put(lanes, fresh)
        self.steps = torch.where(lanes, 0, self.steps)
        self.done = self.done & ~lanes
        return self.features

    @torch.inference_mode()
    def step(self, actions: Tensor | np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Play one step in every lane; as `DreamBatch.step`. An ended episode's last features repeat its last frame."""
        state, buttons = self.ready(), self.buttons(actions)
        pressed = buttons.cpu().numpy()
        results = self._map(lambda game, row: game.step(row), self.games, pressed)
        reward, terminated, truncated = (torch.tensor(part, device=self.device) for part in zip(*results, strict=True))
        variables = np.stack([game.variables for game in self.games])[:, None]
        self.state = self.model.observe(self.frames()[:, None], buttons[:, None], state, variables)
        self.steps = self.steps + 1
        self.done = terminated | truncated
        return self.features, reward.float(), terminated, truncated

    def pixels(self) -> Tensor:
        """The real frames, uint8 (N, 120, 160, 3)."""
        return torch.from_numpy(self.frames())

    def close(self) -> None:
        """Stop all games."""
        for game in self.games:
            game.close()
        if self._pool:
            self._pool.shutdown()


class RealDoomEnv(SingleEnv):
    """`RealDoom-v0`: the real game with the spaces of `DreamDoom-v0`. Swap the id to test what was trained in the dream.

    Worlds that the weights do not know (a configuration or map of the user's own) are seen through the same encoder, with neutral heads.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 9}

    def __init__(
        self,
        scenario: str = "take_cover",
        observation: str = "features",
        render_mode: str | None = None,
        device: str = "cpu",
        weights: WorldModel | str | Path | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        self.lanes: RealBatch
        super().__init__(RealBatch(1, scenario, device, weights, map, wad), observation, render_mode)
        self._closed = False

    def close(self) -> None:
        """Stop the game and close the window."""
        super().close()
        if not self._closed:
            self.lanes.close()
            self._closed = True
