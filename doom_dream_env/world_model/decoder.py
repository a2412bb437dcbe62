"""State to picture: convolutions over cells that each get their own view of the state. Nothing but the state goes in.

Legend: N states, P cells (as many as the encoder's patches), W decoder width, D state width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.config import WorldModelConfig

CELL = 4  # pixels, as in the encoder's stem
CELL_WIDTH = 32  # channels of a cell
FINE_WIDTH = 16  # channels of the 2x2 pixels that a cell is cut into
NORM_GROUPS = 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    The state scales and shifts what is between them (FiLM, arXiv 1709.07871), if its width is given: a cell can so ask
    the state more than its own view has said.
    """

    def __init__(self, width: int, state: int | None = None) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = None if state is None else nn.Linear(state, 2 * width)
        nn.init.zeros_(self.outer.weight)
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Maps (N, W, rows, columns) and states (N, D) → maps."""
        inner = self.inner(F.gelu(self.norm(x)))
        if self.modulation is not None:
            scale, shift = self.modulation(z)[..., None, None].chunk(2, 1)
            inner = torch.addcmul(shift, inner, 1 + scale)
        return x + self.outer(F.gelu(inner))


class Decoder(nn.Module):
    """z → RGB. Each cell of 20x20 pixels gets its own view of z, cells talk, and three PixelShuffles make them finer.

    What was measured:

    * With one linear map from a token to its 20x20 pixels, the cells are still of one colour after 160,000 frames.
    * With one linear map from the state to the views, the loss is a twentieth higher after 12,000 steps: the encoder's
      projector has a hidden layer, which has to be undone.
    * Convolutions show more fireballs than a transformer of twice the arithmetic (recall .59 for .48, take_cover): what
      stands on the border of two cells is one thing to them.
    * Cells of 4x4 pixels shuffled straight into pixels leave a pattern of dots on flat walls: hence the convolution
      between.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.rows, self.columns = config.grid
        self.patch = config.patch
        width = config.decoder_width
        state = config.state_width
        hidden = 4 * state
        view = 2 * config.readout_width  # channels of a cell's own view of the state
        self.spread = nn.Sequential(
            nn.Linear(state, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, self.rows * self.columns * view),
            nn.GELU(),
        )
        self.cell_in = nn.Conv2d(view, width, 1)
        self.position = nn.Parameter(torch.randn(width, self.rows, self.columns) * 0.02)
        self.blocks = nn.ModuleList(ResidualBlock(width, state) for _ in range(config.decoder_depth))
        self.cells = nn.Conv2d(width, CELL_WIDTH * (self.patch // CELL) ** 2, 1)
        self.refine = ResidualBlock(CELL_WIDTH)
        self.fine_in = nn.Conv2d(CELL_WIDTH, 4 * FINE_WIDTH, 1)
        self.finer = nn.Conv2d(FINE_WIDTH, FINE_WIDTH, 3, padding=1)
        self.pixels = nn.Conv2d(FINE_WIDTH, 3 * 4, 1)

    def forward(self, z: Tensor) -> Tensor:
        """States (N, D) → RGB in 0…1, (N, 3, 120, 160)."""
        return self.paint(self.place(z), z)

    def place(self, z: Tensor) -> Tensor:
        """What each cell shows: states (N, D) → maps (N, W, rows, columns)."""
        shape = (z.shape[0], self.rows, self.columns, -1)
        x = self.cell_in(self.spread(z).view(shape).permute(0, 3, 1, 2)) + self.position  # channels last in memory
        for block in cast("Iterable[ResidualBlock]", self.blocks):
            x = block(x, z)
        return F.gelu(x)

    def paint(self, x: Tensor, z: Tensor) -> Tensor:
        """Maps (N, W, rows, columns) of states (N, D) → RGB in 0…1, (N, 3, 120, 160)."""
        x = F.pixel_shuffle(self.cells(x), self.patch // CELL)  # N, CELL_WIDTH, 30, 40
        x = F.gelu(self.refine(x, z))
        x = F.gelu(F.pixel_shuffle(self.fine_in(x), 2))  # N, FINE_WIDTH, 60, 80
        x = self.pixels(F.gelu(self.finer(x)))
        return F.pixel_shuffle(x, 2).float().add(0.5)
