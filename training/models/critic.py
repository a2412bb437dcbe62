"""A critic that tells real pictures from decoded ones by the features of a frozen perceptual network.

As in RAE (arXiv 2510.11690): spectral norm, pictures changed at random before the critic sees them (DiffAugment,
arXiv 2006.10738), hinge losses.

Legend: N pictures, H, W their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training.models.perceptual import feature_maps
from training.ranks import SampleGenerator

LEVELS = (1, 2, 4)  # those of the network's five levels that the critic sees
WIDTH = 64


class Critic(nn.Module):
    """One small head per level, which scores every place of the picture."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Make a critic for a network whose levels have `channels` channels."""
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(channels[level], WIDTH, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(WIDTH, 1, 1)),
            )
            for level in LEVELS
        )

    def forward(self, network: nn.Module, pictures: Tensor, generator: SampleGenerator) -> Tensor:
        """Scores of pictures (N, 3, H, W) in 0…1, over all levels and places in one vector; above 0: real."""
        maps = feature_maps(network, augmented(pictures, generator))
        return torch.cat([head(maps[level]).flatten() for level, head in zip(LEVELS, self.heads, strict=True)])


def hinge(real: Tensor, decoded: Tensor) -> Tensor:
    """The critic's loss on its scores of real and of decoded pictures."""
    return F.relu(1 - real).mean() + F.relu(1 + decoded).mean()


def augmented(pictures: Tensor, generator: SampleGenerator) -> Tensor:
    """DiffAugment of pictures (N, 3, H, W): other colours, a shift, a square cut out. Differentiable."""
    colours = _recoloured(pictures, generator)
    moved = _shifted(colours, generator)
    return moved * ~_hole(moved, generator)[:, None]


def _uniform(*shape: int, like: Tensor, generator: SampleGenerator) -> Tensor:
    """Numbers for each picture, (N, *shape)."""
    return generator.uniform(*shape).to(like.device)


def _recoloured(pictures: Tensor, generator: SampleGenerator) -> Tensor:
    """Brightness, then saturation, then contrast, each changed by a random amount per picture."""
    x = pictures + 0.4 * (_uniform(1, 1, 1, like=pictures, generator=generator) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * _uniform(1, 1, 1, like=pictures, generator=generator)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + _uniform(1, 1, 1, like=pictures, generator=generator))


def _places(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Index of every row (1, H, 1) and of every column (1, 1, W)."""
    height, width = pictures.shape[-2:]
    rows = torch.arange(height, device=pictures.device)[None, :, None]
    columns = torch.arange(width, device=pictures.device)[None, None, :]
    return rows, columns


def _shifted(pictures: Tensor, generator: SampleGenerator) -> Tensor:
    """Each picture moved by up to an eighth of its size; what comes in from outside is black."""
    *_, height, width = pictures.shape
    rows, columns = _places(pictures)
    down = (_uniform(1, 1, like=pictures, generator=generator) - 0.5) * height / 4
    right = (_uniform(1, 1, like=pictures, generator=generator) - 0.5) * width / 4
    rows = rows + down.round().long()
    columns = columns + right.round().long()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)  # N, H, W
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)  # N, H, W
    moved = pictures.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, 3, -1)).view_as(pictures)
    return moved * inside[:, None]


def _hole(pictures: Tensor, generator: SampleGenerator) -> Tensor:
    """A rectangle of half the height and width around a random point of each picture, as a mask (N, H, W)."""
    *_, height, width = pictures.shape
    rows, columns = _places(pictures)
    centre_row = _uniform(1, 1, like=pictures, generator=generator) * height
    centre_column = _uniform(1, 1, like=pictures, generator=generator) * width
    return ((rows - centre_row).abs() < height / 4) & ((columns - centre_column).abs() < width / 4)
