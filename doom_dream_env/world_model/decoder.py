"""State to picture: a small ViT that mirrors the encoder's readout. Nothing but the state goes in.

Legend: N states, P patches, W decoder width, D state width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.config import WorldModelConfig

CELL = 4  # pixels, as in the encoder's stem
CELL_WIDTH = 48  # channels of a cell
FINE_WIDTH = 32  # channels of the 2x2 pixels that a cell is cut into


class AdaBlock(nn.Module):
    """Transformer block whose norms are scaled, shifted and gated by the state (AdaLN, arXiv 2212.09748)."""

    def __init__(self, width: int, heads: int, state: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads, qkv_bias=True)
        self.mlp = Mlp(width, 4 * width)
        self.modulation = nn.Linear(state, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Tokens (N, P, W) and states (N, D) → tokens."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(z)[:, None].chunk(6, -1)
        x = x + (1 + gate1) * self.attention(torch.addcmul(shift1, self.norm1(x), 1 + scale1))
        return x + (1 + gate2) * self.mlp(torch.addcmul(shift2, self.norm2(x), 1 + scale2))


class Decoder(nn.Module):
    """z → RGB. Each patch gets its own view of z, patches talk in a few blocks, pixels come out by three PixelShuffles.

    What was measured:

    * With one linear map from a token to its 20x20 pixels, the patches are still of one colour after 160,000 frames.
    * With one linear map from the state to the tokens, the loss is a twentieth higher after 12,000 steps: the encoder's
      projector has a hidden layer, which has to be undone.
    * Cells shuffled straight into their 4x4 pixels leave a pattern of dots on flat walls: hence the convolution
      between.
    * With half the channels in cells and pixels, 0.4 dB are lost in a scenario of bricks; three more blocks, or sines
      of the state, gain nothing.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.rows, self.columns = config.grid
        self.patch = config.patch
        width = config.decoder_width
        state = config.state_width
        hidden = 4 * state
        patches = self.rows * self.columns
        view = 2 * config.readout_width  # channels of a patch's own view of the state
        self.spread = nn.Sequential(
            nn.Linear(state, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, patches * view),
            nn.GELU(),
        )
        self.token_in = nn.Linear(view, width)
        self.position = nn.Parameter(torch.randn(patches, width) * 0.02)
        self.blocks = nn.ModuleList(AdaBlock(width, config.decoder_heads, state) for _ in range(config.decoder_depth))
        self.norm = nn.LayerNorm(width)
        self.cells = nn.Linear(width, CELL_WIDTH * (self.patch // CELL) ** 2)
        self.refine = nn.Conv2d(CELL_WIDTH, 4 * FINE_WIDTH, 3, padding=1)
        self.finer = nn.Conv2d(FINE_WIDTH, FINE_WIDTH, 3, padding=1)
        self.pixels = nn.Conv2d(FINE_WIDTH, 3 * 4, 1)

    def forward(self, z: Tensor) -> Tensor:
        """States (N, D) → RGB in 0…1, (N, 3, 120, 160)."""
        n = z.shape[0]
        x = self.token_in(self.spread(z).reshape(n, self.rows * self.columns, -1)) + self.position
        for block in cast("Iterable[AdaBlock]", self.blocks):
            x = block(x, z)
        x = self.cells(self.norm(x)).transpose(1, 2).reshape(n, -1, self.rows, self.columns)
        x = F.gelu(F.pixel_shuffle(x, self.patch // CELL))  # N, CELL_WIDTH, 30, 40
        x = F.gelu(F.pixel_shuffle(self.refine(x), 2))  # N, FINE_WIDTH, 60, 80
        x = self.pixels(F.gelu(self.finer(x)))
        return F.pixel_shuffle(x, 2).float().add(0.5)
