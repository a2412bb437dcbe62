"""Promises of many dreams at once: Gymnasium's two autoreset modes to the letter, and Stable-Baselines3's.

Legend: N lanes, T steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import make_model, random_frames
from gymnasium.vector import AutoresetMode, VectorEnv

import doom_dream_env  # noqa: F401
from doom_dream_env.envs import DreamDoomVecEnv, DreamDoomVectorEnv
from doom_dream_env.envs.batch import FEATURE_LIMIT
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import WorldModel

N, T = 4, 40
MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


def dreams(weights: Path | WorldModel, num_envs: int = N, **kwargs: Any) -> DreamDoomVectorEnv:
    """The vector environment through Gymnasium's door."""
    env = gym.make_vec("DreamDoom-v0", num_envs=num_envs, weights=weights, **kwargs)
    assert isinstance(env, DreamDoomVectorEnv)
    return env


def actions(t: int) -> np.ndarray:
    """A fixed sequence of actions that differ between lanes."""
    return (np.arange(N) + t) % 3


def is_start(model: WorldModel, observation: np.ndarray) -> bool:
    """Is this the sight of a real beginning?"""
    z = torch.from_numpy(observation[: model.config.state_width])
    return bool((z == model.starts["take_cover"][0]).all(1).any())


def play(env: VectorEnv, seed: int | None, steps: int = T) -> list[tuple[np.ndarray, ...]]:
    seen: list[tuple[np.ndarray, ...]] = [(env.reset(seed=seed)[0],)]
    seen += [env.step(actions(t))[:4] for t in range(steps)]
    return seen


def same(left: list[tuple[np.ndarray, ...]], right: list[tuple[np.ndarray, ...]]) -> bool:
    return all(np.array_equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


# ---- autoreset ---------------------------------------------------------------------------------------------------------


def test_next_step_mode_resets_on_the_step_after_the_end(model: WorldModel) -> None:
    env = dreams(model)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    before, ended_before, ends, clock = None, np.zeros(N, bool), 0, np.zeros(N, int)
    for t in range(T):
        observations, rewards, terminated, truncated, infos = env.step(actions(t))
        assert not (terminated & truncated).any()
        assert "final_obs" not in infos
        for lane in range(N):
            if ended_before[lane]:
                assert is_start(model, observations[lane]), "an ended lane did not show a beginning"
                assert rewards[lane] == 0 and not terminated[lane] and not truncated[lane]
                assert infos["variables"]["HEALTH"][lane] == 100
                clock[lane] = 0
            else:
                assert not is_start(model, observations[lane]), "a running lane was reset"
                assert before is None or not np.array_equal(observations[lane], before[lane])
                clock[lane] += 1
        assert env.lanes.steps.tolist() == clock.tolist(), "a lane lost or won a step"
        before, ended_before = observations, terminated | truncated
        ends += ended_before.sum()
    assert ends >= 5


def test_next_step_mode_ignores_the_action_of_an_ended_lane(model: WorldModel) -> None:
    """Two runs that differ in nothing but what ended lanes press are the same run, even if that is no action at all."""
    runs = []
    for nonsense in (0, 2, 99):
        env = dreams(model)
        env.reset(seed=1)
        ended, seen = np.zeros(N, bool), []
        for t in range(T):
            *step, _ = env.step(np.where(ended, nonsense, actions(t)))
            ended = step[2] | step[3]
            seen.append(tuple(step))
        runs.append(seen)
    assert same(runs[0], runs[1]) and same(runs[0], runs[2])


def test_an_action_of_a_running_lane_is_never_ignored(model: WorldModel) -> None:
    env = dreams(model)
    env.reset(seed=0)
    while not (ended := env.lanes.done.numpy().copy()).any():
        env.step(actions(0))
    bad = np.where(ended, 0, 99)
    saved = env.get_state()
    with pytest.raises(ValueError, match="actions must be in 0…2"):
        env.step(bad)
    env.step(actions(0))
    assert not env.lanes.done[torch.from_numpy(ended)].any(), "a refused step lost the reset that was due"
    env.set_state(saved)
    observations, rewards, *_ = env.step(actions(0))
    assert all(is_start(model, o) for o in observations[ended]) and (rewards[ended] == 0).all(), "a restored end was forgotten"


def test_a_lane_that_goes_on_is_not_disturbed_by_the_resets_of_others(weights: Path) -> None:
    """At temperature 0 nothing rolls dice: a running lane must go exactly as it would alone."""
    model = make_model(survival=60.0)
    batch, alone = dreams(model, temperature=0.0), dreams(model, num_envs=1, temperature=0.0)
    batch.reset(seed=0)
    saved = batch.get_state()
    alone.reset(seed=0)
    alone.set_state(alone.get_state() | {"state": saved["state"][:1]})
    for t in range(12):
        if t in (3, 4, 8):  # the other lanes end here
            batch.lanes.done = torch.tensor([False] + [True] * (N - 1))
        expected, got = alone.step(actions(t)[:1]), batch.step(actions(t))
        np.testing.assert_allclose(got[0][0], expected[0][0], atol=1e-5)
        assert got[1][0] == pytest.approx(expected[1][0], abs=1e-5)
    assert batch.lanes.steps.tolist() == [12, 3, 3, 3]


def test_same_step_mode_resets_at_once_and_keeps_the_last_sight(model: WorldModel) -> None:
    env = dreams(model, autoreset_mode=AutoresetMode.SAME_STEP)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    env.reset(seed=0)
    ends = 0
    for t in range(T):
        observations, rewards, terminated, truncated, infos = env.step(actions(t))
        done = terminated | truncated
        assert ("final_obs" in infos) == done.any()
        if done.any():
            assert np.array_equal(infos["_final_obs"], done) and np.array_equal(infos["_final_info"], done)
            for lane in range(N):
                assert (infos["final_obs"][lane] is not None) == done[lane]
                assert is_start(model, observations[lane]) == done[lane]
                if done[lane]:
                    final = infos["final_obs"][lane]
                    assert final.shape == env.single_observation_space.shape and not is_start(model, final)
                    health = max(infos["final_info"]["variables"]["HEALTH"][lane] / 100, -FEATURE_LIMIT)
                    assert final[-4] == pytest.approx(health), "final_info is not of the final sight"
                    assert observations[lane][-4] == pytest.approx(infos["variables"]["HEALTH"][lane] / 100) == 1
            assert np.array_equal(infos["final_info"]["_drift"], done)
        ends += done.sum()
        assert not env.lanes.done.any()
    assert ends >= 5


@pytest.mark.parametrize("mode", MODES)
def test_results_have_the_form_of_gymnasiums_own_vector(model: WorldModel, mode: AutoresetMode) -> None:
    """Against Gymnasium's own vector of single environments: same keys, shapes and types, step by step, ends included."""
    ours = dreams(model, autoreset_mode=mode)
    theirs = gym.make_vec("DreamDoom-v0", N, "sync", {"autoreset_mode": mode}, weights=model)
    assert ours.single_observation_space == theirs.single_observation_space and ours.action_space == theirs.action_space

    def shape(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: shape(item, key) for key, item in value.items()}
        return (value.dtype, value.shape)

    def observe(env: VectorEnv) -> dict[bool, Any]:
        found = {}
        info = env.reset(seed=0)[1]
        found["reset"] = shape(info)
        for t in range(T):
            *step, info = env.step(actions(t))
            found[bool((step[2] | step[3]).any())] = [shape(x) for x in (*step, info)]
        return found

    mine, gymnasiums = observe(ours), observe(theirs)
    assert mine.keys() == {"reset", True, False} and mine == gymnasiums


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, "sometimes"])
def test_other_modes_are_refused(model: WorldModel, mode: Any) -> None:
    with pytest.raises(ValueError, match="NEXT_STEP|sometimes"):
        dreams(model, autoreset_mode=mode)


# ---- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_max_episode_steps_truncates_every_lane_after_exactly_so_many_steps(immortal: WorldModel, mode: AutoresetMode) -> None:
    limit = 3
    env = dreams(immortal, max_episode_steps=limit, autoreset_mode=mode)
    env.reset(seed=0)
    period = limit + (mode == AutoresetMode.NEXT_STEP)  # the resetting step is one of its own
    for step in range(1, 4 * period + 1):
        _, _, terminated, truncated, _ = env.step(actions(step))
        assert not terminated.any()
        assert truncated.all() if step % period == limit % period else not truncated.any()


@pytest.mark.parametrize("mode", MODES)
def test_the_scenarios_time_limit_truncates(immortal: WorldModel, mode: AutoresetMode) -> None:
    env = dreams(immortal, autoreset_mode=mode)
    env.reset(seed=0)
    limit = SCENARIOS["take_cover"].time_limit
    env.lanes.steps = torch.tensor([limit - 1, limit - 2, 0, 0])
    assert env.step(actions(0))[3].tolist() == [True, False, False, False]
    assert env.step(actions(0))[3].tolist() == [False, True, False, False]


def test_death_in_the_last_step_is_death(mortal: WorldModel) -> None:
    env = dreams(mortal, max_episode_steps=1)
    env.reset(seed=0)
    _, _, terminated, truncated, _ = env.step(actions(0))
    assert terminated.all() and not truncated.any()


@pytest.mark.parametrize("limit", [0, -3])
def test_an_episode_needs_a_step(model: WorldModel, limit: int) -> None:
    with pytest.raises(ValueError, match="max_episode_steps must be 1 or more"):
        dreams(model, max_episode_steps=limit)


# ---- seeds, resets, mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_one_seed_one_set_of_dreams(model: WorldModel, mode: AutoresetMode) -> None:
    env, other = (dreams(model, autoreset_mode=mode) for _ in range(2))
    first = play(env, 3)
    assert same(first, play(env, 3)) and same(first, play(other, 3))
    assert not same(first, play(env, 4)) and not same(first, play(env, None))
    assert same(first, [(env.reset(seed=[3] * N)[0],), *first[1:]])
    lanes = first[1][0]
    assert len(np.unique(lanes, axis=0)) == N, "lanes dream the same dream"


def test_saved_dreams_branch_exactly(immortal: WorldModel) -> None:
    env = dreams(immortal)
    env.reset(seed=0)
    env.step(actions(0))
    saved = env.get_state()
    futures = []
    for shift, back in ((0, False), (0, True), (1, True)):
        if back:
            env.set_state(saved)
        futures.append([env.step(actions(t + shift))[:4] for t in range(5)])
    assert same(futures[0], futures[1]) and not same(futures[0], futures[2])


def test_reset_mask_resets_the_masked_lanes_only(immortal: WorldModel) -> None:
    env = dreams(immortal)
    env.reset(seed=0)
    before = env.step(actions(0))[0]
    mask = np.array([True, False, False, True])
    observations, infos = env.reset(options={"reset_mask": mask})
    assert [is_start(immortal, o) for o in observations] == mask.tolist()
    assert np.array_equal(observations[~mask], before[~mask])
    assert np.array_equal(infos["_drift"], mask)
    env.step(actions(1))
    assert env.lanes.steps.tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize("mask", [np.zeros(N, bool), np.ones(N - 1, bool), np.ones(N, int)], ids=["none", "short", "ints"])
def test_a_reset_mask_of_wrong_form_is_refused(immortal: WorldModel, mask: np.ndarray) -> None:
    env = dreams(immortal)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask must be 4 bools"):
        env.reset(options={"reset_mask": mask})


def test_mistakes_are_named(model: WorldModel) -> None:
    with pytest.raises(ValueError, match="num_envs must be a positive int"):
        DreamDoomVectorEnv(0, weights=model)
    with pytest.raises(ValueError, match="render_mode 'human' is unknown for many dreams"):
        dreams(model, render_mode="human")
    with pytest.raises(ValueError, match="choose from features, pixels"):
        dreams(model, observation="sound")
    env = dreams(model)
    with pytest.raises(RuntimeError, match="before reset"):
        env.step(actions(0))
    with pytest.raises(ValueError, match="reset options speed are unknown"):
        env.reset(options={"speed": 1})
    with pytest.raises(ValueError, match="one for each of the 4 lanes"):
        env.reset(seed=[1, 2])
    env.reset(seed=0)
    for wrong in (np.zeros(N - 1, int), np.array(0), np.zeros(N), np.full(N, 3)):
        with pytest.raises(ValueError, match="action"):
            env.step(wrong)


def test_pixels_and_pictures_come_from_all_lanes(immortal: WorldModel) -> None:
    env = dreams(immortal, observation="pixels", render_mode="rgb_array")
    observations, _ = env.reset(seed=0)
    assert observations.shape == (N, 120, 160, 3) and env.observation_space.contains(observations)
    pictures = env.render()
    assert len(pictures) == N and all(np.array_equal(a, b) for a, b in zip(pictures, observations, strict=True))
    assert dreams(immortal).render() is None


def test_vector_clip_resets_all_lanes(immortal: WorldModel) -> None:
    env = dreams(immortal)
    observations, _ = env.reset(options={"frames": random_frames(2)})
    assert (observations == observations[0]).all()


# ---- Stable-Baselines3 ---------------------------------------------------------------------------------------------------


def test_sb3_ended_lanes_begin_anew_at_once(model: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=model)
    env.seed(0)
    env.reset()
    returns, lengths, ends = np.zeros(N), np.zeros(N, int), 0
    for t in range(T):
        observations, rewards, dones, infos = env.step(actions(t))
        returns, lengths = returns + rewards, lengths + 1
        assert rewards.dtype == np.float32 and dones.dtype == bool and env.observation_space.contains(observations[0])
        for lane in range(N):
            assert is_start(model, observations[lane]) == dones[lane]
            assert ("terminal_observation" in infos[lane]) == dones[lane]
            if dones[lane]:
                assert not is_start(model, infos[lane]["terminal_observation"])
                assert infos[lane]["TimeLimit.truncated"] is False
                assert infos[lane]["episode"]["l"] == lengths[lane]
                assert infos[lane]["episode"]["r"] == pytest.approx(returns[lane], rel=1e-4)
                returns[lane], lengths[lane], ends = 0, 0, ends + 1
    assert ends >= 5


def test_sb3_is_told_when_time_is_up(immortal: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=immortal)
    env.reset()
    env.lanes.steps = torch.full((N,), SCENARIOS["take_cover"].time_limit - 1)
    *_, dones, infos = env.step(actions(0))
    assert dones.all() and all(info["TimeLimit.truncated"] for info in infos)


def test_sb3_seeds_repeat(model: WorldModel) -> None:
    def run(seed: int | None) -> np.ndarray:
        env = DreamDoomVecEnv(N, weights=model)
        if seed is not None:
            env.seed(seed)
        return np.stack([env.reset(), *(env.step(actions(t))[0] for t in range(T))])

    first = run(1)
    assert np.array_equal(first, run(1))
    assert not np.array_equal(first, run(2)) and not np.array_equal(first, run(None))


def test_sb3_seed_is_used_once(model: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=model)
    env.seed(1)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)


def test_sb3_ppo_learns_in_it(weights: Path) -> None:
    from stable_baselines3 import PPO

    env = DreamDoomVecEnv(N, weights=weights)
    agent = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, device="cpu", seed=0)
    before = [p.detach().clone() for p in agent.policy.parameters()]
    agent.learn(64)
    assert agent.num_timesteps == 64
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    assert agent.ep_info_buffer, "SB3 saw no finished episode"


def test_sb3_single_and_vector_dreams_are_one_engine(immortal: WorldModel) -> None:
    """Given the same dice, all doors lead to the same dream."""
    vector, sb3 = dreams(immortal), DreamDoomVecEnv(N, weights=immortal)
    vector.reset(seed=11)
    sb3.seed(11)
    left = [vector.reset(seed=11)[0]] + [vector.step(actions(t))[0] for t in range(8)]
    right = [sb3.reset()] + [sb3.step(actions(t))[0] for t in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_sb3_helpers_answer_for_every_lane(model: WorldModel) -> None:
    env = DreamDoomVecEnv(N, weights=model)
    env.reset()
    assert env.get_attr("observation") == ["features"] * N and env.env_is_wrapped(gym.Wrapper, [0, 2]) == [False] * 2
    assert len(env.get_images()) == N and env.get_images()[0].shape == (120, 160, 3)
    env.set_attr("render_mode", None)
    assert env.render_mode is None
    assert env.env_method("drift", indices=[1])[0].shape == (N,)
