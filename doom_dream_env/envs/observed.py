"""Environments that somebody else steps: what a policy is shown of them.

Legend: N environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.world_model import DreamState


class ObservedBatch(LatentBatch):
    """N episodes that are played elsewhere: tic by tic in a window, or inside a plan. A policy can look at them.

    Arguments as for `LatentBatch`. It cannot be reset or stepped; `show` says how the episodes stand.
    """

    per_episode_seeds: ClassVar[bool] = False

    def show(self, state: DreamState, steps: int | Tensor) -> None:
        """The policy is to see this.

        Args:
            state: what the world model remembers of the N episodes.
            steps: since they began, one number or (N,).
        """
        self.state = state
        self.steps = torch.as_tensor(steps, device=self.device).expand(self.num_envs)
        self.done = torch.zeros_like(self.done)
        self._begun = True

    def _begin(self, envs: Tensor, seed: int | Sequence[int] | None, options: dict[str, Any] | None) -> NoReturn:
        raise RuntimeError("these episodes are played elsewhere: they cannot be reset here")

    def _advance(self, buttons: Tensor) -> NoReturn:
        raise RuntimeError("these episodes are played elsewhere: they cannot be stepped here")
