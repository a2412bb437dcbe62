"""Stable-Baselines3's PPO, trained entirely inside the dream (or, to compare, in the game)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from tqdm import tqdm

from doom_dream_env.agents.agent import Agent
from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.sb3 import LatentVecEnv
from doom_dream_env.errors import UserError
from doom_dream_env.progress import progress as progress_bar
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.threads import at_most

N_ENVS = 64


@dataclass(frozen=True)
class PPORecipe:
    """How an agent of a scenario is trained.

    Attributes:
        steps: environment steps, all environments together.
        horizon: dreams of this many steps from real moments anywhere in an episode, as in Dreamer (arXiv 1912.01603);
            None: whole dreams from an episode's first moment.
        temperature: of the dream.
        update_steps: steps of all environments between two updates.
        batch_size: of these, to a step of the optimiser.
        gamma: discount of a step.
    """

    steps: int = 250_000
    horizon: int | None = 24
    temperature: float = 1.0
    update_steps: int = 2048
    batch_size: int = 512
    gamma: float = 0.99


# What was best on real seeds from 50,000 up; other scenarios take the recipe as it is.
RECIPES = {
    "take_cover": PPORecipe(
        steps=600_000, horizon=None, temperature=1.15, update_steps=8192, batch_size=1024, gamma=0.997
    ),
    "basic": PPORecipe(steps=150_000, horizon=None),
    "deadly_corridor": PPORecipe(steps=300_000, horizon=None),
    "predict_position": PPORecipe(steps=150_000, horizon=None),
}
SETTINGS: dict[str, Any] = {
    "n_epochs": 4,
    "learning_rate": 5e-4,
    "gae_lambda": 0.95,
    "ent_coef": 0.01,
    "policy_kwargs": {"net_arch": [128, 128], "activation_fn": torch.nn.Tanh},
}


class LearningCurve(BaseCallback):
    """Mean return of the episodes that ended lately, after each rollout; it moves the progress bar, too.

    Args:
        bar: counts the steps.

    Attributes:
        points: (steps, mean return).
    """

    SHOWN = 50  # episodes that count on into the next rollout

    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self.bar = bar
        self.points: list[tuple[int, float]] = []
        self._recent: list[float] = []

    def _on_step(self) -> bool:
        self._recent += [float(info["episode"]["r"]) for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        steps = min(self.num_timesteps, self.bar.total)  # rollouts are whole: there are some more than asked for
        if self._recent:
            self.points.append((self.num_timesteps, sum(self._recent) / len(self._recent)))
            self.bar.set_postfix_str(f"return {self.points[-1][1]:.4g}", refresh=False)
            self._recent = self._recent[-self.SHOWN :]
        self.bar.update(steps - self.bar.n)


def make_dreams(
    world_model: WorldModel, scenario: str, num_envs: int = N_ENVS, temperature: float | None = None
) -> DreamBatch:
    """Dreams as the scenario's recipe wants them.

    Args:
        world_model: the dream.
        scenario: name of the scenario.
        num_envs: dreams side by side.
        temperature: None: that of the recipe.
    """
    recipe = RECIPES.get(scenario, PPORecipe())
    return DreamBatch(
        num_envs,
        scenario,
        temperature=recipe.temperature if temperature is None else temperature,
        weights=world_model,
        initial_states="episode_start" if recipe.horizon is None else "anywhere",
        max_episode_steps=recipe.horizon,
    )


def train_in_dream(
    world_model: WorldModel,
    scenario: str,
    steps: int | None = None,
    *,
    temperature: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Agent, list[tuple[int, float]]]:
    """Train PPO on features in the dream alone.

    Args:
        world_model: the dream.
        scenario: name of the scenario.
        steps: environment steps, all environments together; None: those of the scenario's recipe.
        temperature: of the dream; None: that of the recipe.
        seed: of policy and dream.
        progress: show a progress bar.

    Returns:
        the agent, and (steps, mean dreamed return of recent episodes) along the way.
    """
    steps = RECIPES.get(scenario, PPORecipe()).steps if steps is None else steps
    return train_ppo(make_dreams(world_model, scenario, temperature=temperature), steps, seed=seed, progress=progress)


def train_ppo(
    batch: LatentBatch, steps: int, *, seed: int = 0, progress: bool = True
) -> tuple[Agent, list[tuple[int, float]]]:
    """Train PPO on features in any batch of environments, dreamed or real.

    Args:
        batch: where to play. Its scenario's recipe says after how many steps an update is made, whatever the number of
            environments.
        steps: environment steps, all environments together.
        seed: of policy and environments.
        progress: show a progress bar.

    Returns:
        the agent, and (steps, mean return of recent episodes) along the way.

    Raises:
        ValueError: if the steps between two updates are no multiple of the number of environments.
    """
    started = time.perf_counter()
    scenario = batch.scenario.name
    recipe = RECIPES.get(scenario, PPORecipe())
    if recipe.update_steps % batch.num_envs:
        raise UserError(f"the number of environments must divide {recipe.update_steps}, got {batch.num_envs}")
    # Features have a known scale already, rewards have not. The monitor stands inside: it sees rewards as they are.
    scaled = VecNormalize(VecMonitor(LatentVecEnv(batch)), norm_obs=False, gamma=recipe.gamma)
    scaled.seed(seed)
    model = PPO(
        "MlpPolicy",
        scaled,
        n_steps=recipe.update_steps // batch.num_envs,
        batch_size=recipe.batch_size,
        gamma=recipe.gamma,
        seed=seed,
        device="cpu",
        **SETTINGS,
    )
    # One thread: networks and batches this small are slower on two (measured: 8,192 steps in 2.3 s and 3.4 s).
    with (
        progress_bar(total=steps, desc=f"PPO in {scenario}, seed {seed}", leave=False, disable=not progress) as bar,
        at_most(1),
    ):
        curve = LearningCurve(bar)
        model.learn(steps, callback=curve)
    agent = Agent.from_sb3(
        model,
        scenario,
        batch.model,
        algorithm="PPO",
        steps=steps,
        seed=seed,
        temperature=getattr(batch, "temperature", None),
        horizon=batch.time_limit if batch.time_limit < batch.scenario.time_limit else None,
        seconds=round(time.perf_counter() - started),
    )
    return agent, curve.points
