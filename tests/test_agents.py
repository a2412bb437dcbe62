"""Promises of saved agents: the same policy comes back, bound to the weights it was trained in, and can play for the collector."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import training.agents
from doom_dream_env import agents
from doom_dream_env.agents import Agent
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.demo import rivals
from doom_dream_env.envs import DreamBatch
from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.scoring import blind_policy, play_episodes
from doom_dream_env.world_model import WorldModel
from training.players import Relay, make_player

SCENARIO, STEPS = "take_cover", 2048


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


def test_other_weights_are_refused(trained: tuple[Agent, Path, WorldModel]) -> None:
    with pytest.raises(ValueError, match="was trained in weights"):
        Agent.load(trained[1], "0123456789abcdef")


def test_a_damaged_agent_is_named(trained: tuple[Agent, Path, WorldModel], tmp_path: Path) -> None:
    agent, folder, _ = trained
    agent.save(tmp_path)
    data = bytearray((folder / "agent.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "agent.safetensors").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"agent\.safetensors is damaged"):
        Agent.load(tmp_path)


def test_a_missing_agent_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"agent\.json is missing"):
        Agent.load(tmp_path)


def test_shipped_agents_are_loaded_by_name(
    trained: tuple[Agent, Path, WorldModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _, model = trained
    monkeypatch.setattr(agents, "SHIPPED", tmp_path)
    agent.save(tmp_path / SCENARIO)
    assert agents.shipped_agents() == agents.shipped_agents(model.fingerprint) == [SCENARIO]
    assert agents.shipped_agents("0123456789abcdef") == []
    assert Agent.load(SCENARIO, model.fingerprint).card == agent.card
    assert list(rivals(model, SCENARIO)) == ["random", "blind", "shipped agent"], "the demo does not compare with the shipped agent"


def test_the_best_of_several_seeds_is_kept(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--weights", str(weights), "--scenarios", SCENARIO, "--seeds", "2", "--steps", "2048", "--episodes", "3", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", ["agents", *words, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "best")])
    training.agents.main()
    seeds = sorted((tmp_path / "work").glob(f"*/{SCENARIO}/seed-*"))
    real = [json.loads((folder / "gap.json").read_text())["real"] for folder in seeds]
    assert len(seeds) == 2 and [Agent.load(folder).card.hyper_parameters["seed"] for folder in seeds] == [0, 1]
    assert Agent.load(tmp_path / "best" / SCENARIO).card.hyper_parameters["seed"] == int(np.argmax(real))
    written = [(folder / "agent.safetensors").stat().st_mtime_ns for folder in seeds]
    training.agents.main()
    assert written == [(folder / "agent.safetensors").stat().st_mtime_ns for folder in seeds], "a finished agent was trained again"


def test_another_format_is_refused(trained: tuple[Agent, Path, WorldModel], tmp_path: Path) -> None:
    trained[0].save(tmp_path)
    about = json.loads((tmp_path / "agent.json").read_text())
    (tmp_path / "agent.json").write_text(json.dumps(about | {"format_version": 99}))
    with pytest.raises(ValueError, match="format version 99"):
        Agent.load(tmp_path)


def test_the_collector_plays_an_agent_by_its_seed(trained: tuple[Agent, Path, WorldModel]) -> None:
    scenario, played = get_scenario(SCENARIO), []
    game = Game(scenario, privileged=True)
    for seed in (1, 1, 2):
        game.reset(7)
        player, actions = make_player(str(trained[1]), scenario, np.random.default_rng(seed)), []
        for _ in range(15):
            actions.append(player(game).tolist())
            game.step(actions[-1])
        played.append(actions)
    game.close()
    assert played[0] == played[1] != played[2]


def test_an_agent_that_takes_over_from_a_teacher_remembers_what_went_before(trained: tuple[Agent, Path, WorldModel]) -> None:
    scenario, pressed = get_scenario(SCENARIO), []
    player = make_player(f"relay:{trained[1]}", scenario, np.random.default_rng(0))
    assert isinstance(player, Relay) and player.agent
    player.change, player.recorded_from = 20, 4
    game = Game(scenario, privileged=True)
    game.reset(7)
    frames, variables = [], []
    for step in range(22):
        if step >= player.recorded_from:
            frames.append(game.frame)
            variables.append(game.variables)
        pressed.append(player(game))
        if step == player.change:
            seen = player.agent.state
        game.step(pressed[-1])
    game.close()
    at, upto = player.recorded_from, player.change
    clip, known = np.stack(frames[: upto + 1 - at])[None], np.stack(variables[: upto + 1 - at])[None]
    expected = trained[2].observe(clip, np.stack(pressed[at:upto])[None], None, known, SCENARIO, start=False)
    torch.testing.assert_close(trained[2].features(seen), trained[2].features(expected))


def test_an_agent_of_another_world_is_refused(trained: tuple[Agent, Path, WorldModel]) -> None:
    with pytest.raises(ValueError, match="was trained for take_cover"):
        make_player(str(trained[1]), get_scenario("health_gathering"), np.random.default_rng(0))


def test_every_episode_that_is_begun_is_scored(weights: Path) -> None:
    lanes = DreamBatch(3, SCENARIO, weights=weights)
    score = play_episodes(lanes, blind_policy(((0, 1),)), 7, first_seed=0)
    assert len(score.returns) == len(score.lengths) == 7
    assert score.margin > 0 and score.lengths.max() <= get_scenario(SCENARIO).time_limit
