"""Promises of many dreams at once: Gymnasium's autoreset modes to the letter.

Legend: N environments, T steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import NUM_ENVS, actions, dreams, is_start, make_model, same
from gymnasium.vector import AutoresetMode, VectorEnv

from doom_dream_env.envs.base import FEATURE_LIMIT
from doom_dream_env.world_model import WorldModel

N = NUM_ENVS
T = 40
MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)  # that reset by themselves


def play(env: VectorEnv, seed: int | None, steps: int = T) -> list[tuple[np.ndarray, ...]]:
    seen: list[tuple[np.ndarray, ...]] = [(env.reset(seed=seed)[0],)]
    seen += [env.step(actions(t))[:4] for t in range(steps)]
    return seen


def test_next_step_mode_resets_on_the_step_after_the_end(model: WorldModel) -> None:
    env = dreams(model)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    before = None
    ended_before = np.zeros(N, bool)
    ends = 0
    clock = np.zeros(N, int)
    for t in range(T):
        observations, rewards, terminated, truncated, infos = env.step(actions(t))
        assert not (terminated & truncated).any()
        assert "final_obs" not in infos
        for i in range(N):
            if ended_before[i]:
                assert is_start(model, observations[i]), "an ended environment did not show an episode's first moment"
                assert rewards[i] == 0 and not terminated[i] and not truncated[i]
                assert infos["HEALTH"][i] == 100
                clock[i] = 0
            else:
                assert not is_start(model, observations[i]), "a running environment was reset"
                assert before is None or not np.array_equal(observations[i], before[i])
                clock[i] += 1
        assert env.batch.steps.tolist() == clock.tolist(), "an environment lost or won a step"
        before = observations
        ended_before = terminated | truncated
        ends += ended_before.sum()
    assert ends >= 5


def test_next_step_mode_ignores_the_action_of_an_ended_environment(model: WorldModel) -> None:
    """Runs that differ in nothing but what ended environments press are the same, even if that is no action at all."""
    runs = []
    for nonsense in (0, 2, 99):
        env = dreams(model)
        env.reset(seed=1)
        ended = np.zeros(N, bool)
        seen = []
        for t in range(T):
            *step, _ = env.step(np.where(ended, nonsense, actions(t)))
            ended = step[2] | step[3]
            seen.append(tuple(step))
        runs.append(seen)
    assert same(runs[0], runs[1]) and same(runs[0], runs[2])


def test_an_action_of_a_running_environment_is_never_ignored(model: WorldModel) -> None:
    env = dreams(model)
    env.reset(seed=0)
    while not (ended := env.batch.done.numpy().copy()).any():
        env.step(actions(0))
    bad = np.where(ended, 0, 99)
    saved = env.get_state()
    with pytest.raises(ValueError, match="actions must be in 0…2"):
        env.step(bad)
    env.step(actions(0))
    assert not env.batch.done[torch.from_numpy(ended)].any(), "a refused step lost the reset that was due"
    env.set_state(saved)
    observations, rewards, *_ = env.step(actions(0))
    assert all(is_start(model, o) for o in observations[ended]) and (rewards[ended] == 0).all(), (
        "a restored end was forgotten"
    )


def test_a_dream_that_goes_on_is_not_disturbed_by_the_resets_of_others(weights: Path) -> None:
    """At temperature 0 nothing is drawn: a running dream must go exactly as it would alone."""
    model = make_model(survival=60.0)
    many = dreams(model, temperature=0.0)
    alone = dreams(model, num_envs=1, temperature=0.0)
    many.reset(seed=0)
    saved = many.get_state()
    alone.reset(seed=0)
    alone.set_state(alone.get_state() | {"state": saved["state"][:1]})
    for t in range(12):
        if t in (3, 4, 8):  # the others end here
            many.set_state(many.get_state() | {"done": torch.tensor([False] + [True] * (N - 1))})
        expected = alone.step(actions(t)[:1])
        got = many.step(actions(t))
        np.testing.assert_allclose(got[0][0], expected[0][0], atol=1e-5)
        assert got[1][0] == pytest.approx(expected[1][0], abs=1e-5)
    assert many.batch.steps.tolist() == [12, 3, 3, 3]


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
            for i in range(N):
                assert (infos["final_obs"][i] is not None) == done[i]
                assert is_start(model, observations[i]) == done[i]
                if done[i]:
                    final = infos["final_obs"][i]
                    assert final.shape == env.single_observation_space.shape and not is_start(model, final)
                    health = max(infos["final_info"]["HEALTH"][i] / 100, -FEATURE_LIMIT)
                    assert final[-4] == pytest.approx(health), "final_info is not of the final sight"
                    assert observations[i][-4] == pytest.approx(infos["HEALTH"][i] / 100) == 1
            assert np.array_equal(infos["final_info"]["_drift"], done)
        ends += done.sum()
        assert not env.batch.done.any()
    assert ends >= 5


@pytest.mark.parametrize("mode", MODES)
def test_results_have_the_form_of_gymnasiums_own_vector(model: WorldModel, mode: AutoresetMode) -> None:
    """As Gymnasium's own vector of single environments: same keys, shapes and types, step by step, ends included."""
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

    mine = observe(ours)
    assert mine.keys() == {"reset", True, False} and mine == observe(theirs)


def test_without_autoreset_ended_environments_wait_to_be_reset(model: WorldModel) -> None:
    env = dreams(model, autoreset_mode=AutoresetMode.DISABLED)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    env.reset(seed=0)
    ends = 0
    for t in range(T):
        observations, _, terminated, truncated, infos = env.step(actions(t))
        ended = terminated | truncated
        assert "final_obs" not in infos and not any(is_start(model, o) for o in observations)
        if ended.any():
            with pytest.raises(RuntimeError, match="have ended: reset them"):
                env.step(actions(t))
            again, _ = env.reset(options={"reset_mask": ended})
            assert [is_start(model, o) for o in again] == ended.tolist()
            assert np.array_equal(again[~ended], observations[~ended])
        ends += ended.sum()
    assert ends >= 5


@pytest.mark.parametrize("mode", MODES)
def test_max_episode_steps_truncates_after_exactly_so_many_steps(immortal: WorldModel, mode: AutoresetMode) -> None:
    limit = 3
    env = dreams(immortal, max_episode_steps=limit, autoreset_mode=mode)
    env.reset(seed=0)
    period = limit + (mode == AutoresetMode.NEXT_STEP)  # the resetting step is one of its own
    for step in range(1, 4 * period + 1):
        _, _, terminated, truncated, _ = env.step(actions(step))
        assert not terminated.any()
        assert truncated.all() if step % period == limit % period else not truncated.any()


@pytest.mark.parametrize("mode", MODES)
def test_one_seed_one_set_of_dreams(model: WorldModel, mode: AutoresetMode) -> None:
    env, other = (dreams(model, autoreset_mode=mode) for _ in range(2))
    first = play(env, 3)
    assert same(first, play(env, 3)) and same(first, play(other, 3))
    assert not same(first, play(env, 4)) and not same(first, play(env, None))
    assert same(first, [(env.reset(seed=[3] * N)[0],), *first[1:]])
    assert len(np.unique(first[1][0], axis=0)) == N, "two environments dream the same dream"


def test_reset_mask_resets_the_masked_environments_only(immortal: WorldModel) -> None:
    env = dreams(immortal)
    env.reset(seed=0)
    before = env.step(actions(0))[0]
    mask = np.array([True, False, False, True])
    observations, infos = env.reset(options={"reset_mask": mask})
    assert [is_start(immortal, o) for o in observations] == mask.tolist()
    assert np.array_equal(observations[~mask], before[~mask])
    assert np.array_equal(infos["_drift"], mask)
    env.step(actions(1))
    assert env.batch.steps.tolist() == [1, 2, 2, 1]


def test_pixels_and_pictures_come_from_all_environments(immortal: WorldModel) -> None:
    env = dreams(immortal, observation="pixels", render_mode="rgb_array")
    observations, _ = env.reset(seed=0)
    assert observations.shape == (N, 120, 160, 3) and env.observation_space.contains(observations)
    pictures = env.render()
    assert len(pictures) == N and all(picture.shape == (120, 160, 3) for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[1])
    assert all(np.array_equal(a, b) for a, b in zip(pictures, env.render(), strict=True)), "a moment was drawn twice"
    assert dreams(immortal).render() is None
