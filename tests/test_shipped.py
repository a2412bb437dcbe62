"""Promises of the weights that ship: they predict the real game, listen to the keys, and can be used."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import doom_dream_env  # noqa: F401
from doom_dream_env import WorldModel
from doom_dream_env.agents.minds import load_mind
from doom_dream_env.envs import DreamBatch, RealBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.game.game import Game
from doom_dream_env.idm import InverseDynamics
from doom_dream_env.policies import HeldRandomPolicy
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.seeds import SHIPPED_TESTS
from doom_dream_env.world_model import files
from doom_dream_env.world_model.files import shipped
from doom_dream_env.world_model.flops import parameters_and_flops
from training.config import CollectConfig
from training.data.collect import collect
from training.data.dataset import Dataset
from training.evaluation.key_events import key_scores, persistence

pytestmark = pytest.mark.skipif(not shipped(), reason="no weights in this checkout")

EPISODES = 4
KNOWN = files.read_json(files.find_weights(None) / files.CONFIG)["scenarios"] if shipped() else []
CONTEXT = 11  # real steps that the dream has seen
AHEAD = 8  # steps that it dreams


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return WorldModel.from_pretrained()


def test_the_scorecard_says_how_large_they_are(model: WorldModel) -> None:
    said = files.read_json(files.find_weights(None) / files.SCORECARD)["parts"]
    assert said == {name: list(counted) for name, counted in parameters_and_flops(model).items()}


def skills(model: WorldModel, name: str) -> tuple[float, float]:
    """Latent skill after AHEAD steps, with the true and with shuffled actions.

    Measured on fresh real episodes in which random actions are held.
    """
    scenario, rng = get_scenario(name), np.random.default_rng(0)
    game, table = Game(scenario), scenario.action_table()
    error, shuffled_error, still = 0.0, 0.0, 0.0
    for episode in range(EPISODES):
        game.reset(SHIPPED_TESTS + episode)
        frames, variables, actions = [game.frame], [game.variables], []
        while len(frames) < 60:
            action = actions[-1] if len(frames) % 5 and actions else table[rng.integers(len(table))]
            _, terminated, truncated = game.step(action)
            if terminated or truncated:
                break
            frames.append(game.frame)
            variables.append(game.variables)
            actions.append(action)
        with torch.inference_mode():
            z = model.encode(np.stack(frames)[None])[0]
            order, values = rng.permutation(len(actions)), torch.from_numpy(np.stack(variables))
            for now in range(CONTEXT, len(frames) - AHEAD, 4):
                seen = slice(now - CONTEXT, now + 1)
                past = torch.from_numpy(np.stack(actions[seen])).float()[:-1]
                index = model.scenario_index(name, 1)
                elapsed = torch.tensor([now - CONTEXT])
                state = model.prefill(z[seen][None], past[None], values[seen][None], index, elapsed)
                true = wrong = state
                for t in range(now, now + AHEAD):
                    true, _, _ = model.imagine(true, actions[t][None], temperature=0.0)
                    wrong, _, _ = model.imagine(wrong, actions[order[t]][None], temperature=0.0)
                error += float((true.z - z[now + AHEAD]).square().sum())
                shuffled_error += float((wrong.z - z[now + AHEAD]).square().sum())
                still += float((z[now] - z[now + AHEAD]).square().sum())
    game.close()
    return 1 - error / still, 1 - shuffled_error / still


# What the game's rules allow in a step: rewards (scenario configuration: living reward, penalty of death, prizes), and
# the greatest value of each of `VARIABLES`.
RULES: dict[str, tuple[tuple[float, float], tuple[float, float, float, float]]] = {
    "take_cover": ((0, 4), (100, 0, 0, 0)),
    "basic": ((-9, 101), (0, 50, 0, 0)),
    "defend_the_center": ((-1, 2), (100, 26, 0, 0)),
    "defend_the_line": ((-1, 3), (100, 200, 0, 0)),
    "health_gathering": ((-100, 4), (100, 0, 0, 0)),
    "health_gathering_supreme": ((-100, 4), (100, 0, 0, 0)),
    "deadly_corridor": ((-150, 1200), (100, 0, 0, 0)),
    "my_way_home": ((-0.0005, 1), (0, 0, 0, 0)),
    "predict_position": ((-0.005, 1), (0, 0, 0, 0)),
    "freedoom": ((-10, 10), (200, 0, 600, 200)),
}


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("name", KNOWN)
def test_a_dream_pays_and_counts_only_what_the_game_can(model: WorldModel, name: str, temperature: float) -> None:
    (least, most), greatest = RULES[name]
    batch = DreamBatch(16, name, weights=model, temperature=temperature)
    batch.reset(seed=1)
    policy = HeldRandomPolicy(get_scenario(name), np.random.default_rng(0), 1, 12)
    for _ in range(60):
        _, reward, _, _ = batch.step(policy(batch))
        assert least <= float(reward.min())
        assert float(reward.max()) <= most
        assert bool((batch.variables >= 0).all())
        assert bool((batch.variables <= torch.tensor(greatest)).all())
        if bool(batch.done.any()):
            batch.reset(batch.done)


@pytest.mark.parametrize("name", ["defend_the_center", "take_cover", "health_gathering"])
def test_predicts_the_real_game_and_listens_to_the_keys(model: WorldModel, name: str) -> None:
    true, wrong = skills(model, name)
    assert true >= 0.5
    assert wrong <= 0.5 * true


def test_episodes_of_the_dream_end_as_in_the_game(model: WorldModel) -> None:
    """Doing nothing in health_gathering is 96 steps of burning floor, then death, in the game and in the dream."""
    env = gym.make("DreamDoom-v0", scenario="health_gathering", weights=model)
    lengths = []
    for seed in range(5):
        env.reset(seed=seed)
        step = 0
        terminated = truncated = False
        while not (terminated or truncated):
            step += 1
            _, _, terminated, truncated, info = env.step(np.int64(0))
        lengths.append(step)
        assert terminated and info["HEALTH"] <= 0
    assert 80 <= np.mean(lengths) <= 112


def test_keys_are_read_off_pictures_of_a_map_never_seen(tmp_path: Path) -> None:
    collect(
        CollectConfig(
            out=tmp_path,
            scenarios=("freedoom",),
            split="test",
            steps=400,
            mix={"scripted": 1.0},
            maps=("E1M4",),
            workers=1,
        )
    )
    data = Dataset(tmp_path, ("freedoom",), "test", None)
    episodes = [np.arange(first, data.last[first] + 1) for first in np.unique(data.first)]
    true = [data.actions[rows] for rows in episodes]
    model = InverseDynamics.from_pretrained()
    scores = key_scores(true, [model.label(data.frames(rows)).actions for rows in episodes])
    held = key_scores(true, persistence(true))
    assert scores.mean_f1 >= 0.5 and scores.mean_f1 >= 2 * held.mean_f1


def test_the_clone_finds_the_goal_of_the_maze_in_the_real_game(model: WorldModel) -> None:
    clone = load_mind("clone", "my_way_home", model, seed=0)
    played = evaluate_policy(RealBatch(2, "my_way_home", weights=model), clone, 4, SHIPPED_TESTS)
    assert (played.returns > 0.5).all()
