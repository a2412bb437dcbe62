"""Promises of the environments' error messages: they say what was wrong, and nothing has changed.

Legend: N environments.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, states_equal
from env_tools import dream

from doom_dream_env.envs import DreamBatch, DreamDoomEnv
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import WorldModel

N = 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "take_covr"}, "'take_covr' is unknown; choose from basic, deadly_corridor, defend_the_center"),
        ({"observation": "sound"}, "'sound' is unknown; choose from features, pixels"),
        ({"render_mode": "ascii"}, "'ascii' is unknown; choose from"),
        ({"temperature": -0.1}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": float("inf")}, "temperature must be"),
    ],
)
def test_wrong_arguments_are_named(weights: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DreamDoomEnv(weights=weights, **arguments)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, None])
def test_a_batch_needs_an_environment(model: WorldModel, num_envs: Any) -> None:
    with pytest.raises(ValueError, match="num_envs must be a positive int"):
        DreamBatch(num_envs, weights=model)


def test_weights_refuse_a_scenario_they_do_not_know() -> None:
    config = make_model().config
    with pytest.raises(ValueError, match="there are 1 scenarios"):
        dataclasses.replace(config, scenarios=("take_cover",))
    known = WorldModel(dataclasses.replace(config, scenarios=("take_cover",), known=config.known[:1]))
    with pytest.raises(ValueError, match="these weights know take_cover, not 'health_gathering'"):
        DreamBatch(1, "health_gathering", weights=known)


@pytest.mark.parametrize("action", [-1, 3, 1.0, np.array([0]), "left", None])
def test_an_action_outside_the_space_is_refused(weights: Path, action: Any) -> None:
    env = dream(weights)
    env.reset(seed=0)
    before = env.get_state()["state"]
    with pytest.raises(ValueError, match="action"):
        env.step(action)
    assert states_equal(before, env.get_state()["state"])


@pytest.mark.parametrize(
    "actions",
    [[0], [0, 1, 3], [-1, 0, 0], [0.0, 1.0, 1.0], np.zeros((N, 8)), np.full((N, 9), 2), np.zeros((N, 9, 1))],
    ids=str,
)
def test_batch_actions_of_wrong_shape_type_or_range_are_refused(model: WorldModel, actions: Any) -> None:
    batch = DreamBatch(N, weights=model)
    batch.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        batch.step(np.asarray(actions))


def test_indices_are_the_buttons_of_the_table(immortal: WorldModel) -> None:
    by_index, by_button = (DreamBatch(3, weights=immortal) for _ in range(2))
    for batch in (by_index, by_button):
        batch.reset(seed=0)
    left, *_ = by_index.step(np.array([0, 1, 2]))
    right, *_ = by_button.step(SCENARIOS["take_cover"].action_table())
    assert torch.equal(left, right)


def test_step_before_reset_and_after_the_end_is_refused(mortal: WorldModel) -> None:
    env = dream(mortal)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    with pytest.raises(RuntimeError, match="reset"):
        env.get_state()
    env.reset(seed=0)
    assert env.step(0)[2]
    with pytest.raises(RuntimeError, match="ended"):
        env.step(0)
    env.reset()
    env.step(0)


def test_a_list_of_seeds_for_dreams_is_refused(model: WorldModel) -> None:
    with pytest.raises(ValueError, match="one seed for all of them"):
        DreamBatch(N, weights=model).reset(seed=[1, 2, 3])
