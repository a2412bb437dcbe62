"""An agent trained in the dream, and what it is worth in dream and game: made once, then read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from doom_dream_env.agents import Agent
from doom_dream_env.agents.action_policy import ActionPolicy
from doom_dream_env.agents.imagination import ImaginationConfig, learn_in_imagination
from doom_dream_env.agents.ppo import N_ENVS, RECIPES, PPORecipe, make_dreams, train_ppo
from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.evaluation import compare_dream_and_game, relative_gap
from doom_dream_env.seeds import AGENT_SELECTION
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically
from training.config import Learner

SCORES = "gap.json"


IMAGINATION_ENVS = 128  # dreams side by side


def learn(batch: LatentBatch, learner: Learner, steps: int, seed: int, prior: Path | None = None) -> Agent:
    """Train an agent in dreams or games, without a progress bar.

    Args:
        batch: where.
        learner: how.
        steps: environment steps, all environments together.
        seed: of the training.
        prior: of dreamer: the folder of a cloned policy that it is kept near.
    """
    if learner == "ppo":
        return train_ppo(batch, steps, seed=seed, progress=False)[0]
    near = None if prior is None else ActionPolicy.load(prior, batch.model.fingerprint)
    return learn_in_imagination(batch, ImaginationConfig(steps=steps), prior=near, seed=seed, progress=False)[0]


def trained_agent(
    weights: str | Path | None,
    scenario: str,
    folder: Path,
    steps: int | None,
    seed: int,
    episodes: int,
    learner: Learner = "ppo",
    prior: Path | None = None,
) -> dict[str, Any]:
    """Train an agent in the dream and play it in dream and game; its folder keeps both, and a second call only reads.

    Args:
        weights: of the dream.
        scenario: what it plays.
        folder: where agent and scores are kept.
        steps: dreamed steps of its training; None: those of the scenario's recipe.
        seed: of its training.
        episodes: in dream and game.
        learner: as for `learn`.
        prior: as for `learn`.

    Returns:
        means of "dream" and "real", "real_margin_95", "gap", and the "scenario".
    """
    path = folder / SCORES
    if not path.exists():
        model = WorldModel.from_pretrained(weights)
        wanted = RECIPES.get(scenario, PPORecipe()).steps if steps is None else steps
        dreams = make_dreams(model, scenario, N_ENVS if learner == "ppo" else IMAGINATION_ENVS)
        agent = learn(dreams, learner, wanted, seed, prior)
        agent.save(folder)
        label = f"{scenario}, seed {seed}"
        played = compare_dream_and_game(model, scenario, {label: agent}, episodes, AGENT_SELECTION)[label]
        scores = {
            "scenario": scenario,
            "dream": played["dream"].mean,
            "real": played["real"].mean,
            "real_margin_95": played["real"].margin,
            "gap": relative_gap(played),
        }
        write_atomically(path, (json.dumps(scores, indent=2) + "\n").encode())
    return read_json(path)
