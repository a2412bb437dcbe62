"""Promises of dreams with dropout: every dream follows one network of its own to its end."""

from __future__ import annotations

import torch
from conftest import random_frames, states_equal

from doom_dream_env import WorldModel
from doom_dream_env.envs import DreamBatch
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model import DreamState

B, A = 4, len(BUTTONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same_beginnings(model: WorldModel) -> DreamState:
    one = model.observe(random_frames(1, 1), scenario="take_cover")
    return one[torch.zeros(B, dtype=torch.long)]


def steps_of_equal_luck(model: WorldModel, state: DreamState, steps: int, temperature: float = 1.0) -> DreamState:
    luck = generator(5)
    for _ in range(steps):
        noise = model.dynamics.draw_noise(1, luck).expand(B, -1)
        state, *_ = model.imagine(state, torch.eye(A)[:1].expand(B, -1), temperature, noise=noise)
    return state


def test_without_a_mask_all_dreams_follow_the_mean_network(model: WorldModel) -> None:
    after = steps_of_equal_luck(model, same_beginnings(model), 3)
    assert states_equal(after[:1], after[1:2])


def test_dreams_with_masks_go_different_ways_and_keep_their_masks(model: WorldModel) -> None:
    begun = model.with_dropout(same_beginnings(model), generator())
    after = steps_of_equal_luck(model, begun, 3)
    distances = torch.cdist(after.z, after.z)[~torch.eye(B, dtype=torch.bool)]
    assert float(distances.min()) > 1e-4
    assert torch.equal(after.dropout, begun.dropout)
    again = steps_of_equal_luck(model, begun, 3)
    assert states_equal(after, again)


def test_masks_leave_the_mean_as_it_is_and_drop_the_share_that_the_configuration_says(model: WorldModel) -> None:
    masks = model.dynamics.draw_dropout(4000, generator())
    assert abs(float((masks == 0).float().mean()) - model.config.dropout) < 0.01
    torch.testing.assert_close(masks.mean(0), torch.ones_like(masks[0]), atol=0.03, rtol=0)


def test_every_episode_of_a_batch_gets_a_network_of_its_own(model: WorldModel) -> None:
    batch = DreamBatch(B, "take_cover", weights=model)
    batch.reset(seed=0)
    assert batch.state is not None
    first = batch.state.dropout
    assert len(first.flatten(1).unique(dim=0)) == B
    batch.reset(torch.tensor([False, True, False, False]))
    changed = (batch.state.dropout != first).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False]


def test_at_temperature_zero_the_mean_network_dreams(model: WorldModel) -> None:
    begun = same_beginnings(model)
    plain = steps_of_equal_luck(model, begun, 3, temperature=0.0)
    masked = steps_of_equal_luck(model, model.with_dropout(begun, generator()), 3, temperature=0.0)
    assert torch.equal(plain.z, masked.z)
