"""Promises of the policies that see nothing: they press the scenario's buttons, and the same seed plays the same way.

Legend: N environments.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from doom_dream_env.envs import DreamBatch
from doom_dream_env.policies import (
    AlternatingPolicy,
    HeldRandomPolicy,
    PerturbedPolicy,
    RandomPolicy,
    fixed_policies,
    routine,
)
from doom_dream_env.scenarios import BUTTONS, press
from doom_dream_env.world_model import WorldModel

N = 50


@pytest.fixture
def batch(immortal: WorldModel) -> DreamBatch:
    """Dreams of a scenario with an action table."""
    batch = DreamBatch(N, "take_cover", weights=immortal)
    batch.reset(seed=0)
    return batch


@pytest.fixture
def free(immortal: WorldModel) -> DreamBatch:
    """Dreams of free play, which takes all buttons together."""
    batch = DreamBatch(N, "freedoom", weights=immortal)
    batch.reset(seed=0)
    return batch


def test_fixed_policies_press_the_scenarios_buttons(batch: DreamBatch) -> None:
    policies = fixed_policies(batch.scenario)
    table = batch.scenario.action_table()
    assert list(policies) == ["noop", "random", "routine"] and not policies["noop"](batch).any()
    drawn = torch.cat([batch.buttons(policies["random"](batch)) for _ in range(8)])
    assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in table.tolist()}
    at = np.array([0, 24, 25, 49, 50])
    np.testing.assert_array_equal(routine(batch.scenario).buttons_at(at), table[[2, 2, 1, 1, 2]])


def test_free_play_is_walked_forward(free: DreamBatch) -> None:
    policies = fixed_policies(free.scenario)
    drawn = policies["random"](free)
    assert drawn.shape == (N, len(BUTTONS)) and drawn.any(0).all() and not drawn.all(0).any()
    forward = policies["routine"](free)
    assert forward[:, BUTTONS.index("MOVE_FORWARD")].all() and forward.sum() == N


def test_a_routine_goes_by_each_episodes_own_time(batch: DreamBatch) -> None:
    policy = AlternatingPolicy.of_indices(batch.scenario, ((1, 2), (2, 1)))
    table = batch.action_table
    for expected in (1, 1, 2, 1):
        assert torch.equal(policy(batch).float(), table[expected].expand(N, -1))
        batch.step(policy(batch))
    batch.reset(torch.arange(N) == 0)
    mixed = policy(batch).float()
    assert torch.equal(mixed[0], table[1]) and torch.equal(mixed[1], table[1])
    batch.step(mixed)
    mixed = policy(batch).float()
    assert torch.equal(mixed[0], table[1]) and torch.equal(mixed[1], table[2])


@pytest.mark.parametrize("name", ["take_cover", "freedoom"])
def test_one_seed_one_way_of_random_play(immortal: WorldModel, name: str) -> None:
    batch = DreamBatch(N, name, weights=immortal)
    first, again, other = (RandomPolicy(seed)(batch) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_random_actions_are_held_as_long_as_they_should(batch: DreamBatch) -> None:
    policy = HeldRandomPolicy(batch.scenario, np.random.default_rng(0), 3, 3, num_envs=N)
    seen = np.stack([policy.next_buttons() for _ in range(60)])
    blocks = seen.reshape(20, 3, N, len(BUTTONS))
    assert (blocks == blocks[:, :1]).all(), "an action was not held for three steps"
    table = batch.scenario.action_table()
    assert {tuple(row) for row in blocks[:, 0].reshape(-1, len(BUTTONS))} == {tuple(row) for row in table}


def test_a_new_episode_gets_a_new_held_action(batch: DreamBatch) -> None:
    policy = HeldRandomPolicy(batch.scenario, np.random.default_rng(0), 1000, 1000, num_envs=N)
    first = policy(batch)
    batch.step(first)
    assert torch.equal(policy(batch), first)
    begun = torch.arange(N) < N // 2
    batch.reset(begun)
    second = policy(batch)
    assert torch.equal(second[~begun], first[~begun]) and not torch.equal(second[begun], first[begun])
    one = DreamBatch(1, "take_cover", weights=batch.model)
    one.reset(seed=0)
    assert policy(one).shape == (1, len(BUTTONS)), "a policy is bound to the batch that it played in first"


def test_a_share_of_actions_is_perturbed(batch: DreamBatch) -> None:
    held = AlternatingPolicy([press("MOVE_LEFT")], [1])
    left = press("MOVE_LEFT")
    for share in (0.0, 0.5, 1.0):
        policy = PerturbedPolicy(held, share, seed=1)
        played = torch.stack([policy(batch) for _ in range(40)]).numpy()
        changed = (played != left).any(-1).mean()
        assert changed == pytest.approx(share * 2 / 3, abs=0.05)  # a third of uniform actions are the same one
