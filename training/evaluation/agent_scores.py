"""An agent trained in the dream, and what it is worth in dream and game: made once, then read."""

from __future__ import annotations

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
from doom_dream_env.world_model.files import read_json, write_atomically, write_json
from training.config import Learner
from training.evaluation.figures import panels, save_figure

SCORES = "gap.json"


IMAGINATION_ENVS = 128  # dreams side by side


Curve = list[tuple[int, float]]  # steps, and the mean return of the episodes that ended lately


def learn(
    batch: LatentBatch, learner: Learner, steps: int, seed: int, prior: Path | None = None
) -> tuple[Agent, Curve]:
    """Train an agent in dreams or games.

    Args:
        batch: where.
        learner: how.
        steps: environment steps, all environments together.
        seed: of the training.
        prior: of dreamer: the folder of a cloned policy that it is kept near.
    """
    if learner == "ppo":
        return train_ppo(batch, steps, seed=seed)
    near = None if prior is None else ActionPolicy.load(prior, batch.model.fingerprint)
    return learn_in_imagination(batch, ImaginationConfig(steps=steps), prior=near, seed=seed)


def write_curve(curve: Curve, folder: Path, title: str) -> None:
    """Write a learning curve as curve.csv and curve.png."""
    rows = "".join(f"{steps},{mean:.6g}\n" for steps, mean in curve)
    write_atomically(folder / "curve.csv", f"steps,return\n{rows}".encode())
    figure, (axis,) = panels(size=(5.0, 3.0), title=title, x="steps in the dream", y="mean dreamed return")
    if curve:
        axis.plot(*zip(*curve, strict=True))
    save_figure(figure, folder / "curve.png")


def trained_agent(
    weights: str | Path | None,
    scenario: str,
    folder: Path,
    steps: int | None,
    seed: int,
    episodes: int,
    learner: Learner = "ppo",
    prior: Path | None = None,
    first_seed: int = AGENT_SELECTION,
) -> dict[str, Any]:
    """Train an agent in the dream and play it in dream and game; its folder keeps both, and a second call only reads.

    The folder also gets the learning curve, curve.csv and curve.png.

    Args:
        weights: of the dream.
        scenario: what it plays.
        folder: where agent and scores are kept.
        steps: dreamed steps of its training; None: those of the scenario's recipe.
        seed: of its training.
        episodes: in dream and game.
        learner: as for `learn`.
        prior: as for `learn`.
        first_seed: of the real games. Those of other seeds are played anew.

    Returns:
        means of "dream" and "real", "real_margin_95", "gap", the "scenario" and the "first_seed".
    """
    path = folder / SCORES
    known = {"first_seed": AGENT_SELECTION} | read_json(path) if path.exists() else {}
    if known.get("first_seed") != first_seed:
        model = WorldModel.from_pretrained(weights)
        label = f"{scenario}, {folder.name}"
        if not known:
            wanted = RECIPES.get(scenario, PPORecipe()).steps if steps is None else steps
            dreams = make_dreams(model, scenario, N_ENVS if learner == "ppo" else IMAGINATION_ENVS)
            agent, curve = learn(dreams, learner, wanted, seed, prior)
            write_curve(curve, folder, label)
            agent.save(folder)
        agent = Agent.load(folder, model.fingerprint)
        played = compare_dream_and_game(model, scenario, {label: agent}, episodes, first_seed)[label]
        scores = {
            "scenario": scenario,
            "first_seed": first_seed,
            "dream": played["dream"].mean,
            "real": played["real"].mean,
            "real_margin_95": played["real"].margin,
            "gap": relative_gap(played),
        }
        write_json(path, scores)
    return read_json(path)
