"""Promises of agents: they are bound to their weights, play for the collector, and are found by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_agent
from playroom import RIGHT
from test_action_policy import make_policy

from doom_dream_env.agents import Agent, agent, shipped_agents
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.agents.planning import RECIPES
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.commands.demo import rivals
from doom_dream_env.envs import DreamBatch
from doom_dream_env.game.game import Game
from doom_dream_env.options import MINDS
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from training.config import AgentsConfig
from training.players.handover import HandoverPlayer
from training.players.roster import make_player
from training.stages import agents

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


def test_one_seed_one_agent(trained: tuple[Agent, Path, WorldModel]) -> None:
    agent, _, model = trained
    again, curve = train_in_dream(model, SCENARIO, STEPS, progress=False)
    features = torch.randn(5, model.config.feature_width)
    assert torch.equal(again.logits(features), agent.logits(features))
    assert all(0 < mean < 4 * 525 for _, mean in curve), "mean returns are not those of episodes"


@pytest.fixture(scope="module")
def saved(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an agent with random weights."""
    folder = tmp_path_factory.mktemp("agent")
    make_agent(model, widths=(16,)).save(folder)
    return folder


def test_an_agent_that_takes_over_from_a_teacher_remembers_what_went_before(saved: Path, model: WorldModel) -> None:
    scenario = get_scenario(SCENARIO)
    player = make_player(f"handover:{saved}", scenario, np.random.default_rng(0))
    assert isinstance(player, HandoverPlayer) and player.agent
    player.change = 20
    player.recorded_from = 4
    game = Game(scenario, privileged=True)
    game.reset(7)
    frames, variables, pressed = [], [], []
    for step in range(22):
        if step >= player.recorded_from:
            frames.append(game.frame)
            variables.append(game.variables)
        pressed.append(player(game))
        if step == player.change:
            seen = player.agent.state
        game.step(pressed[-1])
    game.close()
    first = player.recorded_from
    last = player.change
    clip = np.stack(frames[: last + 1 - first])[None]
    known = np.stack(variables[: last + 1 - first])[None]
    expected = model.observe(clip, np.stack(pressed[first:last])[None], None, known, SCENARIO, start=False)
    torch.testing.assert_close(model.features(seen), model.features(expected))


def test_the_best_of_several_seeds_is_kept(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agents, "film", lambda *more: np.zeros((3, 120, 328, 3), np.uint8))
    config = AgentsConfig(
        weights=str(weights),
        scenarios=(SCENARIO,),
        seeds=2,
        steps=8192,
        episodes=3,
        first_seed=90_000,
        film=True,
        workers=2,
        work=tmp_path / "work",
        out=tmp_path / "best",
    )
    agents.train(config)
    seeds = sorted((tmp_path / "work").glob(f"*/{SCENARIO}/seed-*"))
    real = [json.loads((folder / "gap.json").read_text())["real"] for folder in seeds]
    assert len(seeds) == 2 and [Agent.load(folder).card.hyper_parameters["seed"] for folder in seeds] == [0, 1]
    best = Agent.load(tmp_path / "best" / SCENARIO)
    assert best.card.hyper_parameters["seed"] == int(np.argmax(real))
    for folder in seeds:
        steps, mean = (folder / "curve.csv").read_text().splitlines()[-1].split(",")
        assert int(steps) == 8192 and float(mean) > 0 and (folder / "curve.png").is_file()
        assert json.loads((folder / "gap.json").read_text())["first_seed"] == 90_000
    assert (tmp_path / "best" / SCENARIO / "dream_and_real.mp4").is_file()
    written = [(folder / "agent.safetensors").stat().st_mtime_ns for folder in seeds]
    agents.train(config)
    again = [(folder / "agent.safetensors").stat().st_mtime_ns for folder in seeds]
    assert written == again, "a finished agent was trained again"


def test_agents_learn_in_imagination_when_asked(weights: Path, tmp_path: Path) -> None:
    config = AgentsConfig(
        weights=str(weights),
        scenarios=(SCENARIO,),
        learner=("ppo", "dreamer"),
        seeds=1,
        steps=2048,
        episodes=2,
        work=tmp_path,
    )
    agents.train(config)
    scores = {}
    for folder in tmp_path.glob(f"*/{SCENARIO}/*-0"):
        algorithm = Agent.load(folder).card.hyper_parameters["algorithm"]
        scores[algorithm] = json.loads((folder / "gap.json").read_text())["real"]
    assert scores.keys() == {"PPO", "imagination, reinforce"}
    (best,) = tmp_path.glob(f"*/best/{SCENARIO}")
    assert scores[Agent.load(best).card.hyper_parameters["algorithm"]] == max(scores.values())
    with pytest.raises(ValueError, match="only --learner dreamer is kept near a --prior"):
        agents.train(AgentsConfig(weights=str(weights), prior=tmp_path))


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
    make_agent(immortal, widths=()).save(tmp_path)
    batch = DreamBatch(64, weights=immortal)
    batch.reset(seed=0)
    make_policy(immortal).save(tmp_path / "policy")
    for name in (tmp_path, tmp_path / "policy", "random"):
        first, again, other = (load_mind(name, "take_cover", immortal, seed=seed)(batch) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)


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
