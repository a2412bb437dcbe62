"""Promises of saved agents: the same policy comes back, bound to the weights it was trained in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.demo import rivals
from doom_dream_env.envs import DreamBatch
from doom_dream_env.world_model import WorldModel

SCENARIO = "take_cover"
STEPS = 2048


@pytest.fixture(scope="module")
def trained(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Agent, Path, WorldModel]:
    model = WorldModel.from_pretrained(weights)
    agent, curve = train_in_dream(model, SCENARIO, STEPS, progress=False)
    assert [steps for steps, _ in curve] == sorted(steps for steps, _ in curve)
    folder = tmp_path_factory.mktemp("agent")
    agent.save(folder)
    return agent, folder, model


def test_a_saved_agent_is_the_same_policy(trained: tuple[Agent, Path, WorldModel]) -> None:
    agent, folder, model = trained
    features = torch.randn(5, model.config.feature_width)
    again = Agent.load(folder, model.fingerprint)
    torch.testing.assert_close(again.logits(features), agent.logits(features))
    assert again.card == agent.card
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize(
    ("file", "change", "error", "message"),
    [
        ("agent.safetensors", lambda data: data[:-1] + b"x", ValueError, r"agent\.safetensors is damaged"),
        ("agent.json", lambda data: None, FileNotFoundError, r"agent\.json is missing"),
        ("agent.json", lambda data: data.replace(b'n": 1', b'n": 99'), ValueError, "format version 99"),
        ("agent.json", lambda data: data, ValueError, "was trained in weights"),
    ],
)
def test_an_agent_that_cannot_play_here_says_why(
    trained: tuple[Agent, Path, WorldModel], tmp_path: Path, file: str, change: Any, error: Any, message: str
) -> None:
    trained[0].save(tmp_path)
    data = change((tmp_path / file).read_bytes())
    (tmp_path / file).unlink()
    if data is not None:
        (tmp_path / file).write_bytes(data)
    with pytest.raises(error, match=message):
        Agent.load(tmp_path, "0123456789abcdef")


def test_shipped_agents_are_loaded_by_name(
    trained: tuple[Agent, Path, WorldModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _, model = trained
    monkeypatch.setattr("doom_dream_env.agents.agent.SHIPPED", tmp_path)
    agent.save(tmp_path / SCENARIO)
    assert shipped_agents() == shipped_agents(model.fingerprint) == [SCENARIO]
    assert shipped_agents("0123456789abcdef") == []
    assert Agent.load(SCENARIO, model.fingerprint).card == agent.card
    assert list(rivals(model, SCENARIO)) == ["random", "routine", "shipped agent"], (
        "the demo does not compare with the shipped agent"
    )


def test_an_agent_is_a_policy(trained: tuple[Agent, Path, WorldModel]) -> None:
    agent, _, model = trained
    batch = DreamBatch(3, SCENARIO, weights=model)
    batch.reset(seed=0)
    torch.manual_seed(0)
    actions = agent(batch)
    torch.manual_seed(0)
    assert torch.equal(actions, agent.act(batch.features)) and actions.shape == (3,)
    assert torch.equal(agent.act(batch.features, deterministic=True), agent.logits(batch.features).argmax(-1))
    batch.step(actions)


def test_one_seed_one_agent(trained: tuple[Agent, Path, WorldModel]) -> None:
    agent, _, model = trained
    again, curve = train_in_dream(model, SCENARIO, STEPS, progress=False)
    features = torch.randn(5, model.config.feature_width)
    assert torch.equal(again.logits(features), agent.logits(features))
    assert all(0 < mean < 4 * 525 for _, mean in curve), "mean returns are not those of episodes"
