"""Promises of the environments' form: both checkers pass, and dream and game have the same spaces."""

from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium as gym
import pytest
from env_tools import dream
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from doom_dream_env.scenarios import SCENARIOS

OBSERVATIONS = ("features", "pixels")
# Real games take a second each to start: two kinds of scenario in every run, the others when there is time.
SOME = [
    name if name in ("take_cover", "freedoom") else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS
]


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_dream_passes_both_checkers_without_a_warning(weights: Path, scenario: str, observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(dream(weights, scenario=scenario, observation=observation, render_mode="rgb_array"))
        sb3_check(dream(weights, scenario=scenario, observation=observation))


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("scenario", SOME)
def test_real_game_passes_both_checkers_without_a_warning(weights: Path, scenario: str, observation: str) -> None:
    env = gym.make(
        "RealDoom-v0", scenario=scenario, observation=observation, weights=weights, render_mode="rgb_array"
    ).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check(env)
        gymnasium_check(env)
    env.close()


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("scenario", SOME)
def test_dream_and_real_game_have_the_same_spaces(weights: Path, scenario: str, observation: str) -> None:
    real = gym.make("RealDoom-v0", scenario=scenario, observation=observation, weights=weights)
    try:
        imagined = dream(weights, scenario=scenario, observation=observation)
        assert real.observation_space == imagined.observation_space
        assert real.action_space == imagined.action_space
        buttons = (
            gym.spaces.Discrete(len(SCENARIOS[scenario].buttons) + 1)
            if SCENARIOS[scenario].discrete
            else gym.spaces.MultiBinary(9)
        )
        assert real.action_space == buttons
        assert set(real.reset(seed=1)[1]) == set(imagined.reset(seed=1)[1])
    finally:
        real.close()
