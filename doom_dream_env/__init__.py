"""DreamDoom: a learned, latent world model of DOOM as a Gymnasium environment.

Importing this package registers `DreamDoom-v0` and `RealDoom-v0` and loads neither torch nor ViZDoom.
"""

import os
from typing import TYPE_CHECKING

import lazy_loader
from gymnasium.envs.registration import register

if TYPE_CHECKING:
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import DreamState, WorldModel, WorldModelConfig

__version__ = "0.1.0"
__all__ = ["Agent", "DreamState", "WorldModel", "WorldModelConfig", "__version__"]

# Read when torch is loaded: its threads wait for each other 1,000 turns and then sleep. As they come they spin for
# milliseconds, and beside a busy process each of a step's operations takes as long; see `doom_dream_env.threads`.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# The names of `__all__` are imported when they are first used: that is what loads torch.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "agents": ["Agent"],
        "world_model": ["DreamState", "WorldModel", "WorldModelConfig"],
    },
)

register(
    id="DreamDoom-v0",
    entry_point="doom_dream_env.envs.dream:DreamDoomEnv",
    vector_entry_point="doom_dream_env.envs.vector:DreamDoomVectorEnv",
)
register(id="RealDoom-v0", entry_point="doom_dream_env.envs.real:RealDoomEnv")
