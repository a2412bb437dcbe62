"""Many real games at once, nothing encoded: for players that look at the game itself, or at nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Scenario


class GameBatch(EnvBatch):
    """N real games, stepped together, each in a thread of its own.

    Args:
        num_envs, scenario, max_episode_steps, map, wad: as for `EnvBatch`.
        privileged: also expose what a player cannot know, as for `Game`.
        device: where the tensors are.

    Attributes:
        games: the N games; an ended one stands still until it is reset.
    """

    per_episode_seeds = True

    def __init__(
        self,
        num_envs: int,
        scenario: str | Scenario = "take_cover",
        *,
        privileged: bool = False,
        device: str | torch.device = "cpu",
        max_episode_steps: int | None = None,
        map: str | None = None,
        wad: str | Path | None = None,
    ) -> None:
        super().__init__(num_envs, scenario, device=device, max_episode_steps=max_episode_steps, map=map, wad=wad)
        self.games: list[Game] = []
        try:
            for _ in range(num_envs):
                self.games.append(Game(self.scenario, privileged))
        except BaseException:
            self._stop()
            raise
        self._threads = ThreadPoolExecutor(num_envs) if num_envs > 1 else None
        self._rng = np.random.default_rng()

    @property
    def features(self) -> Tensor:
        """There are none.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("nothing is encoded here: a policy that looks at features needs a RealBatch or a DreamBatch")

    def _sight(self) -> Tensor:
        return torch.zeros(self.num_envs, 0, device=self.device)

    def _begin(self, envs: Tensor, seed: int | Sequence[int] | None, options: dict[str, Any] | None) -> None:
        if options:
            raise UserError("RealDoom-v0 takes no reset options: a real game cannot begin from a clip")
        which = envs.nonzero()[:, 0].tolist()
        if isinstance(seed, int):
            self._rng = np.random.default_rng(seed)
        if isinstance(seed, Sequence):
            seeds = list(seed)
        elif isinstance(seed, int) and len(which) == 1:
            seeds = [seed]
        else:
            seeds = self._rng.integers(2**31, size=len(which)).tolist()
        if len(seeds) != len(which):
            raise UserError(f"a list of seeds needs one for each of the {len(which)} games to begin, got {len(seeds)}")
        self._map(lambda index, own: self.games[index].reset(own), which, seeds)
        for index, own in zip(which, seeds, strict=True):
            self.seeds[index] = own

    def _advance(self, buttons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def play(game: Game, pressed: np.ndarray, ended: bool) -> tuple[float, bool, bool]:
            return (0.0, False, False) if ended else game.step(pressed)

        results = self._map(play, self.games, buttons.cpu().numpy(), self.done.tolist())
        rewards, terminated, truncated = zip(*results, strict=True)
        return (
            torch.tensor(rewards, dtype=torch.float32, device=self.device),
            torch.tensor(terminated, device=self.device),
            torch.tensor(truncated, device=self.device),
        )

    def _map(self, function: Any, *arguments: Any) -> list[Any]:
        """`function` of each game's arguments, all games at the same time."""
        return list(self._threads.map(function, *arguments) if self._threads else map(function, *arguments))

    def frames(self) -> np.ndarray:
        """Newest frames, uint8 (N, 120, 160, 3)."""
        return np.stack([game.frame for game in self.games])

    def close(self) -> None:
        """Stop all games."""
        if self._threads:
            self._threads.shutdown()  # first: a step that was interrupted may still be under way
        self._stop()

    def _stop(self) -> None:
        for game in self.games:
            game.close()
