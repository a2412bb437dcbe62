"""The inverse dynamics model: gameplay pictures to keys (VPT, arXiv 2206.11795)."""

from doom_dream_env.idm.config import IDM_PRESETS, IDMConfig
from doom_dream_env.idm.labels import Labels
from doom_dream_env.idm.model import InverseDynamics

__all__ = ["IDM_PRESETS", "IDMConfig", "InverseDynamics", "Labels"]
