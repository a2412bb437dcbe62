"""Gymnasium's view of a batch: its spaces, and its observations as NumPy arrays."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from doom_dream_env.envs.base import FEATURE_LIMIT, LatentBatch
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, Scenario

OBSERVATIONS = ("features", "pixels")


def make_spaces(batch: LatentBatch, observation: str) -> tuple[spaces.Box, spaces.Discrete | spaces.MultiBinary]:
    """Observation and action space of one environment of the batch.

    Raises:
        ValueError: if `observation` is neither "features" nor "pixels".
    """
    if observation not in OBSERVATIONS:
        raise UserError(f"observation {observation!r} is unknown; choose from {', '.join(OBSERVATIONS)}")
    if observation == "pixels":
        box: spaces.Box = spaces.Box(0, 255, FRAME_SHAPE, np.uint8)
    else:
        box = spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, (batch.model.config.feature_width,), np.float32)
    if not batch.scenario.discrete:
        return box, spaces.MultiBinary(len(BUTTONS))
    return box, spaces.Discrete(len(batch.action_table))


def observe(batch: LatentBatch, observation: str) -> np.ndarray:
    """What all environments of the batch show now, (N, F) or (N, 120, 160, 3); the caller's own."""
    tensor = batch.features if observation == "features" else batch.pixels()
    return tensor.cpu().numpy()


def tell(batch: LatentBatch) -> dict[str, np.ndarray]:
    """What all environments tell beside what they show: the drift, and the scenario's game variables, float32 (N,)."""
    told = {"drift": batch.drift().cpu().numpy()}
    values = batch.variables.cpu().numpy()
    for index, name in enumerate(batch.model.config.variables):
        if name in batch.scenario.variables:
            told[name] = values[:, index].copy()
    return told


def steps_per_second(scenario: Scenario) -> float:
    """How many steps of an environment are a second of the game: the frame rate of its films."""
    return 1 / scenario.seconds_per_step
