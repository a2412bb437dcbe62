"""Promises of expert iteration: an agent learns what the planner decides, and a killed run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents import Agent
from doom_dream_env.agents.planning import make_planner
from doom_dream_env.envs import DreamBatch
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_tensors
from training.config import DistilConfig
from training.stages import distil

TOY: dict[str, Any] = {"rollouts": 1, "dreams": 2, "horizon": 3, "epochs": 2, "settings": {"horizon": 2, "dreams": 1}}


def test_a_killed_run_goes_on_and_its_agent_plays(
    weights: Path, model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DistilConfig(weights=str(weights), out=tmp_path, iterations=2, **TOY)
    learn = distil.learn

    def killed(config: DistilConfig, model: WorldModel, home: Path, iteration: int) -> Agent:
        if iteration == 1:
            raise KeyboardInterrupt
        return learn(config, model, home, iteration)

    monkeypatch.setattr(distil, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        distil.train(config)
    monkeypatch.setattr(distil, "learn", learn)
    monkeypatch.setattr(distil, "play", lambda *more: pytest.fail("what is recorded is not recorded again"))
    distil.train(config)
    agent = Agent.load(tmp_path / "agent", model.fingerprint)
    assert agent.card.hyper_parameters["decisions"] == 2 * 2 * 3
    batch = DreamBatch(2, weights=model)
    batch.reset(seed=0)
    assert agent(batch).shape == (2,)


def test_decisions_are_distributions_and_the_learner_plays_its_share(
    model: WorldModel, weights: Path, tmp_path: Path
) -> None:
    config = DistilConfig(weights=str(weights), out=tmp_path, iterations=1, **TOY)
    assert distil.record(config, model, None, 0, tmp_path / "iteration-0") == 6
    decisions = read_tensors(tmp_path / "iteration-0", "rollout-000.safetensors")["decisions"]
    torch.testing.assert_close(decisions.sum(-1), torch.ones(6))
    asked: list[int] = []

    class Learner:
        generator = None

        def __call__(self, batch: DreamBatch) -> torch.Tensor:
            asked.append(batch.num_envs)
            return torch.zeros(batch.num_envs, dtype=torch.long)

    planner = make_planner(model, "take_cover", horizon=2, dreams=1)
    distil.play(config, planner, Learner(), seed=0, label="")  # type: ignore[arg-type]
    assert asked == [2, 2, 2]


def test_free_play_is_learned_as_buttons(model: WorldModel, weights: Path, tmp_path: Path) -> None:
    settings = TOY | {"settings": {"horizon": 2, "dreams": 1, "plans": 8, "rounds": 1}}
    distil.train(DistilConfig(scenario="freedoom", weights=str(weights), out=tmp_path, iterations=1, **settings))
    agent = Agent.load(tmp_path / "agent", model.fingerprint)
    assert agent.card.buttons
    batch = DreamBatch(2, "freedoom", weights=model)
    batch.reset(seed=0)
    assert agent(batch).shape == (2, 9)


def test_a_network_learns_the_probabilities_that_it_is_shown() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 4, generator=generator)
    y = torch.where(x[:, :1] > 0, torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.8]))
    network = distil.fit(x, y, (16,), epochs=12).requires_grad_(False)
    found = network(torch.tensor([[2.0, 0, 0, 0], [-2.0, 0, 0, 0]])).softmax(-1)
    assert found[0, 0] == pytest.approx(0.8, abs=0.1) and found[1, 2] == pytest.approx(0.8, abs=0.1)
