"""Promises of arguments, settings and tensors: all doors take the same, and what is handed out is the caller's own.

Legend: N environments."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import dream, dreams, make_model, random_frames
from gymnasium.envs.registration import EnvSpec

from doom_dream_env.envs import (
    DreamBatch,
    DreamDoomEnv,
    DreamDoomVecEnv,
    DreamDoomVectorEnv,
    LatentBatch,
    RealBatch,
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


def test_a_device_may_be_chosen_here(weights: Path) -> None:
    assert DreamBatch(1, weights=weights, device="auto").device.type in ("cpu", "cuda")


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


def test_what_is_handed_out_can_be_learned_from_and_changed_in_place(batch: LatentBatch) -> None:
    calls = HANDED_OUT | (OF_DREAMS if isinstance(batch, DreamBatch) else {})
    for name, call in calls.items():
        returned = call(batch)
        before = (batch.features, batch.variables, batch.state.z.clone(), batch.done.clone(), batch.steps.clone())
        for tensor in returned:
            assert not tensor.is_inference() and not tensor.requires_grad, name
            network = torch.nn.Linear(tensor[0].numel(), 1)
            network(tensor.reshape(N, -1).float()).sum().backward()
            assert network.weight.grad is not None, name
            tensor.numpy()[...] = 1  # NumPy's writes are seen by nobody
        after = (batch.features, batch.variables, batch.state.z, batch.done, batch.steps)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), name
        tensors = [batch.steps, batch.done, *vars(batch.state).values()]
        assert not any(tensor.is_inference() for tensor in tensors), f"attributes after {name}"


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


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint16, np.int32, np.uint64, np.int64])
def test_indices_of_any_integer_type_are_taken(immortal: WorldModel, kind: type) -> None:
    batch = DreamBatch(N, weights=immortal)
    assert torch.equal(batch.buttons(np.array([0, 1, 2], kind)), batch.action_table)
