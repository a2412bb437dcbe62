"""Promises of who plays by name: every name plays, equal seeds play equally, and who cannot play says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from playroom import RIGHT
from test_action_policy import make_policy

from doom_dream_env.agents import Agent, AgentCard, agent
from doom_dream_env.agents.agent import make_network
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.agents.planning import RECIPES
from doom_dream_env.envs import DreamBatch
from doom_dream_env.options import MINDS
from doom_dream_env.world_model import WorldModel


def dreams(model: WorldModel) -> DreamBatch:
    batch = DreamBatch(2, weights=model)
    batch.reset(seed=0)
    return batch


@pytest.mark.parametrize("name", [*MINDS, "take_cover"])
def test_every_name_plays(name: str, immortal: WorldModel, shipped: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "take_cover", {"horizon": 2, "rounds": 1})
    make_policy(immortal).save(agent.SHIPPED / "clone")
    batch = dreams(immortal)
    pressed = batch.buttons(load_mind(name, "take_cover", immortal, seed=0)(batch))
    assert pressed.shape == (2, 9) and not bool(pressed[:, [0, 1, 4, 5, 6, 7, 8]].any())
    if name in ("agent", "take_cover"):
        assert (pressed == torch.from_numpy(RIGHT)).all()


def test_equal_seeds_play_equally(immortal: WorldModel, tmp_path: Path) -> None:
    torch.manual_seed(0)
    undecided = make_network((immortal.config.feature_width, 3), "Tanh")
    Agent(AgentCard("take_cover", immortal.fingerprint, "", "Tanh"), undecided).save(tmp_path)
    batch = DreamBatch(64, weights=immortal)
    batch.reset(seed=0)
    make_policy(immortal).save(tmp_path / "policy")
    for name in (tmp_path, tmp_path / "policy", "random"):
        first, again, other = (load_mind(name, "take_cover", immortal, seed=seed)(batch) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_of_a_folder_of_agents_the_scenarios_own_plays(immortal: WorldModel, shipped: Agent, tmp_path: Path) -> None:
    shipped.save(tmp_path / "best" / "take_cover")
    batch = dreams(immortal)
    pressed = batch.buttons(load_mind(tmp_path / "best", "take_cover", immortal, seed=0)(batch))
    assert (pressed == torch.from_numpy(RIGHT)).all()


@pytest.mark.parametrize(
    ("name", "scenario", "message"),
    [
        ("plannner", "take_cover", "'plannner' is nobody who can play: choose from agent, clone, noop, random"),
        ("planner:cme", "take_cover", "choose from cem, gradient"),
        ("clone", "take_cover", "no clone ships for these weights; make one"),
        ("agent", "basic", "no agent ships for basic and these weights; one does for take_cover"),
        ("take_cover", "basic", "was trained for take_cover, not for basic"),
    ],
)
def test_who_cannot_play_says_why(name: str, scenario: str, message: str, immortal: WorldModel, shipped: Agent) -> None:
    with pytest.raises(ValueError, match=message):
        load_mind(name, scenario, immortal)


def test_a_window_takes_a_planner(make, shipped: Agent) -> None:
    session = make(agent="planner:cem")
    assert session.status().player == "agent"
    quick = SimpleNamespace(**vars(session.agent.config)) if session.agent else None
    assert quick is not None and quick.seed == session._agent_seed
    session.next_scenario(1)
    assert session.agent is not None and session.agent.scenario.name == session.scenario.name
