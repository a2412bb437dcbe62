"""Linear probes: what can be read off the features at a glance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve (Mann–Whitney, average ranks); NaN when a class is absent."""
    _, inverse, counts = torch.unique(scores.cpu().double(), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2.0)[inverse]
    positive = labels.cpu().bool()
    n, p = (~positive).sum(), positive.sum()
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n)) if p and n else float("nan")


def r2(predicted: Tensor, true: Tensor) -> float:
    """Share of the variance explained, pooled over columns; both (N, K). NaN when nothing varies."""
    error, variance = (predicted - true).square().sum(), (true - true.mean(0)).square().sum()
    return float(1 - error / variance) if variance else float("nan")


@dataclass(frozen=True)
class LinearProbe:
    """A linear map of standardised features: x (N, F) → ((x − mean) / sd) · weight (F, K) + bias (K,)."""

    mean: Tensor
    sd: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Read x (N, F); returns (N, K)."""
        return ((x.double() - self.mean) / self.sd) @ self.weight + self.bias


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.std(0).clamp(min=1e-4)


def _ridge(x: Tensor, y: Tensor, strength: float) -> LinearProbe:
    mean, sd = _moments(x)
    scaled, bias = (x - mean) / sd, y.mean(0)
    gram = scaled.T @ scaled / len(x) + strength * torch.eye(x.shape[1], dtype=torch.float64)
    return LinearProbe(mean, sd, torch.linalg.solve(gram, scaled.T @ (y - bias) / len(x)), bias)


def fit_ridge(x: Tensor, y: Tensor) -> LinearProbe:
    """Ridge regression of y (N, K) on x (N, F); the strength is the one of `RIDGES` that does best on the last fifth of the rows."""
    x, y, kept = x.double(), y.double(), len(x) * 4 // 5
    held_out = {strength: r2(_ridge(x[:kept], y[:kept], strength)(x[kept:]), y[kept:]) for strength in RIDGES}
    return _ridge(x, y, max(RIDGES, key=lambda strength: held_out[strength]))


def fit_logistic(x: Tensor, y: Tensor, ridge: float = 1e-3) -> LinearProbe:
    """Logistic regression of labels y (N, 1), 0/1, on x (N, F) by L-BFGS with a small ridge."""
    mean, sd = _moments(x.double())
    scaled, labels = ((x.double() - mean) / sd).float(), y[:, 0].float()
    weight = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.binary_cross_entropy_with_logits(scaled @ weight[:-1] + weight[-1], labels) + ridge * weight[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    found = weight.detach().double()
    return LinearProbe(mean, sd, found[:-1, None], found[-1:])
