"""The whole configuration of an inverse dynamics model: one frozen dataclass, which is also its `config.json`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, with_config

from doom_dream_env.idm.labels import CHAINS
from doom_dream_env.world_model.validation import STRICT, Count, check_heads, check_version, parsed

FORMAT_VERSION = 1
Width = Annotated[Count, Field(le=1024)]
Reach = Annotated[Count, Field(le=256)]
Costs = Annotated[
    tuple[Annotated[float, Field(ge=0, le=100)], ...], Field(min_length=len(CHAINS), max_length=len(CHAINS))
]


@with_config(STRICT)
@dataclass(frozen=True)
class IDMConfig:
    """Sizes of an inverse dynamics model, and how its probabilities become keys.

    Attributes:
        name: preset it was made from.
        format_version: version of the files; other versions are refused.
        stem_width: channels of single frames at a quarter of their size.
        match_width: numbers that describe a column of a frame, by which it is found in the next one.
        match_reach: how many columns (of 4 pixels) to either side it is looked for.
        fused_width, deep_width: channels in which two adjacent frames are seen together, at two coarsenesses.
        hud_width: numbers read off the lower edge of each frame, where the HUD may be.
        width, depth, heads: the temporal transformer.
        reach: how many steps before and after it each step sees per layer.
        switch_costs: what it costs to change each of `CHAINS` from one step to the next when keys are decoded, in
            nats; chosen on validation data.
    """

    name: str = "nano"
    format_version: int = FORMAT_VERSION
    stem_width: Width = 16
    match_width: Width = 64
    match_reach: Reach = 14
    fused_width: Width = 32
    deep_width: Width = 64
    hud_width: Width = 32
    width: Width = 160
    depth: Annotated[Count, Field(le=16)] = 3
    heads: Annotated[Count, Field(le=32)] = 5
    reach: Reach = 10
    switch_costs: Costs = (0.0,) * len(CHAINS)

    def __post_init__(self) -> None:
        check_heads(self)

    @property
    def margin(self) -> int:
        """Steps to either side that can have any influence on a step's labels."""
        return self.depth * self.reach + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> IDMConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: on another format version, and on keys, types or values that are wrong.
        """
        check_version(values, FORMAT_VERSION, "config.json of an inverse dynamics model")
        return parsed(cls, values, "config.json")


IDM_PRESETS: dict[str, IDMConfig] = {
    "tiny": IDMConfig(
        name="tiny",
        stem_width=4,
        match_width=4,
        fused_width=8,
        deep_width=8,
        hud_width=4,
        width=16,
        depth=1,
        heads=2,
        reach=4,
    ),
    "nano": IDMConfig(),
}
