"""Promises of many dreams behind Stable-Baselines3's interface.

Legend: N environments, T steps.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import NUM_ENVS, actions, dreams, is_start, random_frames
from stable_baselines3.common.vec_env import VecMonitor

from doom_dream_env.envs import DreamBatch, DreamDoomVecEnv, LatentVecEnv, RealBatch
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import WorldModel

N = NUM_ENVS
T = 40


def test_ended_environments_begin_anew_at_once(model: WorldModel) -> None:
    env = VecMonitor(DreamDoomVecEnv(N, weights=model))  # reports the returns and lengths of episodes
    env.seed(0)
    env.reset()
    returns = np.zeros(N)
    lengths = np.zeros(N, int)
    ends = 0
    for t in range(T):
        observations, rewards, dones, infos = env.step(actions(t))
        returns = returns + rewards
        lengths = lengths + 1
        assert rewards.dtype == np.float32 and dones.dtype == bool and env.observation_space.contains(observations[0])
        for i in range(N):
            assert is_start(model, observations[i]) == dones[i]
            assert ("terminal_observation" in infos[i]) == dones[i]
            assert set(infos[i]) >= set(env.venv.reset_infos[i]) == {"drift", "HEALTH"}
            if dones[i]:
                assert not is_start(model, infos[i]["terminal_observation"])
                assert infos[i]["TimeLimit.truncated"] is False
                assert infos[i]["episode"]["l"] == lengths[i]
                assert infos[i]["episode"]["r"] == pytest.approx(returns[i], rel=1e-4)
                returns[i] = 0
                lengths[i] = 0
                ends += 1
    assert ends >= 5


def test_stable_baselines_is_told_when_time_is_up(immortal: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=immortal)
    env.reset()
    env.batch.resume(env.batch.state, SCENARIOS["take_cover"].time_limit - 1)
    *_, dones, infos = env.step(actions(0))
    assert dones.all() and all(info["TimeLimit.truncated"] for info in infos)


def test_vector_and_sb3_dreams_are_one_engine(immortal: WorldModel) -> None:
    """Given the same random numbers, all doors lead to the same dream."""
    vector = dreams(immortal)
    sb3 = DreamDoomVecEnv(N, weights=immortal)
    vector.reset(seed=11)
    sb3.seed(11)
    left = [vector.reset(seed=11)[0]] + [vector.step(actions(t))[0] for t in range(8)]
    right = [sb3.reset()] + [sb3.step(actions(t))[0] for t in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_attributes_are_those_of_the_environments_asked_for(immortal: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=immortal, temperature=0.5)
    env.reset()
    assert env.get_attr("observation") == ["features"] * N and env.env_is_wrapped(gym.Wrapper, [0, 2]) == [False] * 2
    assert env.get_attr("temperature", indices=1) == [0.5] and env.get_attr("time_limit") == [525] * N
    assert env.get_attr("scenario", [0])[0].name == "take_cover" and env.get_attr("render_mode") == ["rgb_array"] * N
    assert env.get_attr("action_space") == [env.action_space] * N
    env.env_method("reset", indices=[0, 2])
    env.step(actions(0))
    env.env_method("reset", indices=[2])
    assert [int(steps) for steps in env.get_attr("steps")] == [1, 1, 0, 1] == env.batch.steps.tolist()
    assert torch.equal(env.get_attr("variables", indices=-1)[0], env.batch.variables[N - 1])
    assert len(env.get_images()) == N and env.get_images()[0].shape == (120, 160, 3)
    assert env.has_attr("temperature") and not env.has_attr("action_masks")


def test_only_the_environments_asked_for_are_reset(immortal: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=immortal)
    env.reset()
    before = env.step(actions(0))[0]
    results = env.env_method("reset", indices=[0, 3])
    assert len(results) == 2 and all(is_start(immortal, observation) for observation, _ in results)
    assert all(info.keys() == {"drift", "HEALTH"} for _, info in results)
    after = env.batch.features.numpy()
    assert np.array_equal(after[[1, 2]], before[[1, 2]]) and np.array_equal(after[3], results[1][0])
    assert env.batch.steps.tolist() == [0, 1, 1, 0]
    clip = {"frames": random_frames(2)}
    assert not is_start(immortal, env.env_method("reset", options=clip, indices=[2])[0][0])
    with pytest.raises(ValueError, match="share one generator: give a seed without indices"):
        env.env_method("reset", seed=3, indices=[0])
    env.seed(3)
    seeded = [observation for observation, _ in env.env_method("reset", seed=3)]
    assert np.array_equal(np.stack(seeded), env.reset())
    drifts = env.batch.drift().tolist()
    assert env.env_method("drift", indices=[1]) == [drifts[1]] and env.env_method("drift") == drifts
    assert np.array_equal(env.env_method("render", indices=[2])[0], env.batch.drawn()[2].numpy())


def test_what_is_set_is_set_for_all_of_them(model: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=model)
    VecMonitor(env).set_attr("temperature", 0.0)
    assert env.batch.temperature == 0 and env.get_attr("temperature") == [0.0] * N
    env.set_attr("temperature", 2.0, indices=range(N))
    with pytest.raises(ValueError, match="all 4 environments share one temperature"):
        env.set_attr("temperature", 1.0, indices=[0])
    with pytest.raises(ValueError, match="temperature must be"):
        env.set_attr("temperature", -1)
    assert env.batch.temperature == 2
    env.set_attr("render_mode", None)
    assert env.render_mode is None


def test_environments_begin_with_options_of_their_own(immortal: WorldModel) -> None:
    env = DreamDoomVecEnv(2, weights=immortal)
    left, right = ({"frames": random_frames(2, seed=seed)} for seed in (1, 2))
    expected = [DreamBatch(1, weights=immortal).reset(options=clip)[0].numpy() for clip in (left, right)]
    env.set_options([left, right])
    np.testing.assert_allclose(env.reset(), np.stack(expected), atol=1e-5)
    env.set_options([{}, right])
    observations = env.reset()
    assert is_start(immortal, observations[0])
    np.testing.assert_allclose(observations[1], expected[1], atol=1e-5)
    env.set_options(left)
    np.testing.assert_allclose(env.reset(), np.stack([expected[0]] * 2), atol=1e-5)
    assert all(is_start(immortal, observation) for observation in env.reset()), "options were used twice"
    env.set_options([left])
    with pytest.raises(ValueError, match="options for 2 environments, got 1"):
        env.reset()


def test_a_subclass_answers_for_every_environment(model: WorldModel) -> None:
    class Masked(DreamDoomVecEnv):
        """Action 1 is for environments with even numbers."""

        level = 3

        def action_masks(self) -> np.ndarray:
            return np.array([[True, env % 2 == 0, True] for env in range(self.num_envs)])

        def one(self) -> int:
            return 1

    env = VecMonitor(Masked(N, weights=model))
    env.reset()
    assert env.has_attr("action_masks") and env.get_attr("level", [1]) == [3]
    assert np.stack(env.env_method("action_masks"))[:, 1].tolist() == [True, False, True, False]
    assert env.env_method("action_masks", indices=[1])[0].tolist() == [True, False, True]
    with pytest.raises(ValueError, match="one must return one value for each of the 4 environments"):
        env.env_method("one")
    env.set_attr("level", 4)
    assert env.get_attr("level") == [4] * N


def test_real_games_are_a_vecenv_too(model: WorldModel) -> None:
    dream = DreamDoomVecEnv(2, weights=model)
    env = VecMonitor(LatentVecEnv(RealBatch(2, weights=model, max_episode_steps=3)))
    assert env.observation_space == dream.observation_space and env.action_space == dream.action_space
    env.seed(0)
    env.reset()
    for _ in range(3):
        observations, rewards, dones, infos = env.step(np.ones(2, np.int64))
    assert dones.all() and (rewards == 4).all()
    assert all(info["TimeLimit.truncated"] and info["episode"]["r"] == 12 for info in infos)
    assert not np.array_equal(infos[0]["terminal_observation"], observations[0]), "the next episode has not begun"
    env.close()
