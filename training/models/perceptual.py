"""How pictures look to a network that was trained on photographs: a distance, a loss.

Legend: N pictures, H, W their size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

Distance = Callable[[Tensor, Tensor], float]

LEVELS = 5  # of AlexNet, at which both networks compare features
AT_ONCE = 32  # pairs of pictures whose distance is taken in one batch


def perceptual_network() -> tuple[str, nn.Module] | None:
    """The perceptual network that is installed, frozen, and its name with that of its trunk.

    The usual network is LPIPS (arXiv 1801.03924). Its AlexNet is a separate download of torchvision; nothing is
    downloaded here, so LPIPS is taken only where that file lies in torch's cache already. Otherwise the network is
    shift-tolerant LPIPS (arXiv 2207.13686), whose package carries its own AlexNet. Distances of the two are not
    comparable, which is why every report names the network.

    Returns:
        name and network, or None, with a word on the screen, if neither package is installed.
    """
    found = _lpips() or _shift_tolerant_lpips()
    if found is None:
        print(
            "perceptual distance left out: no network is installed; "
            "pip install ipython stlpips-pytorch torchsummary to have it"
        )
        return None
    name, network = found
    return name, network.eval().requires_grad_(False)


def _lpips() -> tuple[str, nn.Module] | None:
    try:
        import lpips
        from torchvision.models import AlexNet_Weights
    except ImportError:
        return None
    file = AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    if not (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file():
        return None
    return "LPIPS, AlexNet of torchvision", lpips.LPIPS(net="alex", verbose=False)


def _shift_tolerant_lpips() -> tuple[str, nn.Module] | None:
    try:
        from stlpips_pytorch import stlpips
    except ImportError:
        return None
    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    return "shift-tolerant LPIPS, AlexNet of stlpips-pytorch", network


def perceptual_distance() -> tuple[str, Distance] | None:
    """The name of the network, and the mean distance over pairs of pictures, uint8 (N, 120, 160, 3) each."""
    found = perceptual_network()
    if found is None:
        return None
    name, network = found

    def scaled(pictures: Tensor) -> Tensor:
        return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1

    @torch.inference_mode()
    def distance(real: Tensor, decoded: Tensor) -> float:
        pairs = zip(real.split(AT_ONCE), decoded.split(AT_ONCE), strict=True)
        return float(torch.cat([network(scaled(a), scaled(b)).flatten() for a, b in pairs]).mean())

    return name, distance


def feature_maps(network: nn.Module, pictures: Tensor) -> list[Tensor]:
    """Maps of the network's `LEVELS` levels for pictures (N, 3, H, W) in 0…1."""
    return list(network.net(network.scaling_layer(2 * pictures - 1)))  # type: ignore[operator]


def crops(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random square of pictures (N, C, H, W), the same of each: (N, C, size, size)."""
    height, width = pictures.shape[-2:]
    top = int(torch.randint(height - size + 1, (), generator=generator))
    left = int(torch.randint(width - size + 1, (), generator=generator))
    return pictures[..., top : top + size, left : left + size]
