"""Promises of the world model's verbs: shapes, one computation in training and stepping, a state that is a value.

Legend: B batch, T time, A buttons; of the trunk: E width, W context, L layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames
from torch import Tensor
from toy_world import plain_batch

from doom_dream_env.scenarios import BUTTONS, VARIABLE_SCALES
from doom_dream_env.world_model import PRESETS, DreamState, WorldModel
from doom_dream_env.world_model.trunk import Trunk, step_flags

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
        (lambda model: model.imagine(model.observe(FRAMES, ACTIONS), torch.zeros(B, A - 1)), ValueError, "action must"),
        (lambda model: model.imagine(model.observe(FRAMES, ACTIONS), torch.zeros(A)), ValueError, "action must"),
        (lambda model: model.imagine(model.observe(FRAMES, ACTIONS), torch.full((B, A), 2)), ValueError, "action must"),
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


def test_a_model_that_is_moved_takes_along_what_dreams_begin_with() -> None:
    for moved in (make_model().to("meta"), make_model().double()):
        parts = [part for places in (moved.initial_states, moved.context_clips) for p in places.values() for part in p]
        assert {(part.device.type, part.dtype) for part in parts} == {(moved.device.type, moved.scales.dtype)}


E, W, L = 24, 5, 2
LONG = 4 * W  # windows longer than the context
CONFIG = dataclasses.replace(
    PRESETS["tiny"],
    state_width=16,
    trunk_width=E,
    trunk_depth=L,
    trunk_heads=2,
    context=W,
    variables=("HEALTH", "AMMO2"),
    known=tuple(mask[:2] for mask in PRESETS["tiny"].known),
    deltas=PRESETS["tiny"].deltas[:2],
)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    torch.manual_seed(0)
    trunk = Trunk(CONFIG).eval().requires_grad_(False)
    for block in trunk.blocks:
        block.attention.distance_bias.normal_()
    return trunk


def tokens(steps: int, seed: int = 0) -> Tensor:
    return torch.randn(B, steps, E, generator=torch.Generator().manual_seed(seed))


def stepped(trunk: Trunk, window: Tensor, cache: Tensor | None = None, length: Tensor | None = None) -> Tensor:
    """Features (B, T, E) of a window, one step at a time."""
    cache = torch.zeros(len(window), L, 2, W, E) if cache is None else cache
    length = torch.zeros(len(window), dtype=torch.long) if length is None else length
    out = []
    for token in window.unbind(1):
        h, cache = trunk.step(token, cache, length)
        length = (length + 1).clamp(max=W - 1)
        out.append(h)
    return torch.stack(out, 1)


@pytest.mark.parametrize("steps", [1, W - 1, W, W + 1, LONG])
def test_stepping_with_a_cache_is_the_full_pass(trunk: Trunk, steps: int) -> None:
    window = tokens(steps)
    torch.testing.assert_close(stepped(trunk, window), trunk(window), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("prefix", [1, W - 1, W, W + 3])
def test_prefill_then_stepping_is_the_full_pass(trunk: Trunk, prefix: int) -> None:
    window = tokens(LONG)
    h, cache, length = trunk.prefill(window[:, :prefix])
    whole = trunk(window)
    rest = stepped(trunk, window[:, prefix:], cache, length)
    torch.testing.assert_close(h, whole[:, :prefix], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(rest, whole[:, prefix:], atol=TOLERANCE, rtol=0)


def test_dreams_that_began_at_different_times_step_together(trunk: Trunk) -> None:
    old = tokens(W + 2, seed=1)
    young = tokens(2, seed=2)
    _, old_cache, old_length = trunk.prefill(old[:, :-1])
    _, young_cache, young_length = trunk.prefill(young[:, :-1])
    newest = torch.cat([old[:, -1], young[:, -1]])
    h, _ = trunk.step(newest, torch.cat([old_cache, young_cache]), torch.cat([old_length, young_length]))
    expected = torch.cat([trunk(old)[:, -1], trunk(young)[:, -1]])
    torch.testing.assert_close(h, expected, atol=TOLERANCE, rtol=0)


def test_the_trunk_sees_its_context_and_nothing_older_or_newer(trunk: Trunk) -> None:
    reach = L * (W - 1)  # a token reaches W − 1 steps further in each layer
    window = tokens(LONG)
    changed = tokens(LONG)
    changed[:, 2] += 1.0
    difference = (trunk(window) - trunk(changed)).abs().amax((0, 2))
    assert torch.all(difference[:2] == 0), "a feature knew the future"
    assert torch.all(difference[2 : 2 + reach + 1] > 1e-7)
    assert torch.all(difference[2 + reach + 1 :] < 1e-6), "an older step than the context had influence"


def test_an_unknown_action_has_no_influence(trunk: Trunk) -> None:
    z = torch.randn(B, CONFIG.state_width)
    variables = torch.zeros(B, 2)
    scenario = torch.zeros(B, dtype=torch.long)
    pressed, nothing = torch.ones(B, 9), torch.zeros(B, 9)

    def token(action: Tensor, action_known: bool) -> Tensor:
        flags = step_flags(B, action_known=action_known, episode_start=False, device=z.device)
        return trunk.embed(z, action, variables, variables, scenario, flags, scenario)

    assert torch.equal(token(pressed, False), token(nothing, False))
    assert not torch.allclose(token(pressed, True), token(nothing, True))
