"""Promises of the dream efficiency: a ratio above random play, with an interval that knows of agents and episodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.agents.agent import make_network
from doom_dream_env.envs import DreamBatch, RealBatch
from doom_dream_env.evaluation import EpisodeStatistics
from training.config import EfficiencyConfig
from training.evaluation import efficiency


def test_the_ratio_is_that_above_chance() -> None:
    dream = [np.array([400.0, 600.0]), np.array([500.0, 500.0])]
    game = [np.array([900.0, 700.0])]
    assert efficiency.ratio(dream, game, 300.0) == pytest.approx(200 / 500)
    assert np.isnan(efficiency.ratio(dream, game, 800.0))


def test_the_interval_is_wider_with_agents_that_differ() -> None:
    rng = np.random.default_rng(0)
    game = [rng.normal(900, 10, 50) for _ in range(4)]
    alike = [rng.normal(600, 10, 50) for _ in range(4)]
    different = [rng.normal(mean, 10, 50) for mean in (300, 500, 700, 900)]
    widths = []
    for dream in (alike, different):
        low, high = efficiency.bootstrap(dream, game, 100.0, 500)
        assert low < efficiency.ratio(dream, game, 100.0) < high
        widths.append(high - low)
    assert widths[1] > 5 * widths[0]


def test_agents_of_dream_and_game_are_trained_alike_and_once(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[Any, ...]] = []

    def learn(batch: Any, learner: str, steps: int, seed: int) -> tuple[Agent, list[Any]]:
        trained.append((type(batch), batch.num_envs, learner, steps, seed))
        network = make_network([batch.model.config.feature_width, len(batch.action_table)], "Tanh")
        return Agent(AgentCard("basic", batch.model.fingerprint, "", "Tanh"), network), []

    monkeypatch.setattr(efficiency, "learn", learn)
    torch.manual_seed(0)
    config = EfficiencyConfig(
        weights=str(weights), scenarios=("basic",), seeds=1, steps=9, envs=2, episodes=2, resamples=20, out=tmp_path
    )
    about = efficiency.run(config)
    assert trained == [(DreamBatch, 2, "ppo", 9, 0), (RealBatch, 2, "ppo", 9, 0)]
    found = about["scenarios"]["basic"]
    assert len(found["dream"]) == len(found["game"]) == 1
    assert json.loads((tmp_path / "efficiency.json").read_text())["learner"] == "ppo"
    assert efficiency.run(config)["scenarios"]["basic"]["game"] == found["game"]
    played: list[int] = []

    def evaluate(batch: Any, policy: Any, episodes: int, first_seed: int) -> EpisodeStatistics:
        played.append(first_seed)
        return EpisodeStatistics(np.full(episodes, 5.0), np.ones(episodes, int))

    monkeypatch.setattr(efficiency, "evaluate_policy", evaluate)
    assert efficiency.run(replace(config, first_seed=90_000))["scenarios"]["basic"]["game"] == [5.0]
    assert played == [90_000] * 3 and len(trained) == 2, "the same agents play other games"
