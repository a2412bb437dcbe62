"""How pictures look to a network that was trained on photographs: a distance, a loss, and features for a critic.

LPIPS (arXiv 1801.03924) where torchvision's AlexNet has been downloaded, else shift-tolerant LPIPS (arXiv 2207.13686), whose package
carries its trunk. Nothing is downloaded.

Legend: N pictures, H, W their size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

Distance = Callable[[Tensor, Tensor], float]


def network() -> tuple[str, nn.Module] | None:
    """The perceptual network that is on this machine and its name with its trunk, frozen; None, with a word on the screen, if none is."""
    found: nn.Module
    try:
        import lpips
        from torchvision.models import AlexNet_Weights

        if not (Path(torch.hub.get_dir()) / "checkpoints" / AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]).is_file():
            raise ImportError("AlexNet is not here")
        name, found = "LPIPS, AlexNet of torchvision", lpips.LPIPS(net="alex", verbose=False)
    except ImportError:
        try:
            from stlpips_pytorch import stlpips
        except ImportError as error:
            print(f"perceptual distance left out ({error}): pip install ipython stlpips-pytorch torchsummary to have it")
            return None
        name = "shift-tolerant LPIPS, AlexNet of stlpips-pytorch"
        found = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    return name, found.eval().requires_grad_(False)


def perceptual_distance() -> tuple[str, Distance] | None:
    """The name of the network, and the mean distance over pairs of uint8 (N, 120, 160, 3)."""
    found = network()
    if found is None:
        return None
    name, judge = found

    @torch.inference_mode()
    def distance(real: Tensor, decoded: Tensor) -> float:
        pairs = zip(real.split(32), decoded.split(32), strict=True)
        scaled = [[picture.permute(0, 3, 1, 2).float() / 127.5 - 1 for picture in pair] for pair in pairs]
        return float(torch.cat([judge(*pair).flatten() for pair in scaled]).mean())

    return name, distance


def feature_maps(judge: nn.Module, pictures: Tensor) -> list[Tensor]:
    """Maps of the trunk's five levels for pictures (N, 3, H, W) in 0…1."""
    return list(judge.net(judge.scaling_layer(2 * pictures - 1)))  # type: ignore[operator]


def crops(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The same random square of each of some pictures (N, C, H, W): (N, C, size, size)."""
    top, left = (int(torch.randint(edge - size + 1, (), generator=generator)) for edge in pictures.shape[-2:])
    return pictures[..., top : top + size, left : left + size]


def magnified(pictures: Tensor, times: int) -> Tensor:
    """Pictures (N, C, H, W) with every pixel as a square: (N, C, times·H, times·W).

    The trunks were made for photographs, and their first layer steps over four pixels at a time. Measured: at its own size a decoder's
    lattice of dots passes for a wall (a critic is right in 52 % of places after 500 steps); twice as large it does not (65 % after 80).
    """
    return F.interpolate(pictures, scale_factor=times, mode="nearest")


class Critic(nn.Module):
    """Tells real pictures from decoded ones by frozen features of a perceptual network, place by place.

    As in RAE (arXiv 2510.11690): spectral norm, pictures changed at random before it looks (DiffAugment, arXiv 2006.10738), hinge losses.
    """

    LEVELS, WIDTH = (1, 2, 4), 64

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(channels[level], self.WIDTH, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(self.WIDTH, 1, 1)),
            )
            for level in self.LEVELS
        )

    def forward(self, judge: nn.Module, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """Verdicts on pictures (N, 3, H, W) in 0…1, over all levels and places in one vector; above 0: real."""
        maps = feature_maps(judge, augmented(pictures, generator))
        return torch.cat([head(maps[level]).flatten() for level, head in zip(self.LEVELS, self.heads, strict=True)])


def augmented(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """DiffAugment of pictures (N, 3, H, W): colours, a shift of up to an eighth, a square cut out. Differentiable."""
    n, _, height, width = pictures.shape

    def dice(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(pictures.device)

    x = pictures + 0.4 * (dice(n, 1, 1, 1) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * dice(n, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (0.5 + dice(n, 1, 1, 1))
    down, across = torch.arange(height, device=x.device)[None, :, None], torch.arange(width, device=x.device)[None, None, :]
    shift_y, shift_x = (((dice(n, 1, 1) - 0.5) * edge / 4).round().long() for edge in (height, width))
    rows, columns = down + shift_y, across + shift_x
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    at = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)  # N, H, W
    x = x.flatten(2).gather(2, at.flatten(1)[:, None].expand(-1, 3, -1)).view_as(x)
    centre_y, centre_x = dice(n, 1, 1) * height, dice(n, 1, 1) * width
    hole = ((down - centre_y).abs() < height / 4) & ((across - centre_x).abs() < width / 4)
    return x * (inside & ~hole)[:, None]


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss on verdicts."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
