"""Ranks that train together as one: who computes what of a step, sums over all of them, and the same random numbers.

A run is the same run on any number of ranks. Three things make it so:

* The samples of a step are drawn as if one process had them all, and each rank computes a part of them (`Share`).
* The loss of a rank is such that its *mean over the ranks* is the loss of the whole step. A mean over samples is their
  sum on this rank over the rank mean of their number (`mean_over_ranks`), never a mean of means: ranks have different
  numbers of valid steps. What is no sum over samples (SIGReg, BatchNorm) is made from sums over all ranks (`total`).
* Random numbers belong to the sample, not to the rank that computes it (`SampleGenerator`).

Legend: N samples of this rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from doom_dream_env.errors import UserError

BITS = 23  # of a random number: so many and one more fit into a float32 exactly
BLOCK = 4  # numbers that Philox makes of one count


# ---- parts of a step -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """The samples of a step that a rank computes.

    Attributes:
        first, stop: the first of them, and the one after the last.
        whole: samples of all ranks.
        ranks: how many ranks there are.
    """

    first: int
    stop: int
    whole: int
    ranks: int

    @classmethod
    def of(cls, whole: int, rank: int, ranks: int) -> Share:
        """The share of a rank; shares differ by one sample at most.

        Raises:
            ValueError: if there are more ranks than samples.
        """
        if whole < ranks:
            raise UserError(f"{whole} samples a step cannot be shared by {ranks} ranks: give a larger --batch")
        return cls(whole * rank // ranks, whole * (rank + 1) // ranks, whole, ranks)

    def __len__(self) -> int:
        return self.stop - self.first

    @property
    def slice(self) -> slice:
        """Of the samples of the whole step."""
        return slice(self.first, self.stop)

    @property
    def weight(self) -> float:
        """What a plain mean over this rank's samples counts in the mean over ranks."""
        return len(self) * self.ranks / self.whole

    def times(self, number: int) -> Share:
        """The same share where each sample is a group of `number` others: pairs as pictures."""
        return Share(self.first * number, self.stop * number, self.whole * number, self.ranks)

    def evenly(self, count: int) -> tuple[list[int], Share]:
        """Of `count` samples spread evenly over the whole step those that are here, and the share that they are.

        Returns:
            their indices among this rank's samples, and their share of the `count`.

        Raises:
            ValueError: if there is none.
        """
        count = min(count, self.whole)
        chosen = [sample * self.whole // count for sample in range(count)]
        before = sum(sample < self.first for sample in chosen)
        here = [sample - self.first for sample in chosen if self.first <= sample < self.stop]
        if not here:
            raise UserError(
                f"{count} pictures a step cannot be shared by {self.ranks} ranks: give more, or a larger batch"
            )
        return here, Share(before, before + len(here), count, self.ranks)


# ---- sums over ranks -------------------------------------------------------------------------------------------------


def ranks() -> int:
    """How many ranks train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this one among them."""
    return dist.get_rank() if dist.is_initialized() else 0


def leave() -> None:
    """Say goodbye to the other ranks, when all work is done."""
    if dist.is_initialized():
        dist.destroy_process_group()


def together() -> bool:
    """Do several ranks train together?"""
    return ranks() > 1


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over the ranks.

    Raises:
        ConnectionError: if a rank has ended.
    """
    _reach(lambda: dist.all_reduce(tensor))


def _reach(collective: Callable[[], object]) -> None:
    """Do something with all ranks."""
    try:
        collective()
    except RuntimeError as error:
        raise ConnectionError(
            "another rank has ended, and this one ends with it; the last checkpoint is intact: give the same command "
            f"again, with as many ranks as there are ({str(error).splitlines()[0]})"
        ) from error


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.contiguous().clone()
        add_up(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous().clone()
        add_up(summed)
        return summed


def total(tensor: Tensor) -> Tensor:
    """Sum over the ranks. Its gradient is the sum of all ranks' gradients: the losses of all depend on it."""
    return _Total.apply(tensor) if together() else tensor  # type: ignore[no-untyped-call]


@torch.no_grad()
def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Mean over the ranks, without gradients."""
    if not together():
        return tensor
    summed = tensor.float().clone()
    add_up(summed)
    return summed / ranks()


def from_rank(tensor: Tensor, rank: int) -> Tensor:
    """One rank's tensor, on all of them; the others give one of its shape and kind.

    Raises:
        ConnectionError: if a rank has ended.
    """
    _reach(lambda: dist.broadcast(tensor, rank))
    return tensor


def same_everywhere(value: int, what: str) -> None:
    """Check that all ranks have the same number.

    Raises:
        ValueError: if they have not; the message says what it is.
    """
    if not together():
        return
    values: list[Any] = [None] * ranks()
    _reach(lambda: dist.all_gather_object(values, value))
    if len(set(values)) > 1:
        raise UserError(f"the ranks disagree on {what}: {values}; all of them must see the same folders")


# ---- random numbers --------------------------------------------------------------------------------------------------


class SampleGenerator:
    """Random numbers of the samples of a step, which do not depend on who computes the sample.

    Philox (Salmon et al. 2011) makes its numbers from a key and a count, so each sample has counts of its own, and a
    rank begins at those of its first sample. Nothing is drawn for the samples of others.

    Attributes:
        shared: a generator of the CPU for what is the same for all samples; all ranks must draw the same from it.
    """

    def __init__(self, share: Share, *seed: int) -> None:
        """Make the generator of a rank's share of a step; the seed may be several numbers."""
        one, other, shared = np.random.SeedSequence(seed).generate_state(3, np.uint64)
        self.share = share
        self.shared = torch.Generator().manual_seed(int(shared) % 2**63)
        self._key = np.array([one, other])
        self._used = 0  # counts

    @classmethod
    def alone(cls, samples: int, *seed: int) -> SampleGenerator:
        """The generator of one process that computes all samples."""
        return cls(Share(0, samples, samples, 1), *seed)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers between 0 and 1, never either of them, float32 (N, *shape)."""
        each = -(-int(np.prod(shape)) // BLOCK)
        philox = np.random.Philox(key=self._key, counter=self._used + self.share.first * each)
        self._used += self.share.whole * each
        raw = philox.random_raw(len(self.share) * each * BLOCK).reshape(len(self.share), -1)
        numbers = (raw[:, : int(np.prod(shape))] >> np.uint64(64 - BITS)).astype(np.float32)
        return torch.from_numpy((numbers + np.float32(0.5)) / np.float32(2**BITS)).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32 (N, *shape)."""
        return 2**0.5 * torch.erfinv(2 * self.uniform(*shape) - 1)

    def categorical(self, probabilities: Tensor) -> Tensor:
        """Indices drawn from distributions (N, ..., K): int64 (N, ...), on their device."""
        level = self.uniform(*probabilities.shape[1:-1]).to(probabilities.device)
        return (probabilities.cumsum(-1) < level[..., None]).sum(-1).clamp(max=probabilities.shape[-1] - 1)
