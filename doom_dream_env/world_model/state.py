"""The dream's whole memory as one value: batched, on a device, copyable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor


def later(age: Tensor, steps: int | Tensor) -> Tensor:
    """Ages some steps on; what is unknown (negative) stays so."""
    return torch.where(age < 0, -1, age + steps)


@dataclass(frozen=True)
class DreamState:
    """Everything a dream needs to go on. Never changed in place: `imagine` and `observe` return a new one.

    Attributes (B dreams, D state width, E trunk width, V variables, L layers, W context):
        z: newest state, float32 (B, D).
        h: the trunk's feature, before the next action, float32 (B, E).
        variables: game variables in the game's own units, float32 (B, V).
        scenario: index of the world, int64 (B,); the number of worlds means unknown.
        age: steps since the episode began, int64 (B,); −1 where unknown.
        cache: keys and values of the last W steps, float32 (B, L, 2, W, E).
        length: how many earlier steps of the cache are real, int64 (B,).
    """

    z: Tensor
    h: Tensor
    variables: Tensor
    scenario: Tensor
    age: Tensor
    cache: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.z)

    def map(self, function: Callable[[Tensor], Tensor]) -> DreamState:
        """Apply a function to every tensor."""
        return DreamState(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def to(self, device: torch.device | str) -> DreamState:
        """Copy to a device."""
        return self.map(lambda x: x.to(device))

    def clone(self) -> DreamState:
        """Deep copy."""
        return self.map(torch.clone)

    def __getitem__(self, lanes: slice | Tensor) -> DreamState:
        """Some of the dreams, by slice, indices or mask."""
        return self.map(lambda x: x[lanes])

    def put(self, lanes: Tensor, other: DreamState) -> DreamState:
        """Replace the dreams `lanes` (indices or mask) by those of `other`."""

        def replace(mine: Tensor, theirs: Tensor) -> Tensor:
            mine = mine.clone()
            mine[lanes] = theirs
            return mine

        return DreamState(**{f.name: replace(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))
