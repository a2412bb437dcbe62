"""Frame to state: a timm Vision Transformer, a readout of all patches, a BatchNorm projector.

Legend: N frames, P patches, W encoder width, D state width.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import FRAME_SHAPE
from doom_dream_env.world_model.config import WorldModelConfig


class Stem(nn.Module):
    """Patch embedding in two steps, 4x4 pixels and then the rest of the patch, with a GELU between.

    One linear map of a 20x20 patch cannot tell a fireball of four pixels from a brick; two can, for less arithmetic.
    It has the interface of timm's `embed_layer`.
    """

    CELL = 4

    def __init__(
        self,
        img_size: tuple[int, int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        stem_width: int,
        **_: Any,  # timm passes more than is needed here
    ) -> None:
        super().__init__()
        self.grid_size = (img_size[0] // patch_size, img_size[1] // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.patch_size = (patch_size, patch_size)
        self.cells = patch_size // self.CELL
        self.inner = nn.Linear(self.CELL**2 * in_chans, stem_width)
        self.outer = nn.Linear(self.cells**2 * stem_width, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, 120, 160), uint8 → tokens (N, P, W).

        They become numbers of −1 to 1 after they are put in order: moving bytes costs a quarter of moving floats.
        """
        n = len(x)
        rows, columns = self.grid_size
        x = x.reshape(n, -1, rows, self.cells, self.CELL, columns, self.cells, self.CELL)
        x = x.permute(0, 2, 5, 3, 6, 4, 7, 1).reshape(n, self.num_patches, self.cells**2, -1)  # N, P, cells, 48
        scaled = x.to(torch.float32).div_(127.5).sub_(1.0)
        return self.outer(F.gelu(self.inner(scaled)).flatten(2))


class Encoder(nn.Module):
    """Frames to states that SIGReg keeps an isotropic Gaussian (LeWorldModel, arXiv 2603.19312).

    [CLS] alone forgets where small things are, so a few channels of every patch are read out with it. The
    projector needs BatchNorm: a last LayerNorm would block SIGReg.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.encoder_width
        patches = config.grid[0] * config.grid[1]

        def embed(**kwargs: Any) -> Stem:
            return Stem(stem_width=config.stem_width, **kwargs)

        self.vit = VisionTransformer(
            img_size=FRAME_SHAPE[:2],
            patch_size=config.patch,
            embed_dim=width,
            depth=config.encoder_depth,
            num_heads=config.encoder_heads,
            num_classes=0,
            global_pool="token",
            embed_layer=embed,
        )
        self.readout = nn.Linear(width, config.readout_width)
        self.projector = nn.Sequential(
            nn.Linear(width + patches * config.readout_width, config.projector_width),
            nn.BatchNorm1d(config.projector_width),
            nn.GELU(),
            nn.Linear(config.projector_width, config.state_width),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, 120, 160, 3) → states (N, D), float32."""
        tokens = self.vit.forward_features(frames.permute(0, 3, 1, 2))  # N, 1 + P, W
        patches = self.readout(tokens[:, 1:]).flatten(1)
        return self.projector(torch.cat([tokens[:, 0], patches], 1)).float()
