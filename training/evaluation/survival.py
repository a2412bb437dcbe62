"""How long policies that see nothing survive in the dream and in the game, and whether endless dreams drift."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.evaluation import REAL_ENVS, EpisodeStatistics, evaluate_policies
from doom_dream_env.policies import RandomPolicy, fixed_policies
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import DreamState, WorldModel
from training.evaluation.open_loop import Scores
from training.metrics import ks

USUAL_LIMIT = 525  # steps; scenarios with longer episodes play fewer of them
DREAMS_AT_ONCE = 256

Played = dict[str, dict[str, EpisodeStatistics]]  # policy → "dream", "real" → episodes


def affordable_episodes(scenario: Scenario, episodes: int) -> int:
    """How many of so many episodes are played: fewer where they last long."""
    return max(1, min(episodes, episodes * USUAL_LIMIT // scenario.time_limit))


def survival_scores(model: WorldModel, name: str, episodes: int) -> tuple[Scores, Played]:
    """Lengths (steps) and returns of the fixed policies, dreamed at temperature 1 and real.

    `…_ks`: Kolmogorov–Smirnov statistic of the lengths, the largest gap between the two survival curves.

    Args:
        model: the dream.
        name: of the scenario.
        episodes: of each policy; fewer where they last long.

    Returns:
        the scores, and the episodes themselves.
    """
    scenario = get_scenario(name)
    policies = fixed_policies(scenario)
    count = affordable_episodes(scenario, episodes)
    games = GameBatch(min(count, REAL_ENVS), name)  # no frame is encoded: whoever sees nothing needs none
    batches = {"dream": DreamBatch(min(count, DREAMS_AT_ONCE), name, weights=model), "real": games}
    try:
        played = evaluate_policies(batches, policies, count, EVALUATION, f"{name}, ")
    finally:
        games.close()
    scores: Scores = {"episodes": count}
    for label, both in played.items():
        scores[f"{label}_ks"] = ks(both["dream"].lengths, both["real"].lengths)
        for kind, statistics in both.items():
            scores[f"{label}_length_{kind}"] = float(statistics.lengths.mean())
            scores[f"{label}_return_{kind}"] = statistics.mean
    scores["noop_length_ratio"] = scores["noop_length_dream"] / scores["noop_length_real"]
    return scores, played


@torch.inference_mode()
def long_dream(model: WorldModel, names: Sequence[str], dreams: int, total: int) -> dict[str, Scores]:
    """Drift |z|²/D − 1 over `total` steps of random play without a reset.

    Terminations are ignored: where one falls, the dream goes on with the game variables of its beginning, because no
    real state has less than no health. State and memory are never touched.

    Args:
        model: the dream.
        names: of scenarios.
        dreams: how many at once, shared by the scenarios.
        total: steps, all dreams together.

    Returns:
        per scenario: mean and largest drift, whether every number was finite, and the steps that each dream lasted.
    """
    each = max(1, dreams // len(names))
    steps = -(-total // (each * len(names)))
    batches = [DreamBatch(each, name, weights=model) for name in names]
    for batch in batches:
        batch.reset(seed=EVALUATION)
    state = DreamState.cat([batch.state for batch in batches if batch.state is not None])
    alive = state.variables
    policy = RandomPolicy()
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(len(names))
    worst = torch.full((len(names),), -1.0)
    finite = torch.ones(len(names), dtype=torch.bool)
    for _ in progress(range(steps), desc="long dream", unit="step", leave=False):
        buttons = torch.cat([batch.buttons(policy(batch)) for batch in batches])
        state, _, continues = model.imagine(state, buttons, 1.0, generator)
        ended = torch.rand(len(state), generator=generator) >= continues
        state = dataclasses.replace(state, variables=torch.where(ended[:, None], alive, state.variables))
        drift = model.drift(state).view(len(names), each)
        mean = mean + drift.mean(1) / steps
        worst = torch.maximum(worst, drift.amax(1))
        finite &= model.features(state).isfinite().view(len(names), -1).all(1)
    return {
        name: {
            "drift_long_mean": float(mean[index]),
            "drift_long_max": float(worst[index]),
            "long_finite": bool(finite[index]),
            "long_steps": steps,
        }
        for index, name in enumerate(names)
    }
