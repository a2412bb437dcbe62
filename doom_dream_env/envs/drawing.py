"""Pictures of dreams as a person is shown them: each is drawn given the one before.

Legend: N dreams, D state width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.decoder import UNKNOWN


class Drawing:
    """Remembers what was drawn last, so that a monster stays that monster in the next picture.

    Its chance is its own: a dream that somebody looks at goes on as one that nobody looks at.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.generator = torch.Generator(model.device)
        self._last: tuple[Tensor, Tensor, Tensor] | None = None  # states, their codes and pictures

    def begin(self, seed: int | None = None) -> None:
        """Forget the last picture; the same seed and dreams give the same pictures."""
        self._last = None
        if seed is not None:
            self.generator.manual_seed(seed)

    def draw(self, z: Tensor, action: Tensor | None = None, follows: Tensor | None = None) -> Tensor:
        """Pictures uint8 (N, 120, 160, 3) of states (N, D); those of the last ones stay as they are.

        Args:
            z: the states.
            action: buttons that were pressed since the last picture, (N, 9); None: none.
            follows: which of them follow the last picture, bool (N,); None: all.
        """
        codes = None
        if self._last is not None:
            last, codes, picture = self._last
            if torch.equal(z, last):
                return picture.clone()
            if follows is not None:
                codes = torch.where(follows[:, None, None], codes, UNKNOWN)
        picture, codes = self.model.draw(z, codes, action, self.generator)
        self._last = (z.clone(), codes, picture)
        return picture.clone()
