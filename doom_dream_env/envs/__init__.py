"""The environments: `DreamBatch` is the engine; the others adapt it to Gymnasium and Stable-Baselines3."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doom_dream_env.envs.batch import DreamBatch
    from doom_dream_env.envs.dream import DreamDoomEnv
    from doom_dream_env.envs.real import RealBatch, RealDoomEnv
    from doom_dream_env.envs.sb3 import DreamDoomVecEnv
    from doom_dream_env.envs.vector import DreamDoomVectorEnv

__all__ = ["DreamBatch", "DreamDoomEnv", "DreamDoomVecEnv", "DreamDoomVectorEnv", "RealBatch", "RealDoomEnv"]

_WHERE = {
    "DreamBatch": "batch",
    "DreamDoomEnv": "dream",
    "DreamDoomVecEnv": "sb3",
    "DreamDoomVectorEnv": "vector",
    "RealBatch": "real",
    "RealDoomEnv": "real",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"doom_dream_env.envs.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
