"""The world model: `WorldModel`, its configuration, its state."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from doom_dream_env.world_model.config import PRESETS, WorldModelConfig
    from doom_dream_env.world_model.model import WorldModel
    from doom_dream_env.world_model.state import DreamState

__all__ = ["PRESETS", "DreamState", "WorldModel", "WorldModelConfig"]

# Imported when first used: weights are found and checked without torch.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={"config": ["PRESETS", "WorldModelConfig"], "model": ["WorldModel"], "state": ["DreamState"]},
)
