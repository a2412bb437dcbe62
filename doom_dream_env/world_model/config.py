"""The whole configuration of a world model: one frozen dataclass, which is also its `config.json`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS, VARIABLES
from doom_dream_env.world_model.validation import check_config, wrong_version

FORMAT_VERSION = 12


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
    state_width: int = 192
    encoder_width: int = 128
    encoder_depth: int = 4
    encoder_heads: int = 4
    patch: int = 20
    stem_width: int = 32
    readout_width: int = 16
    projector_width: int = 512
    trunk_width: int = 192
    trunk_depth: int = 2
    trunk_heads: int = 6
    context: int = 16
    code_groups: int = 4
    code_size: int = 32
    code_width: int = 192
    decoder_width: int = 64
    decoder_depth: int = 2
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    known: tuple[tuple[bool, ...], ...] = tuple(tuple(map(bool, s.variable_mask())) for s in SCENARIOS.values())
    variables: tuple[str, ...] = VARIABLES
    deltas: tuple[tuple[float, ...], ...] = ((-100.0, 0.0), (-1.0, 0.0), (-1.0, 0.0), (-1.0, 0.0))
    rewards: tuple[float, ...] = (-1.0, 0.0, 1.0, 4.0)
    limits: tuple[ScenarioLimits, ...] = ()
    harm: tuple[float, ...] = ()
    healing: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.known) != len(self.scenarios):
            raise UserError(
                f"known says of {len(self.known)} scenarios which variables they have, "
                f"but there are {len(self.scenarios)} scenarios"
            )
        if self.limits and len(self.limits) != len(self.scenarios):
            raise UserError(f"limits are of {len(self.limits)} scenarios, but there are {len(self.scenarios)}")
        for name, dial in (("harm", self.harm), ("healing", self.healing)):
            if dial and (len(dial) != len(self.scenarios) or min(dial) <= 0):
                raise UserError(
                    f"{name} must be {len(self.scenarios)} numbers above 0, one for each scenario, got {dial}"
                )
        for name, limits in zip(self.scenarios, self.limits, strict=False):
            if not limits.rewards or not set(limits.rewards) <= set(self.rewards):
                raise UserError(f"limits of {name}: its rewards must be some of those in rewards")

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
        if wrong := wrong_version(values, FORMAT_VERSION):
            raise UserError(f"weights have {wrong}; use weights made for it")
        check_config(cls, values)

        def freeze(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: freeze(item) for key, item in value.items()}
            return tuple(freeze(item) for item in value) if isinstance(value, (list, tuple)) else value

        frozen = freeze(values)
        return cls(**{**frozen, "limits": tuple(ScenarioLimits(**limits) for limits in frozen["limits"])})


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
