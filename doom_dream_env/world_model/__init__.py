"""The world model: `WorldModel`, its configuration, its state."""

from doom_dream_env.world_model.config import PRESETS, WorldModelConfig
from doom_dream_env.world_model.model import WorldModel
from doom_dream_env.world_model.state import DreamState

__all__ = ["PRESETS", "DreamState", "WorldModel", "WorldModelConfig"]
