"""Promises of what batches hand out: ordinary tensors, the caller's own, the same whatever torch is set to.

Legend: N environments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames
from env_tools import dream

from doom_dream_env.envs import DreamBatch, LatentBatch, RealBatch
from doom_dream_env.world_model import WorldModel

N = 3
NOTHING = torch.zeros(N, dtype=torch.long)
# Every method and property of a batch that returns tensors.
HANDED_OUT: dict[str, Callable[[Any], tuple[torch.Tensor, ...]]] = {
    "reset": lambda batch: (batch.reset(),),
    "step": lambda batch: batch.step(NOTHING),
    "features": lambda batch: (batch.features,),
    "variables": lambda batch: (batch.variables,),
    "drift": lambda batch: (batch.drift(),),
    "pixels": lambda batch: (batch.pixels(),),
    "buttons": lambda batch: (batch.buttons(NOTHING),),
}
OF_DREAMS: dict[str, Callable[[Any], tuple[torch.Tensor, ...]]] = {
    "resume": lambda batch: (batch.resume(batch.state, 1),),
    "set_state": lambda batch: (batch.set_state(batch.get_state()),),
    "get_state": lambda batch: (batch.get_state()["state"].z, batch.get_state()["steps"]),
}


@pytest.fixture(scope="module", params=["dream", "game"])
def batch(request: pytest.FixtureRequest, immortal: WorldModel) -> Iterator[LatentBatch]:
    made: LatentBatch
    made = DreamBatch(N, weights=immortal) if request.param == "dream" else RealBatch(N, weights=immortal)
    made.reset(seed=0)
    yield made
    made.close()


def test_a_network_learns_from_all_that_is_handed_out(batch: LatentBatch) -> None:
    calls = HANDED_OUT | (OF_DREAMS if isinstance(batch, DreamBatch) else {})
    for name, call in calls.items():
        for tensor in call(batch):
            assert not tensor.is_inference() and not tensor.requires_grad, name
            network = torch.nn.Linear(tensor[0].numel(), 1)
            network(tensor.reshape(N, -1).float()).sum().backward()
            assert network.weight.grad is not None, name
        tensors = [batch.steps, batch.done, *vars(batch.state).values()]
        assert not any(tensor.is_inference() for tensor in tensors), f"attributes after {name}"


def test_what_is_handed_out_may_be_changed_in_place(batch: LatentBatch) -> None:
    calls = HANDED_OUT | (OF_DREAMS if isinstance(batch, DreamBatch) else {})
    for name, call in calls.items():
        returned = call(batch)
        before = (batch.features, batch.variables, batch.state.z.clone(), batch.done.clone(), batch.steps.clone())
        for tensor in returned:
            tensor.numpy()[...] = 1  # NumPy's writes are seen by nobody
        after = (batch.features, batch.variables, batch.state.z, batch.done, batch.steps)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), name


def test_features_are_computed_once_a_step(immortal: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    features = WorldModel.features
    monkeypatch.setattr(WorldModel, "features", lambda self, state: computed.append(1) or features(self, state))
    batch = DreamBatch(N, weights=immortal)
    for change in (
        lambda: batch.reset(seed=0),
        lambda: batch.step(NOTHING)[0],
        lambda: batch.reset(torch.tensor([True, False, False])),
        lambda: batch.set_state(batch.get_state()),
        lambda: batch.resume(batch.state, 3),
    ):
        computed.clear()
        seen = change()
        assert torch.equal(seen, batch.features) and torch.equal(seen, batch.features)
        assert len(computed) == 1
        assert torch.equal(seen, features(immortal, batch.state).clamp(-10, 10)), "features of an earlier state"


@contextlib.contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "setting",
    [double, torch.inference_mode, torch.enable_grad, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["float64", "inference", "grad", "autocast"],
)
def test_a_dream_is_the_same_whatever_torch_is_set_to(weights: Path, setting: Callable[[], Any]) -> None:
    def go() -> list[torch.Tensor]:
        batch = DreamBatch(N, weights=weights)
        seen = [batch.reset(seed=3)]
        for _ in range(4):
            seen += batch.step(NOTHING, allow_ended=True)
        seen += [batch.reset(options={"frames": random_frames(2)}), batch.pixels(), batch.drift()]
        return seen

    expected = go()
    with setting():
        found = go()
        assert torch.get_default_dtype() == (torch.float64 if setting is double else torch.float32)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(expected, found, strict=True))


def test_weights_that_are_loaded_in_inference_mode_can_be_learned_through(tmp_path: Path) -> None:
    make_model(seed=5).save_pretrained(tmp_path)
    with torch.inference_mode():
        batch = DreamBatch(1, weights=tmp_path)
        batch.reset(seed=0)
    z = batch.state.z.clone().requires_grad_()
    batch.model.decoder.places(z).sum().backward()
    assert z.grad is not None
    batch.step(torch.tensor([0]))


def test_an_environment_works_in_float64(weights: Path) -> None:
    with double():
        env = dream(weights, observation="pixels")
        env.reset(seed=0)
        observation, *_ = env.step(0)
        assert env.observation_space.contains(observation)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint16, np.int32, np.uint64, np.int64])
def test_indices_of_any_integer_type_are_taken(immortal: WorldModel, kind: type) -> None:
    batch = DreamBatch(N, weights=immortal)
    assert torch.equal(batch.buttons(np.array([0, 1, 2], kind)), batch.action_table)
