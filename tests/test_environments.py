"""Promises of the environments' form: both checkers pass, mistakes are named, saved dreams and copies go on.

Legend: N environments."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import NUM_ENVS, actions, dream, dreams, make_model, play, random_frames, same, states_equal
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from doom_dream_env.envs import DreamBatch, DreamDoomVecEnv
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import DreamState, WorldModel

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


# ---- env mistakes --------------------------------------------------------------------------------------------------
N = 3
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "make": lambda at, given: dream(at.model, **given),
    "make_vec": lambda at, given: dreams(at.model, **given),
    "batch": lambda at, given: DreamBatch(**({"num_envs": 1, "weights": at.model} | given)),
    "step": lambda at, given: at.batch.step(np.asarray(given)),
    "reset": lambda at, given: at.batch.reset(**given),
    "reset of a vector": lambda at, given: at.vector.reset(**given),
}
NAN, INF = float("nan"), float("inf")
SHAPES = ([0], [0, 1, 3], [-1, 0, 0], [0.0, 1.0, 1.0], np.zeros((N, 8)), np.full((N, 9), 2), np.zeros((N, 9, 1)))
MASKS = ([0, 1, 0], np.ones(N - 1, bool), torch.tensor([0.0, 1.0, 0.0]))
RESET_MASKS = (np.zeros(NUM_ENVS, bool), np.ones(NUM_ENVS - 1, bool), np.ones(NUM_ENVS, int))
MISTAKES: list[tuple[str, Any, str]] = [  # who is asked, for what, and what the error names
    ("make", {"scenario": "take_covr"}, "'take_covr' is unknown; choose from basic, deadly_corridor"),
    ("make", {"observation": "sound"}, "choose from features, pixels"),
    ("make", {"render_mode": "ascii"}, "'ascii' is unknown"),
    *(("make", {"temperature": value}, "temperature must be") for value in (-0.1, NAN, INF)),
    ("make_vec", {"render_mode": "human"}, "'human' is unknown for many dreams"),
    ("make_vec", {"observation": "sound"}, "choose from features, pixels"),
    *(("make_vec", {"autoreset_mode": mode}, "NEXT_STEP, SAME_STEP, DISABLED") for mode in ("sometimes", None)),
    *(("batch", {"num_envs": count}, "num_envs must be a positive int") for count in (0, -1, 2.0, None)),
    ("batch", {"initial_states": "nowhere"}, "choose from episode_start, anywhere"),
    *(("batch", {"device": device}, "choose 'cpu', 'cuda' or 'auto'") for device in ("gpu0", 3.5, None)),
    ("batch", {"device": "cuda:99"}, "no device 'cuda:99'"),
    *(("step", actions, "action") for actions in SHAPES),
    *(("step", np.full((N, 9), pressed), "0 .released. or 1 .pressed.") for pressed in (0.5, -1, 2, NAN)),
    *(("reset", {"seed": seed}, "a seed must be an int") for seed in (-1, 1.5, "3", 2**64)),
    ("reset", {"seed": [1, 2, 3]}, "one seed for all of them"),
    *(("reset", {"envs": mask}, "envs must be a mask of 3 bools") for mask in MASKS),
    ("reset", {"options": {"frame": random_frames(1)}}, "frame are unknown"),
    ("reset", {"options": {"frames": random_frames(1), "speed": 2}}, "speed are unknown"),
    ("reset", {"options": {"actions": np.zeros((1, 9))}}, "give its frames too"),
    ("reset", {"options": {"frames": random_frames(3), "actions": np.zeros((3, 9))}}, "3 frames need actions"),
    ("reset", {"options": {"frames": random_frames(0)}}, "T of 1 or more"),
    ("reset", {"options": {"frames": random_frames(2)[:, :60]}}, "frames must have shape"),
    ("reset", {"options": {"frames": random_frames(2), "variables": np.zeros((2, 3))}}, "variables must have shape"),
    ("reset of a vector", {"options": {"speed": 1}}, "speed are unknown"),
    ("reset of a vector", {"seed": [1, 2]}, "one for each of the 4 environments"),
    *(("reset of a vector", {"options": {"reset_mask": mask}}, "must be 4 bools") for mask in RESET_MASKS),
]


@pytest.fixture(scope="module")
def made(model: WorldModel) -> SimpleNamespace:
    """A model with dreams of it that have begun."""
    at = SimpleNamespace(model=model, batch=DreamBatch(N, weights=model), vector=dreams(model))
    at.batch.reset(seed=0)
    at.vector.reset(seed=0)
    return at


@pytest.mark.parametrize(("who", "given", "message"), MISTAKES)
def test_mistakes_are_named(made: SimpleNamespace, who: str, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CALLS[who](made, given)


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


def test_step_before_reset_and_after_the_end_is_refused(mortal: WorldModel) -> None:
    env = dream(mortal)
    for ask in (lambda: env.step(0), env.get_state, lambda: dreams(mortal).step(actions(0))):
        with pytest.raises(RuntimeError, match="reset"):
            ask()
    env.reset(seed=0)
    assert env.step(0)[2]
    with pytest.raises(RuntimeError, match="ended"):
        env.step(0)
    env.reset()
    env.step(0)


# ---- saved dreams --------------------------------------------------------------------------------------------------
TWO = 2


@pytest.fixture
def batch(immortal: WorldModel) -> DreamBatch:
    made = DreamBatch(TWO, weights=immortal)
    made.reset(seed=0)
    made.step(torch.zeros(TWO, dtype=torch.long))
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
    batch = DreamBatch(TWO, weights=immortal)
    batch.reset(seed=0)
    early = batch.state
    assert early is not None
    kept = early.clone()
    state = early
    generator = torch.Generator()
    action = batch.action_table[1].expand(TWO, -1)
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
        ("done", torch.zeros(TWO), "done of a saved dream must be torch.bool"),
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


# ---- copies --------------------------------------------------------------------------------------------------------
WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_dream_goes_on_as_the_original(weights: Path, way: str) -> None:
    env = gym.make("DreamDoom-v0", weights=weights, temperature=2.0)
    env.reset(seed=1)
    env.step(0)
    other = WAYS[way](env)
    assert other.unwrapped.batch.model is env.unwrapped.batch.model, "a copy has weights of its own"
    assert other.unwrapped.temperature == 2.0 and other.spec.kwargs == env.spec.kwargs
    left, right = env.step(1), other.step(1)
    assert same([left[:4]], [right[:4]]) and left[4] == right[4]
    env.reset(seed=2)
    assert not np.array_equal(env.unwrapped.batch.features, other.unwrapped.batch.features), "they share their state"
    assert same(play(env, 5), play(other, 5))


@pytest.mark.parametrize("way", WAYS)
def test_copied_batches_and_vectors_go_on_as_the_original(weights: Path, way: str) -> None:
    vector = dreams(weights)
    sb3 = DreamDoomVecEnv(4, weights=weights)
    vector.reset(seed=0)
    sb3.seed(0)
    sb3.reset()
    for env in (vector, sb3):
        other = WAYS[way](env)
        for t in range(3):
            assert np.array_equal(env.step(actions(t))[0], other.step(actions(t))[0])


def test_a_pickle_of_weights_that_are_others_now_is_refused(tmp_path: Path) -> None:
    make_model(seed=3).save_pretrained(tmp_path)
    text = pickle.dumps(DreamBatch(1, weights=tmp_path))
    make_model(seed=4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="was pickled with weights .* are now"):
        pickle.loads(text)


def test_weights_without_a_name_are_pickled_with_the_dream() -> None:
    env = DreamBatch(1, weights=make_model())
    again = pickle.loads(pickle.dumps(env))
    assert isinstance(again.model, WorldModel) and not again.model.source
    again.reset(seed=0)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_real_game_is_a_game_of_its_own(weights: Path, way: str) -> None:
    env = gym.make("RealDoom-v0", scenario="basic", weights=weights)
    env.reset(seed=1)
    env.step(0)
    other = WAYS[way](env)
    try:
        with pytest.raises(RuntimeError, match="reset"):
            other.unwrapped.step(0)
        assert same(play(env, 7, 5), play(other, 7, 5))
        assert other.unwrapped.batch.games[0] is not env.unwrapped.batch.games[0]
    finally:
        env.close()
        other.close()
