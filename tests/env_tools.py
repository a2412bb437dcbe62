"""Helpers that all tests of environments share: single dreams, many dreams, and what fixed actions bring in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import doom_dream_env  # noqa: F401
from doom_dream_env.envs import DreamDoomEnv, DreamDoomVectorEnv
from doom_dream_env.world_model import WorldModel

NUM_ENVS = 4  # of a vector environment


def dream(weights: Path | WorldModel, **kwargs: Any) -> DreamDoomEnv:
    """`DreamDoom-v0` without wrappers."""
    return gym.make("DreamDoom-v0", weights=weights, **kwargs).unwrapped  # type: ignore[return-value]


def play(env: gym.Env, seed: int | None, steps: int = 12) -> list[tuple[np.ndarray, float, bool, bool]]:
    """What a fixed sequence of actions brings; begins anew when an episode ends."""
    observation, _ = env.reset(seed=seed)
    seen: list[tuple[np.ndarray, float, bool, bool]] = [(observation, 0.0, False, False)]
    for t in range(steps):
        observation, reward, terminated, truncated, _ = env.step(t % env.action_space.n)
        seen.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            env.reset()
    return seen


def same(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    """Do two sequences of steps agree exactly?"""
    return all(np.array_equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def dreams(weights: Path | WorldModel, num_envs: int = NUM_ENVS, **kwargs: Any) -> DreamDoomVectorEnv:
    """The vector environment through Gymnasium's door."""
    env = gym.make_vec("DreamDoom-v0", num_envs=num_envs, weights=weights, **kwargs)
    assert isinstance(env, DreamDoomVectorEnv)
    return env


def actions(t: int) -> np.ndarray:
    """A fixed sequence of actions that differ between environments."""
    return (np.arange(NUM_ENVS) + t) % 3


def is_start(model: WorldModel, observation: np.ndarray) -> bool:
    """Is this the sight of an episode's first moment?"""
    z = torch.from_numpy(observation[: model.config.state_width])
    return bool((z == model.initial_states["take_cover"][0]).all(1).any())
