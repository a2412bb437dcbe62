"""Linear probes: what can be read off the features at a glance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve (Mann–Whitney, average ranks); NaN when a class is absent."""
    _, inverse, counts = torch.unique(scores.cpu().double(), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2.0)[inverse]
    positive = labels.cpu().bool()
    n, p = (~positive).sum(), positive.sum()
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n)) if p and n else float("nan")


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, sd = train.mean(0), train.std(0).clamp(min=1e-4)
    return (train - mean) / sd, (test - mean) / sd


def probe_auc(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    """Test AUC of a logistic probe fitted by L-BFGS with a small ridge; x (N, F), y (N,) 0/1."""
    x, held_out = _standardised(train_x.float(), test_x.float())
    weight = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.binary_cross_entropy_with_logits(x @ weight[:-1] + weight[-1], train_y.float()) + 1e-3 * weight[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    return auc((held_out @ weight.detach()[:-1]), test_y)


def probe_r2(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, ridge: float = 1e-2) -> float:
    """Test R² of a ridge regression; x (N, F), y (N,)."""
    x, held_out = _standardised(train_x.double(), test_x.double())
    mean = train_y.double().mean()
    gram = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, x.T @ (train_y.double() - mean) / len(x))
    error = (held_out @ weight + mean - test_y.double()).square().mean()
    return float(1 - error / test_y.double().var(unbiased=False))
