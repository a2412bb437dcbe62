"""The whole configuration of an inverse dynamics model: one frozen dataclass, which is also its `config.json`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from doom_dream_env.errors import UserError
from doom_dream_env.idm.labels import CHAINS
from doom_dream_env.world_model.validation import check_fields, shown, wrong_sizes, wrong_version

FORMAT_VERSION = 1
GREATEST = {"width": 1024, "reach": 256, "depth": 16, "heads": 32}  # by a key's name or its end
GREATEST_COST = 100.0  # nats


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
    stem_width: int = 16
    match_width: int = 64
    match_reach: int = 14
    fused_width: int = 32
    deep_width: int = 64
    hud_width: int = 32
    width: int = 160
    depth: int = 3
    heads: int = 5
    reach: int = 10
    switch_costs: tuple[float, ...] = (0.0,) * len(CHAINS)

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
        if wrong := wrong_version(values, FORMAT_VERSION):
            raise UserError(f"inverse dynamics weights have {wrong}; use weights made for it")
        check_fields(cls, values, "config.json")
        config = cls(**{**values, "switch_costs": tuple(values["switch_costs"])})
        if wrong := _wrong_values(config):
            raise UserError(f"config.json is damaged: {wrong}; fetch it anew")
        return config


def _wrong_values(config: IDMConfig) -> str:
    """What is wrong with a configuration whose keys and types are right; empty: nothing."""
    if wrong := wrong_sizes(config.to_dict(), GREATEST):
        return wrong
    if len(config.switch_costs) != len(CHAINS):
        return f"switch_costs must be {len(CHAINS)} numbers, got {len(config.switch_costs)}"
    if any(not 0 <= cost <= GREATEST_COST for cost in config.switch_costs):
        return f"switch_costs must be from 0 to {GREATEST_COST:g}, got {shown(config.switch_costs)}"
    return ""


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
