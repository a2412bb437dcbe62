"""Promises of the loop: it grows the data with its own agents, trains on, keeps what is finished, and says the gap."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.agents.agent import make_network
from doom_dream_env.envs.base import LatentBatch
from doom_dream_env.world_model import WorldModel
from training.config import CollectConfig, DecoderConfig, DynamicsConfig, IterateConfig
from training.data.collect import collect
from training.engine.checkpoint import save_checkpoint
from training.engine.optim import Optimiser
from training.evaluation import agent_scores
from training.stages import DECODER_CHECKPOINT, DYNAMICS_CHECKPOINT, iterate


@pytest.fixture
def finished_run(weights: Path, tmp_path: Path) -> Path:
    """A finished run, as far as the loop looks."""
    collect(CollectConfig(out=tmp_path / "data", scenarios=("take_cover",), steps=1500))
    shutil.copytree(weights, tmp_path / "weights")
    layer = torch.nn.Linear(2, 2)
    for name, steps in ((DYNAMICS_CHECKPOINT, 40), (DECODER_CHECKPOINT, 7)):
        save_checkpoint(tmp_path / name, layer, Optimiser(layer, "adamw", 1e-3, 1), steps, {})
    return tmp_path


def test_two_rounds(finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    started: list[Any] = []
    trained: list[int] = []

    def learn(batch: LatentBatch, learner: str, steps: int, seed: int, prior: Path | None) -> tuple[Agent, list[Any]]:
        trained.append(seed)
        network = make_network([batch.model.config.feature_width, 3], "Tanh")
        card = AgentCard(batch.scenario.name, batch.model.fingerprint, batch.model.source, "Tanh")
        return Agent(card, network), []

    monkeypatch.setattr(agent_scores, "learn", learn)
    monkeypatch.setattr(iterate, "run_stage", started.append)
    config = IterateConfig(out=finished_run, rounds=2, episodes=3, data_steps=3000)
    iterate.iterate(config)
    grown, dynamics, decoder = started
    assert isinstance(grown, CollectConfig) and isinstance(dynamics, DynamicsConfig)
    assert isinstance(decoder, DecoderConfig) and trained == [0, 1]
    assert grown.steps == 1500 + 3000, "the data do not grow by what was asked for"
    agent = finished_run / "iterate" / "round-0" / "take_cover"
    assert grown.mix[str(agent)] == 0.3 and "handover" in grown.mix and sum(grown.mix.values()) == pytest.approx(1)
    assert Agent.load(agent, WorldModel.from_pretrained(finished_run / "weights").fingerprint)
    assert dynamics.steps == 1040 and decoder.steps == 7
    assert dynamics.seen_shards == {"take_cover": 1}, "shards that were trained on count as new"
    assert dynamics.scenario_weights == {"take_cover": 3.0} and dynamics.scripted_share == {"take_cover": 0.2}
    table = (finished_run / "iterate" / "gap.md").read_text()
    assert table.count("take_cover") == 2 and table in capsys.readouterr().out
    iterate.iterate(config)
    assert trained == [0, 1], "an agent that was finished was trained again"


def test_a_loop_needs_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make one with `python -m training pipeline`"):
        iterate.iterate(IterateConfig(out=tmp_path))
    assert not (tmp_path / "iterate").exists()
