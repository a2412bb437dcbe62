"""Stable-Baselines3's PPO, trained entirely inside the dream."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from doom_dream_env.agents import Agent
from doom_dream_env.envs.sb3 import DreamDoomVecEnv
from doom_dream_env.world_model import WorldModel

LANES = 64


@dataclass(frozen=True)
class Recipe:
    """How an agent of a world is trained in its dream.

    Attributes:
        steps: environment steps, all lanes together.
        horizon: dreams of this many steps from real moments anywhere in an episode, as in Dreamer; None: whole dreams from beginnings.
        temperature: of the dream.
    """

    steps: int = 250_000
    horizon: int | None = 24
    temperature: float = 1.0


# What was best on real seeds from 50,000 up; other worlds take the recipe as it is.
RECIPES = {
    "take_cover": Recipe(300_000, None, 1.15),
    "basic": Recipe(150_000, None),
    "deadly_corridor": Recipe(300_000, None),
    "predict_position": Recipe(150_000, None),
}
SETTINGS: dict[str, Any] = {
    "n_steps": 32,
    "batch_size": 512,
    "n_epochs": 4,
    "learning_rate": 5e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "ent_coef": 0.01,
    "policy_kwargs": {"net_arch": [128, 128], "activation_fn": torch.nn.Tanh},
}


class _Curve(BaseCallback):
    """Mean return of the episodes that ended, over time."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []
        self.recent: list[float] = []

    def _on_step(self) -> bool:
        self.recent += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        if self.recent:
            self.points.append((self.num_timesteps, sum(self.recent) / len(self.recent)))
            self.recent = self.recent[-50:]


def train_in_dream(
    world_model: WorldModel,
    scenario: str,
    steps: int | None = None,
    temperature: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Agent, list[tuple[int, float]]]:
    """Train PPO on features in the dream alone.

    Args:
        world_model: the dream.
        scenario: the world.
        steps: environment steps, all lanes together; None: those of the world's recipe.
        temperature: of the dream; None: that of the recipe.
        seed: of policy and dream.
        progress: show a progress bar.

    Returns:
        the agent, and (steps, mean dreamed return of recent episodes) along the way.
    """
    started, recipe = time.perf_counter(), RECIPES.get(scenario, Recipe())
    steps = recipe.steps if steps is None else steps
    temperature = recipe.temperature if temperature is None else temperature
    starts = "beginnings" if recipe.horizon is None else "anywhere"
    lanes = DreamDoomVecEnv(LANES, scenario, temperature=temperature, weights=world_model, starts=starts, max_episode_steps=recipe.horizon)
    dream = VecNormalize(lanes, norm_obs=False, gamma=SETTINGS["gamma"])
    dream.seed(seed)
    model = PPO("MlpPolicy", dream, seed=seed, device="cpu", **SETTINGS)
    curve = _Curve()
    model.learn(steps, callback=curve, progress_bar=progress)
    agent = Agent.from_sb3(
        model,
        scenario,
        world_model,
        algorithm="PPO",
        steps=steps,
        seed=seed,
        temperature=temperature,
        horizon=recipe.horizon,
        seconds=round(time.perf_counter() - started),
    )
    return agent, curve.points
