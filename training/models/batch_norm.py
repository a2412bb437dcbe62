"""BatchNorm over the samples of all ranks.

With the statistics of each rank alone, two ranks of half the batch train another network than one rank: SIGReg asks for
a Gaussian that the projector's BatchNorm has normalised. `torch.nn.SyncBatchNorm` is for GPUs only; this is the same on
any device.

Legend: N samples of this rank, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.ranks import total


class BatchNormOverRanks(nn.BatchNorm1d):
    """`nn.BatchNorm1d` (arXiv 1502.03167) whose mean and variance in training are those of all ranks' samples."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C)."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        count = total(torch.tensor(float(len(values)), device=values.device))
        mean = total(values.sum(0)) / count
        centred = values - mean
        variance = total(centred.square().sum(0)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        return (centred * (variance + self.eps).rsqrt() * self.weight + self.bias).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm1d` does."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def normalise_over_ranks(module: nn.Module) -> None:
    """Put `BatchNormOverRanks` in the place of every `nn.BatchNorm1d` below a module; names of tensors stay."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm1d:
            replacement = BatchNormOverRanks(child.num_features, child.eps, child.momentum)
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement.train(child.training))
        else:
            normalise_over_ranks(child)
