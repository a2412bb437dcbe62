"""Whose pictures they are: it stands in shards, and in the weights of whatever learned from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Where frames come from, as far as that is known.

    Attributes:
        source: what was played or filmed, for people; None: not said.
        licence: under which they may be passed on, as the hub abbreviates it or in words; None: not known.
    """

    source: str | None = None
    licence: str | None = None


FREEDOOM = Origin("ViZDoom with Freedoom's graphics", "bsd-3-clause")
NOT_SAID = Origin()


def together(*groups: Iterable[Origin]) -> tuple[Origin, ...]:
    """All different origins. A licence may be said later than the source: then that is known of all."""
    found = dict.fromkeys(origin for group in groups for origin in group)
    licensed = {origin.source for origin in found if origin.licence}
    return tuple(origin for origin in found if origin.licence or origin.source not in licensed)


def from_json(values: Iterable[dict[str, Any]]) -> tuple[Origin, ...]:
    """Origins of what `dataclasses.asdict` made of them.

    Raises:
        TypeError: if it is nothing of the kind.
    """
    return tuple(Origin(**value) for value in values)
