"""The whole configuration of a world model: one frozen dataclass, which is also its `config.json`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, with_config

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS, VARIABLES
from doom_dream_env.world_model.validation import STRICT, Count, check_heads, check_version, parsed, shown

FORMAT_VERSION = 12
# The greatest sizes are far above `base`, and what they make still fits a computer's memory.
Width = Annotated[Count, Field(le=4096)]
NarrowWidth = Annotated[Count, Field(le=512)]
SmallCount = Annotated[Count, Field(le=64)]
MOST_CODES = 16_384  # code_groups × code_size
MOST_WEIGHTS = 500_000_000  # of one transformer
WEIGHTS_OF_A_LAYER = 12  # times the square of its width
CELL = 4  # side in pixels of the cells that a patch is embedded from
MOST_VALUES = 4096  # that a distribution is over


@with_config(STRICT)
@dataclass(frozen=True)
class ScenarioLimits:
    """What the real game can do in one scenario, as its recorded play shows; a dream does nothing else.

    All scenarios share the heads and their supports, so without limits each would be paid now and then what only
    another one pays (measured: −27 in a step of take_cover, where the game pays 0 to 4).

    Attributes:
        rewards: what a step can pay, values of `WorldModelConfig.rewards`.
        changes: per variable, its least and greatest change in a step.
        variables: per variable, its least and greatest value.
    """

    rewards: tuple[float, ...]
    changes: tuple[tuple[float, float], ...]
    variables: tuple[tuple[float, float], ...]


def check_support(name: str, support: tuple[float, ...]) -> None:
    """The values that a distribution is over must ascend.

    Raises:
        ValueError: if they do not, or are too many, or none.
    """
    if not 1 <= len(support) <= MOST_VALUES:
        raise UserError(f"{name} must have 1 to {MOST_VALUES} values, got {len(support)}")
    if any(after <= before for before, after in pairwise(support)):
        raise UserError(f"{name} must ascend, got {shown(support)}")


@with_config(STRICT)
@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes and meanings of a world model.

    Attributes:
        name: preset it was made from.
        format_version: version of the files; other versions are refused.
        state_width: D, width of the state z.
        encoder_width, encoder_depth, encoder_heads: the ViT (timm).
        patch: side of a patch in pixels; frames are cut into 120/patch x 160/patch of them.
        stem_width: channels of the 4x4-pixel cells from which a patch is embedded.
        readout_width: channels of each patch that are read out beside [CLS].
        projector_width: hidden width of the BatchNorm projector.
        trunk_width, trunk_depth, trunk_heads: the causal transformer.
        context: W, how many steps the trunk sees (sliding window).
        code_groups, code_size: the discrete code of what the mean next state leaves open.
        code_width: hidden width of its prior.
        decoder_width, decoder_depth: channels of its cells, and its residual blocks.
        scenarios: names in the order of their embeddings.
        known: per scenario, which of the variables it has.
        variables: game variables in order.
        deltas: per variable, the changes per step that it can make, ascending.
        rewards: support of the reward distribution, ascending.
        limits: per scenario, what the game can do there; empty: nothing is known, and everything possible.
        harm, healing: per scenario, what the odds of losing and of gaining health are multiplied by in sampled dreams,
            so that nobody lives longer or shorter there than in the game; empty: 1 in all.
    """

    name: str = "nano"
    format_version: int = FORMAT_VERSION
    state_width: Width = 192
    encoder_width: Width = 128
    encoder_depth: SmallCount = 4
    encoder_heads: SmallCount = 4
    patch: Annotated[Count, Field(le=FRAME_SHAPE[0])] = 20
    stem_width: NarrowWidth = 32
    readout_width: NarrowWidth = 16
    projector_width: Width = 512
    trunk_width: Width = 192
    trunk_depth: SmallCount = 2
    trunk_heads: SmallCount = 6
    context: Annotated[Count, Field(le=512)] = 16
    code_groups: SmallCount = 4
    code_size: Annotated[Count, Field(le=1024)] = 32
    code_width: Width = 192
    decoder_width: Width = 64
    decoder_depth: SmallCount = 2
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    known: tuple[tuple[bool, ...], ...] = tuple(tuple(map(bool, s.variable_mask())) for s in SCENARIOS.values())
    variables: tuple[str, ...] = VARIABLES
    deltas: tuple[tuple[float, ...], ...] = ((-100.0, 0.0), (-1.0, 0.0), (-1.0, 0.0), (-1.0, 0.0))
    rewards: tuple[float, ...] = (-1.0, 0.0, 1.0, 4.0)
    limits: tuple[ScenarioLimits, ...] = ()
    harm: tuple[float, ...] = ()
    healing: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for part in ("encoder", "trunk"):
            check_heads(self, f"{part}_")
        for part in ("encoder", "trunk", "decoder"):
            if getattr(self, f"{part}_depth") * getattr(self, f"{part}_width") ** 2 > MOST_WEIGHTS / WEIGHTS_OF_A_LAYER:
                raise UserError(f"{part}_depth and {part}_width make a network of more than {MOST_WEIGHTS:,} weights")
        if any(side % self.patch for side in FRAME_SHAPE[:2]) or self.patch % CELL:
            raise UserError(f"patch must divide {FRAME_SHAPE[0]} and {FRAME_SHAPE[1]} and be a multiple of {CELL}")
        if self.code_groups * self.code_size > MOST_CODES:
            raise UserError(f"code_groups times code_size must be at most {MOST_CODES}")
        for name, names in (("scenarios", self.scenarios), ("variables", self.variables)):
            if not names or len(set(names)) != len(names) or not all(names):
                raise UserError(f"{name} must be different names, one at least, got {shown(names)}")
        if len(self.known) != len(self.scenarios):
            raise UserError(
                f"known says of {len(self.known)} scenarios which variables they have, "
                f"but there are {len(self.scenarios)} scenarios"
            )
        if any(len(mask) != len(self.variables) for mask in self.known):
            raise UserError(f"known must say true or false for each of the {len(self.variables)} variables")
        if len(self.deltas) != len(self.variables):
            raise UserError(f"deltas must be of {len(self.variables)} variables, got {len(self.deltas)}")
        for name, support in (("rewards", self.rewards), *(("deltas", changes) for changes in self.deltas)):
            check_support(name, support)
        if self.limits and len(self.limits) != len(self.scenarios):
            raise UserError(f"limits are of {len(self.limits)} scenarios, but there are {len(self.scenarios)}")
        for name, dial in (("harm", self.harm), ("healing", self.healing)):
            if dial and (len(dial) != len(self.scenarios) or min(dial) <= 0):
                raise UserError(
                    f"{name} must be {len(self.scenarios)} numbers above 0, one for each scenario, got {dial}"
                )
        for scenario, limits in zip(self.scenarios, self.limits, strict=False):
            if not limits.rewards or not set(limits.rewards) <= set(self.rewards):
                raise UserError(f"limits of {scenario}: its rewards must be some of those in rewards")
            check_support("rewards in limits", limits.rewards)
            for name, pairs in (("changes", limits.changes), ("variables", limits.variables)):
                if len(pairs) != len(self.variables) or any(high < low for low, high in pairs):
                    raise UserError(
                        f"{name} in limits must be the least and greatest of each of {len(self.variables)} variables"
                    )

    @property
    def feature_width(self) -> int:
        """F: what an agent sees, `[z, h, variables]`."""
        return self.state_width + self.trunk_width + len(self.variables)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        height, width, _ = FRAME_SHAPE
        return height // self.patch, width // self.patch

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WorldModelConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: on another format version, and on keys, types or values that are wrong.
        """
        check_version(values, FORMAT_VERSION, "config.json of a world model")
        return parsed(cls, values, "config.json")


PRESETS: dict[str, WorldModelConfig] = {
    "tiny": WorldModelConfig(
        name="tiny",
        state_width=32,
        encoder_width=32,
        encoder_depth=1,
        encoder_heads=2,
        stem_width=8,
        readout_width=4,
        projector_width=64,
        trunk_width=32,
        trunk_depth=2,
        trunk_heads=2,
        context=8,
        code_groups=2,
        code_size=8,
        code_width=32,
        decoder_width=32,
        decoder_depth=1,
    ),
    "nano": WorldModelConfig(),
    "base": WorldModelConfig(
        name="base",
        state_width=384,
        encoder_width=256,
        encoder_depth=12,
        encoder_heads=4,
        stem_width=48,
        readout_width=24,
        projector_width=1024,
        trunk_width=384,
        trunk_depth=3,
        trunk_heads=6,
        context=32,
        code_groups=6,
        code_size=32,
        code_width=384,
        decoder_width=128,
        decoder_depth=4,
    ),
}
