"""The environments: `DreamBatch` is the engine; the others adapt it to Gymnasium and Stable-Baselines3.

`RealBatch` and `GameBatch` are real games, the former seen through the world model's encoder.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from doom_dream_env.envs.base import EnvBatch, LatentBatch
    from doom_dream_env.envs.batch import DreamBatch
    from doom_dream_env.envs.dream import DreamDoomEnv
    from doom_dream_env.envs.games import GameBatch
    from doom_dream_env.envs.real import RealBatch, RealDoomEnv
    from doom_dream_env.envs.sb3 import DreamDoomVecEnv, LatentVecEnv
    from doom_dream_env.envs.vector import DreamDoomVectorEnv

__all__ = [
    "DreamBatch",
    "DreamDoomEnv",
    "DreamDoomVecEnv",
    "DreamDoomVectorEnv",
    "EnvBatch",
    "GameBatch",
    "LatentBatch",
    "LatentVecEnv",
    "RealBatch",
    "RealDoomEnv",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["EnvBatch", "LatentBatch"],
        "batch": ["DreamBatch"],
        "dream": ["DreamDoomEnv"],
        "games": ["GameBatch"],
        "real": ["RealBatch", "RealDoomEnv"],
        "sb3": ["DreamDoomVecEnv", "LatentVecEnv"],
        "vector": ["DreamDoomVectorEnv"],
    },
)
