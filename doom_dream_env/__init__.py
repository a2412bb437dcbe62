"""DreamDoom: a learned, latent world model of DOOM as a Gymnasium environment.

Importing this package registers `DreamDoom-v0` and `RealDoom-v0` and loads neither torch nor ViZDoom.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register

if TYPE_CHECKING:
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import DreamState, WorldModel, WorldModelConfig

__version__ = "0.1.0"
__all__ = ["Agent", "DreamState", "WorldModel", "WorldModelConfig", "__version__"]

_LAZY = {
    "Agent": "doom_dream_env.agents",
    "DreamState": "doom_dream_env.world_model",
    "WorldModel": "doom_dream_env.world_model",
    "WorldModelConfig": "doom_dream_env.world_model",
}

register(
    id="DreamDoom-v0",
    entry_point="doom_dream_env.envs.dream:DreamDoomEnv",
    vector_entry_point="doom_dream_env.envs.vector:DreamDoomVectorEnv",
)
register(id="RealDoom-v0", entry_point="doom_dream_env.envs.real:RealDoomEnv")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
