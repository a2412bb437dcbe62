"""The dream's whole memory as one value: batched, on a device, copyable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


def advance_elapsed(elapsed: Tensor, steps: int | Tensor) -> Tensor:
    """Elapsed steps, some steps later; what is unknown (negative) stays unknown (−1)."""
    return torch.where(elapsed < 0, -1, elapsed + steps)


@dataclass(frozen=True)
class DreamState:
    """Everything a dream needs to go on: a value. `imagine` and `observe` return a new one.

    Attributes (B dreams, D state width, E trunk width, V variables, L layers, W context):
        z: newest state, float32 (B, D).
        h: the trunk's feature, before the next action, float32 (B, E).
        variables: game variables in the game's own units, float32 (B, V).
        scenario: index of the scenario, int64 (B,); the number of scenarios means unknown.
        elapsed: steps since the episode began, int64 (B,); −1 where unknown.
        cache: keys and values of the last W steps, float32 (B, L, 2, W, E).
        length: how many earlier steps of the cache are real, int64 (B,).
    """

    z: Tensor
    h: Tensor
    variables: Tensor
    scenario: Tensor
    elapsed: Tensor
    cache: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.z)

    def map(self, function: Callable[[Tensor], Tensor]) -> DreamState:
        """Apply a function to every tensor."""
        return DreamState(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def to(self, device: torch.device | str) -> DreamState:
        """Copy to a device."""
        return self.map(lambda tensor: tensor.to(device))

    def clone(self) -> DreamState:
        """Deep copy."""
        return self.map(torch.clone)

    def __getitem__(self, dreams: slice | Tensor) -> DreamState:
        """Some of the dreams, by slice, indices or mask."""
        return self.map(lambda tensor: tensor[dreams])

    def put_(self, dreams: Tensor, other: DreamState) -> None:
        """Replace some of the dreams (indices) by those of `other`, in place: for whoever alone holds this state."""
        for field in fields(self):
            getattr(self, field.name).index_copy_(0, dreams, getattr(other, field.name))

    @staticmethod
    def cat(states: Sequence[DreamState]) -> DreamState:
        """Join several batches of dreams into one."""
        return DreamState(**{f.name: torch.cat([getattr(s, f.name) for s in states]) for f in fields(DreamState)})

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))
