"""Promises of the shipped dreams in the long run: nothing but numbers, no growing memory, clean resets. All slow."""

from __future__ import annotations

import resource

import pytest
import torch

from doom_dream_env import WorldModel
from doom_dream_env.envs import DreamBatch
from doom_dream_env.policies import RandomPolicy
from doom_dream_env.world_model import files
from doom_dream_env.world_model.files import shipped

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shipped(), reason="no weights in this checkout")]

KNOWN = files.read_json(files.find_weights(None) / files.CONFIG)["scenarios"] if shipped() else []
ENVS = 256
STEPS = 1_000_000  # of all environments and scenarios together
UNBROKEN_ENVS = 16
UNBROKEN_STEPS = 100_000  # of all environments together
WARM_UP = 0.4  # share of the steps after which memory does not grow any more: all have been reset by then
ALLOWED_KB = 20_000


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return WorldModel.from_pretrained()


def peak_kb() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", KNOWN)
def test_a_million_random_steps_in_256_environments_of_all_scenarios(model: WorldModel, name: str) -> None:
    batch = DreamBatch(ENVS, name, weights=model, max_episode_steps=50)
    policy = RandomPolicy(seed=0)
    first = batch.reset(seed=0)
    z, variables = model.initial_states[batch.scenario.place]
    steps = -(-STEPS // (len(KNOWN) * ENVS))
    resets = 0
    peak = 0
    for step in range(steps):
        features, reward, _, _ = batch.step(policy(batch))
        assert bool(features.isfinite().all()) and bool(reward.isfinite().all())
        if bool(batch.done.any()):
            ended = batch.done.clone()
            fresh = batch.reset(ended)
            resets += int(ended.sum())
            assert not bool(batch.done.any()) and not bool(batch.steps[ended].any()) and bool(batch.steps[~ended].all())
            assert torch.equal(fresh[~ended], features[~ended]), "a reset has changed others"
            assert bool((batch.state.z[ended][:, None] == z).all(-1).any(1).all()), "an episode began nowhere"
            assert bool((batch.variables[ended][:, None] == variables).all(-1).any(1).all())
        if step == int(WARM_UP * steps):
            peak = peak_kb()
    assert resets >= steps * ENVS // 100 and peak_kb() - peak < ALLOWED_KB
    assert torch.equal(batch.reset(seed=0), first), "the same seed began other dreams after all that"


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_a_hundred_thousand_steps_without_a_reset(model: WorldModel, temperature: float) -> None:
    """Nobody should go on after an episode's end; who does still gets numbers within the bounds of the space."""
    batch = DreamBatch(UNBROKEN_ENVS, "health_gathering", weights=model, temperature=temperature)
    policy = RandomPolicy(seed=0)
    batch.reset(seed=0)
    steps = UNBROKEN_STEPS // UNBROKEN_ENVS
    peak = 0
    for step in range(steps):
        features, reward, _, _ = batch.step(policy(batch), allow_ended=True)
        assert bool(features.isfinite().all()) and bool(reward.isfinite().all())
        if step == int(WARM_UP * steps):
            peak = peak_kb()
    assert bool(batch.drift().isfinite().all()) and bool((batch.steps == steps).all())
    assert peak_kb() - peak < ALLOWED_KB
    assert not bool(batch.reset().isnan().any()) and not bool(batch.done.any())
