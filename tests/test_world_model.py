"""Promises of the world model's verbs: shapes, one computation in training and stepping, a state that is a value.

Legend: B batch, T time, A buttons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames, states_equal
from toy_world import plain_batch

from doom_dream_env.scenarios import BUTTONS, VARIABLE_SCALES
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.flops import parameters_and_flops

B, T, A = 3, 5, len(BUTTONS)
TOLERANCE = 1e-4


def history(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, actions and variables of B histories of T steps."""
    rng = np.random.default_rng(seed)
    variables = rng.uniform(0, np.array(VARIABLE_SCALES), (B, T, len(VARIABLE_SCALES))).astype(np.float32)
    return random_frames(B, T, seed=seed), rng.integers(0, 2, (B, T - 1, A)), variables


def assert_close(found: DreamState, expected: DreamState, tolerance: float = 1e-5) -> None:
    for field in dataclasses.fields(DreamState):
        mine, theirs = getattr(found, field.name), getattr(expected, field.name)
        torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=tolerance)


def test_verbs_return_the_documented_shapes_and_types(model: WorldModel) -> None:
    config = model.config
    frames = random_frames(B, T)
    z = model.encode(frames)
    assert z.shape == (B, T, config.state_width) and z.dtype == torch.float32
    state = model.observe(frames, torch.zeros(B, T - 1, A), scenario="take_cover")
    assert isinstance(state, DreamState) and len(state) == B
    following, reward, continues = model.imagine(state, torch.zeros(B, A))
    assert following.z.shape == (B, config.state_width) and reward.shape == (B,) and continues.shape == (B,)
    assert bool(((continues >= 0) & (continues <= 1)).all())
    features = model.features(following)
    assert features.shape == (B, config.feature_width) and features.dtype == torch.float32
    picture = model.decode(following)
    assert picture.shape == (B, 120, 160, 3) and picture.dtype == torch.uint8
    assert following.nbytes < 100_000 * B


def test_encoding_does_not_depend_on_the_rest_of_the_batch(model: WorldModel) -> None:
    frames = random_frames(B, T)
    alone = model.encode(frames[1:2, 2:3])
    together = model.encode(frames)
    torch.testing.assert_close(together[1:2, 2:3], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0, 0], together[1, 0]), "different frames, one state"


HALF = np.zeros((B, T, 60, 160, 3), np.uint8)
FRAMES, ACTIONS, VARIABLES = np.zeros((B, T, 120, 160, 3), np.uint8), np.zeros((B, T - 1, A)), np.zeros((B, T, 4))


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda model: model.encode(FRAMES[0]), ValueError, r"frames must have shape \(B, T, 120, 160, 3\)"),
        (lambda model: model.encode(HALF), ValueError, "frames must have shape"),
        (lambda model: model.encode(FRAMES.transpose(0, 1, 4, 2, 3)), ValueError, "frames must have shape"),
        (lambda model: model.encode(FRAMES.astype(np.float32)), TypeError, "uint8"),
        (lambda model: model.observe(FRAMES, ACTIONS[:, 1:]), ValueError, r"actions of shape \(3, 4, 9\)"),
        (lambda model: model.observe(FRAMES, ACTIONS, None, VARIABLES[..., :1]), ValueError, "variables must"),
        (lambda model: model.observe(FRAMES, ACTIONS, model.observe(FRAMES[:, :1])), ValueError, "one frame and one"),
        (lambda model: model.observe(FRAMES, ACTIONS, scenario="take_covr"), ValueError, "these weights know"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    model: WorldModel, do: Callable[[WorldModel], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        do(model)


def test_decoding_needs_the_state_alone(model: WorldModel) -> None:
    """Two dreams with the same state and different histories look the same: no real frame leaks in."""
    frames = random_frames(2, 2)
    frames[1, 1] = frames[0, 1]
    state = model.observe(frames, np.zeros((2, 1, A)))
    assert not torch.allclose(state.h[0], state.h[1])
    picture = model.decode(state)
    assert torch.equal(picture[0], picture[1])
    assert torch.equal(model.decode(state.z), picture)
    assert not torch.equal(model.decode(state.z + 1.0), picture)


@pytest.mark.parametrize("scenario", [None, "take_cover", "defend_the_center"])
def test_observing_a_history_is_observing_it_step_by_step(model: WorldModel, scenario: str | None) -> None:
    frames, actions, variables = history()
    whole = model.observe(frames, actions, None, variables, scenario)
    state = model.observe(frames[:, :1], None, None, variables[:, :1], scenario)
    for t in range(1, T):
        state = model.observe(frames[:, t : t + 1], actions[:, t - 1 : t], state, variables[:, t : t + 1])
    assert_close(state, whole)


def test_observing_is_the_full_pass_of_training(model: WorldModel) -> None:
    """The tokens of `embed_window`, from which training learns, are those of stepping.

    Free play has no ammunition of that kind.
    """
    from training.data.latents import embed_window

    frames, actions, variables = history()
    variables[..., 1] = 0
    values = torch.from_numpy(variables)
    index = model.scenario_index("freedoom", B)
    pressed = torch.cat([torch.from_numpy(actions).float(), torch.ones(B, 1, A)], 1)  # the last one is not seen
    batch = plain_batch(B, T, index, actions=pressed, variables=values)
    h = model.trunk(embed_window(model, model.encode(frames), batch, index))
    state = model.observe(frames, actions, None, variables, "freedoom")
    torch.testing.assert_close(state.h, h[:, -1], atol=TOLERANCE, rtol=0)


def test_time_is_told_apart_and_may_be_unknown(model: WorldModel) -> None:
    """A floor that burns every eighth step can only be predicted by who knows the time."""
    z = torch.zeros(1, 4, model.config.state_width)
    pressed = torch.zeros(1, 3, A)
    values = torch.ones(1, 4, len(VARIABLE_SCALES))
    scenario = torch.zeros(1, dtype=torch.long)

    def remembered(elapsed: int) -> DreamState:
        return model.prefill(z, pressed, values, scenario, torch.tensor([elapsed]))

    features = torch.cat([remembered(elapsed).h for elapsed in (*range(40, 104, 3), -1)])
    assert torch.pdist(features).min() > 1e-5
    state = remembered(40)
    after, *_ = model.imagine(state, torch.zeros(1, A))
    unknown, *_ = model.imagine(remembered(-1), torch.zeros(1, A))
    assert (int(state.elapsed), int(after.elapsed), int(unknown.elapsed)) == (43, 44, -1)


def test_state_indexing_and_putting_are_inverse(model: WorldModel) -> None:
    left = model.observe(random_frames(B, 1))
    right = model.observe(random_frames(B, 1, seed=1))
    mask = torch.tensor([False, True, False])
    mixed = left.clone()
    mixed.put_(mask.nonzero()[:, 0], right[mask])
    assert states_equal(mixed[mask], right[mask]) and states_equal(mixed[~mask], left[~mask])
    assert not states_equal(mixed, left)


def test_a_model_that_is_moved_takes_along_what_dreams_begin_with() -> None:
    for moved in (make_model().to("meta"), make_model().double()):
        parts = [part for places in (moved.initial_states, moved.context_clips) for p in places.values() for part in p]
        assert {(part.device.type, part.dtype) for part in parts} == {(moved.device.type, moved.scales.dtype)}


def test_every_parameter_is_counted_with_one_of_the_parts() -> None:
    model = make_model()
    counted = parameters_and_flops(model)
    assert sum(parameters for parameters, _, _ in counted.values()) == sum(p.numel() for p in model.parameters())
    assert all(flops > 0 for _, flops, _ in counted.values())
