"""Promises of agents in the training: they play for the collector, and the best of several seeds is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.agents.agent import make_network
from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from training.config import AgentsConfig
from training.players.handover import HandoverPlayer
from training.players.roster import make_player
from training.stages import agents

SCENARIO = "take_cover"


@pytest.fixture(scope="module")
def saved(model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an agent with random weights."""
    torch.manual_seed(0)
    network = make_network([model.config.feature_width, 16, len(get_scenario(SCENARIO).action_table())], "Tanh")
    folder = tmp_path_factory.mktemp("agent")
    Agent(AgentCard(SCENARIO, model.fingerprint, model.source, "Tanh"), network).save(folder)
    return folder


def test_the_collector_plays_an_agent_by_its_seed(saved: Path) -> None:
    scenario = get_scenario(SCENARIO)
    game = Game(scenario, privileged=True)
    played = []
    for seed in (1, 1, 2):
        game.reset(7)
        player = make_player(str(saved), scenario, np.random.default_rng(seed))
        actions = []
        for _ in range(15):
            actions.append(player(game).tolist())
            game.step(actions[-1])
        played.append(actions)
    game.close()
    assert played[0] == played[1] != played[2]


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


def test_an_agent_of_another_scenario_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match="was trained for take_cover"):
        make_player(str(saved), get_scenario("health_gathering"), np.random.default_rng(0))


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
