"""Promises of many dreams behind Stable-Baselines3's interface.

Legend: N environments, T steps.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from env_tools import NUM_ENVS, actions, dreams, is_start
from stable_baselines3.common.vec_env import VecMonitor

from doom_dream_env.envs import DreamDoomVecEnv
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


def test_seeds_repeat(model: WorldModel) -> None:
    def run(seed: int | None) -> np.ndarray:
        env = DreamDoomVecEnv(N, weights=model)
        if seed is not None:
            env.seed(seed)
        return np.stack([env.reset(), *(env.step(actions(t))[0] for t in range(T))])

    first = run(1)
    assert np.array_equal(first, run(1))
    assert not np.array_equal(first, run(2)) and not np.array_equal(first, run(None))


def test_a_seed_is_used_once(model: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=model)
    env.seed(1)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)


def test_ppo_learns_in_it(weights: Path) -> None:
    from stable_baselines3 import PPO

    env = VecMonitor(DreamDoomVecEnv(N, weights=weights))
    agent = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, device="cpu", seed=0)
    before = [p.detach().clone() for p in agent.policy.parameters()]
    agent.learn(64)
    assert agent.num_timesteps == 64
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    assert agent.ep_info_buffer, "SB3 saw no finished episode"


def test_vector_and_sb3_dreams_are_one_engine(immortal: WorldModel) -> None:
    """Given the same random numbers, all doors lead to the same dream."""
    vector = dreams(immortal)
    sb3 = DreamDoomVecEnv(N, weights=immortal)
    vector.reset(seed=11)
    sb3.seed(11)
    left = [vector.reset(seed=11)[0]] + [vector.step(actions(t))[0] for t in range(8)]
    right = [sb3.reset()] + [sb3.step(actions(t))[0] for t in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_helpers_answer_for_every_environment(model: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=model)
    env.reset()
    assert env.get_attr("observation") == ["features"] * N and env.env_is_wrapped(gym.Wrapper, [0, 2]) == [False] * 2
    assert len(env.get_images()) == N and env.get_images()[0].shape == (120, 160, 3)
    env.set_attr("render_mode", None)
    assert env.render_mode is None
    assert env.env_method("drift", indices=[1])[0].shape == (N,)


@pytest.mark.parametrize("limit", [1, 3])
def test_max_episode_steps_truncates_after_exactly_so_many_steps(immortal: WorldModel, limit: int) -> None:
    env = DreamDoomVecEnv(N, weights=immortal, max_episode_steps=limit)
    env.reset()
    for step in range(1, 3 * limit + 1):
        *_, dones, infos = env.step(actions(step))
        assert dones.all() if step % limit == 0 else not dones.any()
        assert all(info.get("TimeLimit.truncated", False) == (step % limit == 0) for info in infos)
