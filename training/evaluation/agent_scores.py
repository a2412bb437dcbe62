"""An agent trained in the dream, and what it is worth in dream and game: made once, then read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.evaluation import compare_dream_and_game, relative_gap
from doom_dream_env.seeds import AGENT_SELECTION
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically

SCORES = "gap.json"


def trained_agent(
    weights: str | Path | None, scenario: str, folder: Path, steps: int | None, seed: int, episodes: int
) -> dict[str, Any]:
    """Train an agent in the dream and play it in dream and game; its folder keeps both, and a second call only reads.

    Args:
        weights: of the dream.
        scenario: what it plays.
        folder: where agent and scores are kept.
        steps: dreamed steps of its training; None: those of the scenario's recipe.
        seed: of its training.
        episodes: in dream and game.

    Returns:
        means of "dream" and "real", "real_margin_95", "gap", and the "scenario".
    """
    path = folder / SCORES
    if not path.exists():
        model = WorldModel.from_pretrained(weights)
        agent, _ = train_in_dream(model, scenario, steps, seed=seed, progress=False)
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
