"""State to picture: a small ViT that mirrors the encoder's readout. Nothing but the state goes in.

Legend: N states, P patches, W decoder width, D state width.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.config import WorldModelConfig

CELL = 4  # pixels, as in the encoder's stem
CELL_WIDTH = 24


class Decoder(nn.Module):
    """z → RGB. Each patch gets its own view of z, patches talk in a few blocks, pixels come out by two PixelShuffles.

    Measured: with one linear map from a token to its 20x20 pixels the patches are still of one colour after 160k frames.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width, (self.rows, self.columns), self.patch = config.decoder_width, config.grid, config.patch
        patches, code = self.rows * self.columns, config.readout_width * 2
        self.spread = nn.Linear(config.state_width, patches * code)
        self.token_in = nn.Linear(code, width)
        self.state_in = nn.Linear(config.state_width, width)
        self.position = nn.Parameter(torch.randn(patches, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, config.decoder_heads, mlp_ratio=4, qkv_bias=True) for _ in range(config.decoder_depth))
        self.norm = nn.LayerNorm(width)
        self.cells = nn.Linear(width, CELL_WIDTH * (self.patch // CELL) ** 2)
        self.refine = nn.Conv2d(CELL_WIDTH, CELL_WIDTH * 2, 3, padding=1)
        self.pixels = nn.Conv2d(CELL_WIDTH * 2, 3 * CELL**2, 1)

    def forward(self, z: Tensor) -> Tensor:
        """States (N, D) → RGB in 0…1, (N, 3, 120, 160)."""
        n = len(z)
        x = self.token_in(F.gelu(self.spread(z)).reshape(n, self.rows * self.columns, -1))
        x = x + self.position + self.state_in(z)[:, None]
        for block in self.blocks:
            x = block(x)
        x = self.cells(self.norm(x)).transpose(1, 2).reshape(n, -1, self.rows, self.columns)
        x = F.gelu(F.pixel_shuffle(x, self.patch // CELL))  # N, CELL_WIDTH, 30, 40
        x = self.pixels(F.gelu(self.refine(x)))
        return F.pixel_shuffle(x, CELL).float().add(0.5)
