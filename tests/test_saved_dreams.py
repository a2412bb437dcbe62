"""Promises of saved dreams: what does not belong to an environment is refused by name, and nothing has changed.

Legend: N environments.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from conftest import states_equal
from env_tools import dream

from doom_dream_env.envs import DreamBatch
from doom_dream_env.world_model import DreamState, WorldModel

N = 2


@pytest.fixture
def batch(immortal: WorldModel) -> DreamBatch:
    made = DreamBatch(N, weights=immortal)
    made.reset(seed=0)
    made.step(torch.zeros(N, dtype=torch.long))
    return made


def refused(batch: DreamBatch, saved: Any, message: str) -> None:
    before = batch.get_state()
    with pytest.raises(ValueError, match=message):
        batch.set_state(saved)
    after = batch.get_state()
    assert states_equal(before["state"], after["state"]) and torch.equal(before["generator"], after["generator"])
    assert torch.equal(before["steps"], after["steps"]) and torch.equal(before["done"], after["done"])


def test_a_dream_of_another_scenario_is_refused_with_both_names(immortal: WorldModel) -> None:
    saved = dream(immortal, scenario="take_cover")
    saved.reset(seed=0)
    env = dream(immortal, scenario="basic")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="saved in take_cover, this environment dreams basic"):
        env.set_state(saved.get_state())
    relabelled = saved.get_state() | {"scenario": "basic"}
    with pytest.raises(ValueError, match="this state is of take_cover, this environment dreams basic"):
        env.set_state(relabelled)
    with pytest.raises(ValueError, match="this state is of take_cover, this environment dreams basic"):
        env.batch.resume(saved.get_state()["state"], 0)


def test_a_batch_dreams_in_place_what_states_dream_as_values(immortal: WorldModel) -> None:
    """Also past the end of its tape, and with dreams that begin anew; states that were handed out stay as they are."""
    batch = DreamBatch(N, weights=immortal)
    batch.reset(seed=0)
    early = batch.state
    assert early is not None
    kept = early.clone()
    state = early
    generator = torch.Generator()
    action = batch.action_table[1].expand(N, -1)
    for step in range(3 * immortal.config.context):
        if step == 5:
            batch.reset(torch.tensor([False, True]))
            state = batch.state or state
        generator.set_state(batch.generator.get_state())
        batch.step(action)
        state, *_ = immortal.imagine(state, action, 1.0, generator)
    late = batch.state
    assert late is not None and states_equal(early, kept)
    for field in dataclasses.fields(DreamState):
        torch.testing.assert_close(getattr(late, field.name), getattr(state, field.name), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(DreamState)])
def test_every_tensor_of_a_state_is_checked(batch: DreamBatch, field: str) -> None:
    saved = batch.get_state()
    state = saved["state"]
    value = getattr(state, field)

    def with_value(other: Any) -> dict[str, Any]:
        return saved | {"state": dataclasses.replace(state, **{field: other})}

    refused(batch, with_value(value[..., None]), f"{field} of a saved dream must be")
    refused(batch, with_value(None), f"{field} of a saved dream must be a tensor")
    other_type = torch.float64 if value.is_floating_point() else torch.int32
    refused(batch, with_value(value.to(other_type)), f"{field} of a saved dream must be")
    if value.is_floating_point():
        broken = value.clone()
        broken.view(-1)[0] = torch.nan
        refused(batch, with_value(broken), f"{field} of a saved dream must be finite")
    elif field != "elapsed":
        refused(batch, with_value(value - 10**6), "of a saved dream must be in|this state is of scenario")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", torch.tensor([1]), "steps of a saved dream must be torch.int64 .2,."),
        ("steps", torch.tensor([1, -1]), "steps of a saved dream must be 0 or more"),
        ("steps", [1, 1], "steps of a saved dream must be a tensor"),
        ("done", torch.zeros(N), "done of a saved dream must be torch.bool"),
        ("generator", torch.zeros(3, dtype=torch.uint8), "the generator's state must be"),
        ("generator", None, "the generator's state must be"),
        ("state", None, "must be a DreamState, got NoneType"),
        ("fingerprint", "0123", "saved with weights 0123"),
    ],
)
def test_every_part_of_a_saved_dream_is_checked(batch: DreamBatch, key: str, value: Any, message: str) -> None:
    refused(batch, batch.get_state() | {key: value}, message)
    short = batch.get_state()
    del short[key]
    refused(batch, short, f"what get_state.. returned, got a dict without {key}")
