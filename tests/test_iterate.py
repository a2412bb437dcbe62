"""Promises of the loop: it grows the data with its own agents, trains on, keeps what is finished, and says the gap."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.world_model import WorldModel
from training import agents, collect, dynamics, iterate
from training.loop import Optimiser, save_checkpoint


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Path:
    """A finished run, as far as the loop looks."""
    collect.collect(tmp_path / "data", ["take_cover"], "train", 1500)
    shutil.copytree(weights, tmp_path / "weights")
    layer = torch.nn.Linear(2, 2)
    for name, steps in ((dynamics.CHECKPOINT, 40), ("decoder.safetensors", 7)):
        save_checkpoint(tmp_path / name, layer, Optimiser(layer, "adamw", 1e-3, 1), steps, {})
    return tmp_path


def test_two_rounds(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands: list[list[str]] = []
    trained: list[int] = []

    def train(model: WorldModel, scenario: str, steps: int | None, seed: int, progress: bool) -> tuple[Agent, list[Any]]:
        trained.append(seed)
        layer = torch.zeros(3, model.config.feature_width), torch.zeros(3)
        return Agent(AgentCard(scenario, model.fingerprint, model.source, "Tanh"), [layer]), []

    monkeypatch.setattr(agents, "train_in_dream", train)
    monkeypatch.setattr(iterate, "command", lambda name, *words: commands.append([name, *map(str, words)]))
    monkeypatch.setattr(sys, "argv", ["iterate", "--out", str(run), "--rounds", "2", "--episodes", "3", "--data-steps", "3000"])
    iterate.main()
    assert [words[0] for words in commands] == ["collect", "dynamics", "decoder"] and trained == [0, 1]
    grown = commands[0]
    assert grown[grown.index("--steps") + 1] == str(1500 + 3000), "the data do not grow by what was asked for"
    agent = run / "iterate" / "round-0" / "take_cover"
    assert (
        f"{agent}=0.3" in grown[-1] and "relay" in grown[-1] and Agent.load(agent, WorldModel.from_pretrained(run / "weights").fingerprint)
    )
    assert commands[1][commands[1].index("--steps") + 1] == "1040" and commands[2][-1] == "7"
    assert commands[1][commands[1].index("--fresh") + 1] == "take_cover=1", "shards that were trained on count as new"
    table = (run / "iterate" / "gap.md").read_text()
    assert table.count("take_cover") == 2 and table in capsys.readouterr().out
    iterate.main()
    assert trained == [0, 1], "an agent that was finished was trained again"


def test_a_loop_needs_a_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["iterate", "--out", str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"make one with training\.pipeline"):
        iterate.main()
