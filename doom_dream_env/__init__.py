"""DreamDoom: a learned, latent world model of DOOM as a Gymnasium environment.

Importing this package registers `DreamDoom-v0` and `RealDoom-v0` and loads neither torch nor ViZDoom.
"""

from typing import TYPE_CHECKING

import lazy_loader
from gymnasium.envs.registration import register

from doom_dream_env.processes import end_with_parent, playing

if TYPE_CHECKING:
    from doom_dream_env.agents import Agent
    from doom_dream_env.world_model import DreamState, WorldModel, WorldModelConfig

__version__ = "0.1.0"
__all__ = ["Agent", "DreamState", "WorldModel", "WorldModelConfig", "__version__"]

end_with_parent(until=playing)

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
