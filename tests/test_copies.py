"""Promises of copies: they go on where the original is, share its weights, and pickle by the weights' name."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from conftest import make_model
from env_tools import actions, dreams, play, same

from doom_dream_env.envs import DreamBatch, DreamDoomVecEnv
from doom_dream_env.world_model import WorldModel

WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_dream_goes_on_as_the_original(weights: Path, way: str) -> None:
    env = gym.make("DreamDoom-v0", weights=weights, temperature=2.0)
    env.reset(seed=1)
    env.step(0)
    other = WAYS[way](env)
    assert other.unwrapped.batch.model is env.unwrapped.batch.model, "a copy has weights of its own"
    assert other.unwrapped.temperature == 2.0 and other.spec.kwargs == env.spec.kwargs
    left, right = env.step(1), other.step(1)
    assert same([left[:4]], [right[:4]]) and left[4] == right[4]
    env.reset(seed=2)
    assert not np.array_equal(env.unwrapped.batch.features, other.unwrapped.batch.features), "they share their state"
    assert same(play(env, 5), play(other, 5))


@pytest.mark.parametrize("way", WAYS)
def test_copied_batches_and_vectors_go_on_as_the_original(weights: Path, way: str) -> None:
    vector = dreams(weights)
    sb3 = DreamDoomVecEnv(4, weights=weights)
    vector.reset(seed=0)
    sb3.seed(0)
    sb3.reset()
    for env in (vector, sb3):
        other = WAYS[way](env)
        for t in range(3):
            assert np.array_equal(env.step(actions(t))[0], other.step(actions(t))[0])


def test_a_pickle_of_weights_that_are_others_now_is_refused(tmp_path: Path) -> None:
    make_model(seed=3).save_pretrained(tmp_path)
    text = pickle.dumps(DreamBatch(1, weights=tmp_path))
    make_model(seed=4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="was pickled with weights .* are now"):
        pickle.loads(text)


def test_weights_without_a_name_are_pickled_with_the_dream() -> None:
    env = DreamBatch(1, weights=make_model())
    again = pickle.loads(pickle.dumps(env))
    assert isinstance(again.model, WorldModel) and not again.model.source
    again.reset(seed=0)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_real_game_is_a_game_of_its_own(weights: Path, way: str) -> None:
    env = gym.make("RealDoom-v0", scenario="basic", weights=weights)
    env.reset(seed=1)
    env.step(0)
    other = WAYS[way](env)
    try:
        with pytest.raises(RuntimeError, match="reset"):
            other.unwrapped.step(0)
        assert same(play(env, 7, 5), play(other, 7, 5))
        assert other.unwrapped.batch.games[0] is not env.unwrapped.batch.games[0]
    finally:
        env.close()
        other.close()
