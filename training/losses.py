"""Losses of the world model.

Legend: N samples, D state width, M random directions, K knots.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F

# of the motion of pictures: pixels that an edge is made of, how far one is looked for and in what windows (in edges), grey level that is
# no edge, and how much better a correlation must be to count e times
EDGE, FARTHEST, WINDOW, FAINT, SHARPNESS = 2, 14, (10, 20), 0.01, 0.1


def sigreg(z: Tensor, generator: torch.Generator, directions: int = 256, knots: int = 17, limit: float = 3.0) -> Tensor:
    """Sketched isotropic Gaussian regularisation (LeJEPA, arXiv 2511.08544; Epps–Pulley statistic).

    Mean over M random unit directions u of N·∫ |φ_N(t) − e^{−t²/2}|² e^{−t²/2} dt, where φ_N is the empirical
    characteristic function of z·u. Across ranks the means of cos and sin are averaged, with the same directions on all.

    Args:
        z: states (N, D).
        generator: where the directions come from; seed it alike on all ranks.
        directions: M.
        knots: points of the trapezoid rule.
        limit: end of the integral; the other half follows by symmetry.
    """
    n = z.shape[0]
    u = torch.randn(z.shape[1], directions, generator=generator, device=generator.device).to(z.device)
    projected = z.float() @ F.normalize(u, dim=0)  # N, M
    t = torch.linspace(0, limit, knots, device=z.device)
    angle = projected[..., None] * t  # N, M, K
    real, imaginary = angle.cos().mean(0), angle.sin().mean(0)
    if dist.is_initialized():
        ranks = dist.get_world_size()
        real, imaginary, n = all_reduce(real) / ranks, all_reduce(imaginary) / ranks, n * ranks
    gauss = torch.exp(-0.5 * t**2)
    error = ((real - gauss) ** 2 + imaginary**2) * gauss
    return 2 * n * torch.trapezoid(error, t, dim=-1).mean()


def two_hot(values: Tensor, support: Tensor) -> Tensor:
    """Distribution (..., R) on a sorted support (R,) whose mean is the value, clamped to the support."""
    values = values.clamp(support[0], support[-1])
    above = torch.searchsorted(support, values.contiguous()).clamp(1, len(support) - 1)
    low, high = support[above - 1], support[above]
    share = ((values - low) / (high - low)).clamp(0, 1)
    target = torch.zeros(*values.shape, len(support), device=values.device)
    target.scatter_(-1, (above - 1)[..., None], (1 - share)[..., None])
    return target.scatter_add_(-1, above[..., None], share[..., None])


def nearest_index(values: Tensor, support: Tensor) -> Tensor:
    """Index of the support's value nearest to each value."""
    return (values[..., None] - support).abs().argmin(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is set; trailing dimensions of `values` are averaged."""
    values = values.flatten(mask.ndim).mean(-1) if values.ndim > mask.ndim else values
    return (values * mask).sum() / mask.sum().clamp(min=1)


def relative_error(guess: Tensor, target: Tensor, change: Tensor, mask: Tensor, world: Tensor, worlds: int) -> Tensor:
    """Squared error in units of what "nothing changes" misses in that world: 1 − latent skill, averaged over worlds.

    In plain squared error a world in which the camera turns (defend_the_center) outweighs one in which it glides (take_cover) five
    times, and the small things that decide the latter never pay. The unit is that of the whole data: measured on the few windows of a
    batch it was now and then next to nothing, and that world's noise filled the step.

    Args:
        guess: predicted states (B, T, D).
        target: real states (B, T, D).
        change: mean squared change per world and step, (W, T) or (W, 1).
        mask: which steps count, (B, T).
        world: index of the world, (B,).
        worlds: how many there are.
    """
    error = (guess.float() - target).square().mean(-1) / change[world] * mask
    per_world = torch.zeros(2, worlds, device=guess.device).index_add(1, world, torch.stack([error.sum(1), mask.sum(1)]))
    present = per_world[1] > 0
    return (per_world[0][present] / per_world[1][present]).sum() / present.sum().clamp(min=1)


def effective_rank(z: Tensor) -> float:
    """Exponential of the entropy of the covariance's normalised spectrum (Roy & Vetterli 2007)."""
    spectrum = torch.linalg.eigvalsh(torch.cov(z.flatten(0, -2).T.double())).clamp(min=1e-12)
    share = spectrum / spectrum.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def shift_profile(before: Tensor, after: Tensor) -> Tensor:
    """Where each part of a picture went sideways: log-probabilities (N, R, S) over S shifts, for the R windows of pictures (N, 3, H, W).

    A softmax over normalised cross-correlations of edges. What the edges are made of does not matter, only whether they move.
    """
    edges = [F.avg_pool2d(picture.mean(1, keepdim=True), EDGE).diff(dim=-1)[:, 0] for picture in (before, after)]
    width = edges[0].shape[-1]
    here, there = edges[0][:, None], F.pad(edges[1], (FARTHEST, FARTHEST)).unfold(-1, width, 1).transpose(1, 2)  # N, S, H, W

    def windows(product: Tensor) -> Tensor:
        return F.avg_pool2d(product, WINDOW, ceil_mode=True).flatten(2)

    energy = (windows(here.square()) + FAINT**2) * (windows(there.square()) + FAINT**2)
    return (windows(here * there) / energy.sqrt() / SHARPNESS).log_softmax(1).transpose(1, 2)


def motion_mismatch(before: Tensor, after: Tensor, real_before: Tensor, real_after: Tensor) -> Tensor:
    """How differently pictures (N, 3, H, W) in a row move from the real ones: mean Kullback–Leibler divergence of their shifts."""
    with torch.no_grad():
        real = shift_profile(real_before, real_after)
    return F.kl_div(shift_profile(before, after), real, log_target=True, reduction="none").sum(-1).mean()
