"""Promises of arguments and settings: what can be set later works, what cannot says so, and all doors take the same.

Legend: N environments.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import make_model
from env_tools import dream, dreams
from gymnasium.envs.registration import EnvSpec

from doom_dream_env.envs import (
    DreamBatch,
    DreamDoomEnv,
    DreamDoomVecEnv,
    DreamDoomVectorEnv,
    RealDoomEnv,
)
from doom_dream_env.scenarios import SCENARIOS, TICS_PER_SECOND
from doom_dream_env.world_model import WorldModel

N = 3
DOORS = {
    "gym": lambda weights, **kw: dream(weights, **kw),
    "vector": lambda weights, **kw: dreams(weights, **kw),
    "sb3": lambda weights, **kw: DreamDoomVecEnv(N, weights=weights, **kw),
    "batch": lambda weights, **kw: DreamBatch(N, weights=weights, **kw),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_temperature_of_a_running_dream_can_be_set(immortal: WorldModel, door: str) -> None:
    env = DOORS[door](immortal, temperature=3.0)
    batch = env if isinstance(env, DreamBatch) else env.batch
    calm = DreamBatch(batch.num_envs, temperature=0.0, weights=immortal)
    batch.reset(seed=0)
    calm.reset(seed=0)
    env.temperature = 0.0
    assert env.temperature == batch.temperature == 0
    nothing = torch.zeros(batch.num_envs, dtype=torch.long)
    assert torch.equal(batch.step(nothing)[0], calm.step(nothing)[0])
    for wrong in (-1, float("nan"), None, "warm"):
        with pytest.raises(ValueError, match="temperature must be a finite number, 0 or more"):
            env.temperature = wrong


@pytest.mark.parametrize("door", DOORS)
def test_what_is_decided_when_an_environment_is_made_says_so(immortal: WorldModel, door: str) -> None:
    env = DOORS[door](immortal)
    for name in ("scenario", "observation", "device", "weights", "map", "max_episode_steps", "num_envs"):
        with pytest.raises(AttributeError, match=f"{name} is decided when a {type(env).__name__} is made"):
            setattr(env, name, "basic")
    env.own = 1  # anything else is the user's own business
    assert env.own == 1


def test_a_real_game_has_no_temperature_to_set(weights: Path) -> None:
    env = gym.make("RealDoom-v0", weights=weights, temperature=1.0)
    with pytest.raises(AttributeError, match="temperature is decided"):
        env.unwrapped.temperature = 0.0
    env.close()


def test_only_the_id_need_be_swapped() -> None:
    """Both ids take the same keywords, with the same defaults."""
    dreamed, real = (inspect.signature(kind).parameters for kind in (DreamDoomEnv, RealDoomEnv))
    assert list(dreamed) == list(real)
    assert [p.default for p in dreamed.values()] == [p.default for p in real.values()]
    for name, door in (("vector", DreamDoomVectorEnv), ("sb3", DreamDoomVecEnv)):
        own = {"num_envs", "render_mode", "autoreset_mode", "max_episode_steps", "initial_states"}
        assert set(inspect.signature(door).parameters) | own == set(dreamed) | own, name


@pytest.mark.parametrize("count", [np.int64(N), np.uint8(N), torch.tensor(N)])
def test_counts_and_seeds_may_be_integers_of_numpy_or_torch(immortal: WorldModel, count: Any) -> None:
    batch = DreamBatch(count, weights=immortal, max_episode_steps=count)
    assert batch.num_envs == batch.time_limit == N and type(batch.num_envs) is int
    assert torch.equal(batch.reset(seed=count), batch.reset(seed=N))
    assert dreams(immortal, num_envs=count).num_envs == DreamDoomVecEnv(count, weights=immortal).num_envs == N


@pytest.mark.parametrize("seed", [-1, 1.5, "3", 2**64, [1, -2]])
def test_what_is_no_seed_is_refused(model: WorldModel, seed: Any) -> None:
    with pytest.raises(ValueError, match="a seed must be an int"):
        DreamBatch(2, weights=model).reset(seed=seed)


@pytest.mark.parametrize("mask", [[0, 1, 0], np.ones(N - 1, bool), torch.tensor([0.0, 1.0, 0.0])], ids=str)
def test_what_is_no_mask_is_refused(model: WorldModel, mask: Any) -> None:
    batch = DreamBatch(N, weights=model)
    with pytest.raises(ValueError, match=f"envs must be a mask of {N} bools"):
        batch.reset(mask)


@pytest.mark.parametrize("pressed", [0.5, -1, 2, float("nan")])
def test_a_button_is_pressed_or_not(model: WorldModel, pressed: float) -> None:
    batch = DreamBatch(N, weights=model)
    batch.reset(seed=0)
    buttons = np.zeros((N, 9))
    buttons[1, 4] = pressed
    with pytest.raises(ValueError, match="0 .released. or 1 .pressed."):
        batch.step(buttons)


def test_a_device_is_chosen_or_refused_by_name(weights: Path) -> None:
    assert DreamBatch(1, weights=weights, device="auto").device.type in ("cpu", "cuda")
    for wrong in ("gpu0", 3.5, None):
        with pytest.raises(ValueError, match="is unknown; choose 'cpu', 'cuda' or 'auto'"):
            DreamBatch(1, weights=weights, device=wrong)
    with pytest.raises(ValueError, match="there is no device 'cuda:99' here"):
        DreamBatch(1, weights=weights, device="cuda:99")


@pytest.mark.parametrize("scenario", ["take_cover", "freedoom"])
def test_films_run_at_the_games_speed(weights: Path, scenario: str) -> None:
    exact = TICS_PER_SECOND / SCENARIOS[scenario].frame_skip
    assert DreamDoomVecEnv(2, scenario, weights=weights).metadata["render_fps"] == exact
    assert dreams(weights, scenario=scenario).metadata["render_fps"] == exact
    rate = dream(weights, scenario=scenario).metadata["render_fps"]
    assert isinstance(rate, int) and rate == round(exact), "gymnasium.utils.play takes whole numbers only"


def test_gymnasiums_description_of_an_environment_goes_into_json(weights: Path, model: WorldModel) -> None:
    for given in (weights, model, str(weights)):
        one = gym.make("DreamDoom-v0", weights=given)
        many = gym.make_vec("DreamDoom-v0", 2, weights=given)
        for env, make in ((one, gym.make), (many, gym.make_vec)):
            spec = EnvSpec.from_json(env.spec.to_json())
            assert spec.kwargs["weights"] == str(weights)
            assert make(spec).unwrapped.batch.model.fingerprint == model.fingerprint
    nameless = make_model()
    assert gym.make("DreamDoom-v0", weights=nameless).spec.kwargs["weights"].source == ""
