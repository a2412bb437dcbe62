"""Promises of where a dream begins: at real moments that the weights carry, or at a clip of the user's own.

Legend: N environments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames
from env_tools import dream

from doom_dream_env.envs import DreamBatch
from doom_dream_env.envs.base import FEATURE_LIMIT
from doom_dream_env.world_model import WorldModel

N = 3


def test_a_dream_can_begin_at_any_real_moment(immortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=immortal, initial_states="anywhere")
    batch.reset(seed=0)
    z, _, _, elapsed = immortal.context_clips["take_cover"]
    assert bool((batch.state.length == z.shape[1]).all())  # it remembers the steps before
    began = (z[:, -1] == batch.state.z[:, None]).all(-1).float().argmax(1)
    assert torch.equal(batch.state.elapsed, elapsed[began].long() + z.shape[1] - 1)  # and how long the episode has run
    assert all(bool((z[:, -1] == state).all(1).any()) for state in batch.state.z)
    with pytest.raises(ValueError, match="initial_states 'nowhere' is unknown; choose from episode_start, anywhere"):
        DreamBatch(N, weights=immortal, initial_states="nowhere")


def test_remembering_a_clip_is_observing_it_step_by_step(immortal: WorldModel) -> None:
    z, actions, variables, _ = (part[:2] for part in immortal.context_clips["take_cover"])
    scenario = immortal.scenario_index("take_cover", 2)
    prefilled = immortal.prefill(z, actions, variables, scenario, torch.tensor([-1, -1]))
    state = immortal.begin(z[:, 0], variables[:, 0], scenario, start=False)
    for t in range(1, z.shape[1]):
        state = immortal.advance(state, z[:, t], variables[:, t], actions[:, t - 1])
    torch.testing.assert_close(prefilled.h, state.h, atol=1e-4, rtol=0)


def test_a_dream_goes_on_from_a_given_clip(immortal: WorldModel) -> None:
    frames = random_frames(4)
    actions = np.random.default_rng(0).integers(0, 2, (3, 9))
    variables = np.array([[health, 0, 0, 0] for health in (100, 90, 80, 70)], np.float32)
    env = dream(immortal)
    observation, info = env.reset(seed=0, options={"frames": frames, "actions": actions, "variables": variables})
    state = immortal.observe(frames[None], actions[None], None, variables[None], "take_cover", start=False)
    np.testing.assert_allclose(
        observation, immortal.features(state)[0].clamp(-FEATURE_LIMIT, FEATURE_LIMIT).numpy(), atol=1e-5
    )
    assert info["HEALTH"] == 70
    other, _ = env.reset(seed=0, options={"frames": frames, "actions": 1 - actions, "variables": variables})
    assert not np.allclose(observation, other)
    env.step(0)


def test_a_clip_fills_all_environments_or_the_masked_ones(immortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=immortal)
    features = batch.reset(options={"frames": random_frames(2)})
    assert torch.equal(features[0], features[1]) and torch.equal(features[0], features[2])
    before = batch.state
    mask = torch.tensor([True, False, False])
    batch.reset(mask, options={"frames": random_frames(1, seed=4)})
    assert not torch.allclose(batch.state.z[0], before.z[0]) and torch.equal(batch.state.z[1:], before.z[1:])


def test_weights_without_initial_states_dream_from_clips_only() -> None:
    bare = make_model()
    bare.initial_states = {}
    env = dream(bare)
    with pytest.raises(ValueError, match="no initial states of 'take_cover'"):
        env.reset()
    env.reset(options={"frames": random_frames(1)})
    env.step(1)


def test_a_map_without_initial_states_is_named_with_those_there_are(weights: Path) -> None:
    env = dream(weights, scenario="freedoom", map="MAP07")
    with pytest.raises(ValueError, match="no initial states of 'freedoom:MAP07', only of .*freedoom:MAP01"):
        env.reset(seed=0)
    env.reset(seed=0, options={"frames": random_frames(2)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": random_frames(1)}, "reset options frame are unknown"),
        ({"frames": random_frames(1), "speed": 2}, "reset options speed are unknown"),
        ({"actions": np.zeros((1, 9))}, "give its frames too"),
        ({"frames": random_frames(3), "actions": np.zeros((3, 9))}, "3 frames need actions"),
        ({"frames": random_frames(0)}, "T of 1 or more"),
        ({"frames": random_frames(1)[0]}, "frames must have shape"),
        ({"frames": random_frames(2)[:, :60]}, "frames must have shape"),
        ({"frames": random_frames(2), "variables": np.zeros((2, 3))}, "variables must have shape"),
    ],
)
def test_reset_names_what_is_wrong_with_its_options(weights: Path, options: dict[str, Any], message: str) -> None:
    env = dream(weights)
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)
