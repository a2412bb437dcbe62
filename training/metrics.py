"""Figures that are computed from numbers alone: no model, no data, no files.

Legend: N samples, D, F and K widths.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve (Mann–Whitney, average ranks); NaN when a class is absent."""
    _, inverse, counts = torch.unique(scores.cpu().double(), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2.0)[inverse]
    positive = labels.cpu().bool()
    positives = positive.sum()
    negatives = (~positive).sum()
    if not positives or not negatives:
        return float("nan")
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def r2(predicted: Tensor, true: Tensor) -> float:
    """Share of the variance explained, pooled over columns; both (N, K). NaN when nothing varies."""
    error = (predicted - true).square().sum()
    variance = (true - true.mean(0)).square().sum()
    return float(1 - error / variance) if variance else float("nan")


def skill(predicted: Tensor, real: Tensor, last_real: Tensor) -> float:
    """Latent skill 1 − |ẑ − z|² / |z₀ − z|²: 1 is perfect, 0 as good as saying that nothing changes.

    Args:
        predicted: ẑ, states (N, D).
        real: z, what they should have been.
        last_real: z₀, what was known when they were predicted.
    """
    return float(1 - (predicted - real).square().mean() / (last_real - real).square().mean())


def effective_rank(z: Tensor) -> float:
    """Exponential of the entropy of the covariance's normalised spectrum (Roy & Vetterli 2007); z (..., D)."""
    spectrum = torch.linalg.eigvalsh(torch.cov(z.flatten(0, -2).T.double())).clamp(min=1e-12)
    share = spectrum / spectrum.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def psnr(error: Tensor) -> float:
    """Peak signal-to-noise ratio (dB) of a mean squared error in units of the full scale."""
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


def correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Pearson's correlation of two samples (N,); NaN when one does not vary."""
    one = np.asarray(a)
    two = np.asarray(b)
    if min(one.std(), two.std()) <= 1e-6:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Rank correlation of two samples (N,)."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def ks(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sample Kolmogorov–Smirnov statistic: the largest gap between the distribution functions of two samples."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(a, b).statistic)


def mmrv(dream: npt.ArrayLike, real: npt.ArrayLike) -> float:
    """Mean maximum rank violation (SIMPLER, arXiv 2405.05941), as a share of the range of real means.

    Mean over policies i of the largest |real_i − real_j| among policies j whose order with i the dream has wrong.

    Args:
        dream: mean return of each policy in the dream, (N,).
        real: the same in the real game.
    """
    dreamed = np.asarray(dream)
    played = np.asarray(real)
    wrong = (dreamed[:, None] < dreamed) != (played[:, None] < played)
    gaps = np.abs(played[:, None] - played)
    return float((gaps * wrong).max(1).mean() / max(np.ptp(played), 1e-9))


def frechet(one: Floats, two: Floats) -> float:
    """Fréchet distance of two sets of features (N, F), as Gaussians (arXiv 1706.08500)."""
    first = np.cov(one.T)
    second = np.cov(two.T)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    between = np.square(one.mean(0) - two.mean(0)).sum()
    return float(between + np.trace(first) + np.trace(second) - 2 * shared)


def event_f1(foretold: Mapping[int, int], happened: Mapping[int, int], slack: int = 1) -> float:
    """F1 of foretold events, each of which may stand for one that happened at most `slack` steps away.

    Args:
        foretold: step → what was foretold.
        happened: step → what happened.
        slack: steps.

    Returns:
        2·hits / (foretold + happened); NaN when there is neither.
    """
    waiting = dict(foretold)
    left = dict(happened)
    for offset in sorted(range(-slack, slack + 1), key=abs):  # the nearest first
        for step, what in list(waiting.items()):
            if left.get(step + offset) == what:
                del left[step + offset], waiting[step]
    total = len(foretold) + len(happened)
    return 2 * (len(foretold) - len(waiting)) / total if total else float("nan")
