"""Promises of the world model: shapes, one computation in training and stepping, actions that matter.

Legend: B batch, T time, D state width, F features, W context, L layers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames, states_equal
from torch import Tensor

from doom_dream_env.scenarios import BUTTONS, SCENARIOS, VARIABLE_SCALES
from doom_dream_env.world_model import PRESETS, DreamState, WorldModel
from doom_dream_env.world_model.decoder import Decoder
from doom_dream_env.world_model.encoder import Encoder
from doom_dream_env.world_model.heads import Dynamics
from doom_dream_env.world_model.predictor import Trunk

B, T, A = 3, 5, len(BUTTONS)
D, E, V, W, L = 16, 24, 2, 5, 2
LONG = 4 * W  # windows longer than the context
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    torch.manual_seed(0)
    trunk = Trunk(state=D, variables=V, scenarios=3, width=E, depth=L, heads=2, context=W).eval().requires_grad_(False)
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
    torch.testing.assert_close(h, whole[:, :prefix], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(stepped(trunk, window[:, prefix:], cache, length), whole[:, prefix:], atol=TOLERANCE, rtol=0)


def test_lanes_of_different_age_step_together(trunk: Trunk) -> None:
    old, young = tokens(W + 2, seed=1), tokens(2, seed=2)
    _, old_cache, old_length = trunk.prefill(old[:, :-1])
    _, young_cache, young_length = trunk.prefill(young[:, :-1])
    h, _ = trunk.step(torch.cat([old[:, -1], young[:, -1]]), torch.cat([old_cache, young_cache]), torch.cat([old_length, young_length]))
    torch.testing.assert_close(h, torch.cat([trunk(old)[:, -1], trunk(young)[:, -1]]), atol=TOLERANCE, rtol=0)


def test_the_trunk_sees_its_context_and_nothing_older_or_newer(trunk: Trunk) -> None:
    reach = L * (W - 1)  # a token reaches W − 1 steps further in each layer
    window, changed = tokens(LONG), tokens(LONG)
    changed[:, 2] += 1.0
    difference = (trunk(window) - trunk(changed)).abs().amax((0, 2))
    assert torch.all(difference[:2] == 0), "a feature knew the future"
    assert torch.all(difference[2 : 2 + reach + 1] > 1e-7)
    assert torch.all(difference[2 + reach + 1 :] < 1e-6), "an older step than the context had influence"


# ---- verbs -------------------------------------------------------------------------------------------------------------


def test_verbs_return_the_documented_shapes_and_types(model: WorldModel) -> None:
    config, frames = model.config, random_frames(B, T)
    z = model.encode(frames)
    assert z.shape == (B, T, config.state_width) and z.dtype == torch.float32
    state = model.observe(frames, torch.zeros(B, T - 1, A), scenario="take_cover")
    assert isinstance(state, DreamState) and len(state) == B
    following, reward, proceed = model.imagine(state, torch.zeros(B, A))
    assert following.z.shape == (B, config.state_width) and reward.shape == (B,) and proceed.shape == (B,)
    assert bool(((proceed >= 0) & (proceed <= 1)).all())
    features = model.features(following)
    assert features.shape == (B, config.feature_width) and features.dtype == torch.float32
    picture = model.decode(following)
    assert picture.shape == (B, 120, 160, 3) and picture.dtype == torch.uint8
    assert following.nbytes < 100_000 * B


def test_encoding_does_not_depend_on_the_rest_of_the_batch(model: WorldModel) -> None:
    frames = random_frames(B, T)
    torch.testing.assert_close(model.encode(frames)[1:2, 2:3], model.encode(frames[1:2, 2:3]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model.encode(frames)[0, 0], model.encode(frames)[1, 0]), "different frames, one state"


@pytest.mark.parametrize(
    "frames", [random_frames(T), random_frames(B, T)[:, :, :60], random_frames(B, T).transpose(0, 1, 4, 2, 3)], ids=["4d", "half", "chw"]
)
def test_encode_refuses_other_shapes(model: WorldModel, frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"frames must have shape \(B, T, 120, 160, 3\)"):
        model.encode(frames)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_encode_refuses_other_types(model: WorldModel, dtype: type) -> None:
    with pytest.raises(TypeError, match="uint8"):
        model.encode(random_frames(1, 1).astype(dtype))


def history(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, actions and variables of B histories of T steps."""
    rng = np.random.default_rng(seed)
    variables = rng.uniform(0, np.array(VARIABLE_SCALES), (B, T, len(VARIABLE_SCALES))).astype(np.float32)
    return random_frames(B, T, seed=seed), rng.integers(0, 2, (B, T - 1, A)), variables


@pytest.mark.parametrize("scenario", [None, "take_cover", "defend_the_center"])
def test_observing_a_history_is_observing_it_step_by_step(model: WorldModel, scenario: str | None) -> None:
    frames, actions, variables = history()
    whole = model.observe(frames, actions, None, variables, scenario)
    state = model.observe(frames[:, :1], None, None, variables[:, :1], scenario)
    for t in range(1, T):
        state = model.observe(frames[:, t : t + 1], actions[:, t - 1 : t], state, variables[:, t : t + 1])
    for name in DreamState.__dataclass_fields__:
        torch.testing.assert_close(getattr(state, name), getattr(whole, name), atol=1e-5, rtol=1e-5)


def test_observing_is_the_full_pass_of_training(model: WorldModel) -> None:
    """The tokens of `embed_window`, from which training learns, are those of stepping; free play has no ammunition of that kind."""
    from training.world_model import Batch, embed_window

    frames, actions, variables = history()
    index = torch.tensor([SCENARIOS["freedoom"] is s for s in SCENARIOS.values()]).nonzero()[0].expand(B)
    nothing = torch.zeros(B, T)
    pressed = torch.cat([torch.from_numpy(actions).float(), torch.ones(B, 1, A)], 1)  # what follows the last frame is not seen
    variables[..., 1] = 0
    values = torch.from_numpy(variables)
    age, follows = torch.zeros(B, dtype=torch.long), nothing[:, 1:]
    batch = Batch(None, pressed, nothing, nothing, values, values, index, age, nothing, nothing, follows, nothing, age, nothing, nothing)
    h = model.trunk(embed_window(model, model.encode(frames), batch, index))
    state = model.observe(frames, actions, None, variables, "freedoom")
    torch.testing.assert_close(state.h, h[:, -1], atol=TOLERANCE, rtol=0)


def test_time_is_told_apart_and_may_be_unknown(model: WorldModel) -> None:
    """A floor that burns every eighth step can only be foreseen by who knows the time."""
    z, world = torch.zeros(1, model.config.state_width), torch.zeros(1, dtype=torch.long)
    pressed, values = torch.zeros(1, 3, A), torch.ones(1, 4, len(VARIABLE_SCALES))

    def seen(age: int) -> Tensor:
        return model.recall(z[:, None].expand(1, 4, -1), pressed, values, world, torch.tensor([age])).h

    ages = [*range(40, 104, 3), -1]
    features = torch.cat([seen(age) for age in ages])
    assert torch.pdist(features).min() > 1e-5
    state = model.recall(z[:, None].expand(1, 4, -1), pressed, values, world, torch.tensor([40]))
    after, unknown = (model.imagine(s, torch.zeros(1, A))[0] for s in (state, dataclasses.replace(state, age=torch.tensor([-1]))))
    assert (int(state.age), int(after.age), int(unknown.age)) == (43, 44, -1)


def test_old_frames_fall_out_of_the_context(model: WorldModel) -> None:
    c = model.config
    reach = c.trunk_depth * (c.context - 1)
    frames = np.repeat(random_frames(1, 1), reach + 2, 1)
    actions = np.zeros((1, reach + 1, A))
    state, other, recent = model.observe(frames, actions), frames.copy(), frames.copy()
    other[:, 0], recent[:, 1] = 255 - other[:, 0], 255 - recent[:, 1]
    torch.testing.assert_close(model.observe(other, actions).h, state.h, atol=1e-6, rtol=0)
    assert (model.observe(recent, actions).h - state.h).abs().max() > 1e-6


def test_observe_refuses_histories_that_do_not_fit_together(model: WorldModel) -> None:
    frames, actions, variables = history()
    with pytest.raises(ValueError, match=r"5 frames need actions of shape \(3, 4, 9\)"):
        model.observe(frames, actions[:, 1:])
    with pytest.raises(ValueError, match="variables must have shape"):
        model.observe(frames, actions, None, variables[..., :1])
    state = model.observe(frames, actions)
    with pytest.raises(ValueError, match="one frame and one action"):
        model.observe(frames, actions, state)
    with pytest.raises(ValueError, match="these weights know take_cover"):
        model.observe(frames, actions, scenario="take_covr")


@pytest.mark.parametrize(
    "action", [torch.zeros(B, A - 1), torch.zeros(B + 1, A), torch.zeros(A), torch.full((B, A), 2), torch.full((B, A), -1)]
)
def test_imagine_refuses_what_is_not_nine_buttons(model: WorldModel, action: Tensor) -> None:
    with pytest.raises(ValueError, match="action must"):
        model.imagine(model.observe(random_frames(B, 1)), action)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8, torch.bool])
def test_buttons_may_be_of_any_number_type(model: WorldModel, dtype: torch.dtype) -> None:
    state = model.observe(random_frames(B, 1))
    pressed = torch.eye(A)[:B]
    expected, *_ = model.imagine(state, pressed, temperature=0)
    found, *_ = model.imagine(state, pressed.to(dtype), temperature=0)
    assert states_equal(expected, found)


def test_a_variable_that_a_world_lacks_neither_changes_nor_steers_the_dream() -> None:
    """take_cover has no ammunition: what the untrained logits of its changes say must not matter, dreamed or as a risk."""
    calm, loud = make_model(), make_model()
    ammunition = slice(calm.dynamics.sizes[0], sum(calm.dynamics.sizes[:2]))
    loud.dynamics.outcome.bias[ammunition][:-1] += 50.0  # a shot, for certain
    for scenario, same in (("take_cover", True), ("defend_the_center", False)):
        results = []
        for model in (calm, loud):
            state = model.observe(random_frames(B, 2), np.zeros((B, 1, A)), scenario=scenario)
            after, *_ = model.imagine(state, torch.zeros(B, A), 1.0, torch.Generator().manual_seed(0))
            results.append((after.z, model.end_risk(state, torch.zeros(B, A))))
            assert (after.variables[:, 1] < state.variables[:, 1]).any() != same or model is calm
        assert all(torch.equal(*pair) for pair in zip(*results, strict=True)) == same


def action_effect(model: WorldModel, state: DreamState) -> float:
    """Smallest distance between the next states that any two single buttons bring, over the size of the step."""
    lanes = state[torch.zeros(A, dtype=torch.long)]
    following, *_ = model.imagine(lanes, torch.eye(A), temperature=0)
    step = (following.z - lanes.z).norm(dim=-1).mean()
    distances = torch.cdist(following.z, following.z)[~torch.eye(A, dtype=torch.bool)]
    return float(distances.min() / step)


def test_a_dream_follows_its_action(model: WorldModel) -> None:
    state = model.observe(random_frames(1, 1), scenario="take_cover")
    assert action_effect(model, state) > 1e-3


def test_a_dream_that_ignores_its_action_is_noticed() -> None:
    """The measure of the test above can fail: it is zero for a model whose action input is cut."""
    deaf = make_model()
    deaf.dynamics.action_in[-1].weight.zero_()
    assert action_effect(deaf, deaf.observe(random_frames(1, 1), scenario="take_cover")) < 1e-6


def test_the_action_reaches_the_context_too(model: WorldModel) -> None:
    """Two dreams that stand in the same place but came there by different actions know it."""
    state = model.observe(random_frames(2, 1), scenario="take_cover")
    frames = random_frames(2, 1, seed=1)
    frames[1] = frames[0]
    start = state[torch.tensor([0, 0])]
    after = model.observe(frames, torch.eye(A)[:2, None], start)
    torch.testing.assert_close(after.z[0], after.z[1])
    assert (after.h[0] - after.h[1]).abs().max() > 1e-3


def test_temperature_zero_throws_no_dice_and_one_does(model: WorldModel) -> None:
    state, action = model.observe(random_frames(B, 1)), torch.zeros(B, A)
    assert states_equal(model.imagine(state, action, 0)[0], model.imagine(state, action, 0)[0])
    first, second = (model.imagine(state, action, 1.0, torch.Generator().manual_seed(s))[0] for s in (1, 2))
    again, *_ = model.imagine(state, action, 1.0, torch.Generator().manual_seed(1))
    assert states_equal(first, again)
    assert not torch.allclose(first.z, second.z)


def test_more_temperature_is_wilder(model: WorldModel) -> None:
    state = model.observe(random_frames(1, 1))[torch.zeros(64, dtype=torch.long)]
    action = torch.zeros(64, A)
    futures = [len(model.imagine(state, action, t, torch.Generator().manual_seed(0))[0].z.unique(dim=0)) for t in (0.02, 1.0, 50.0)]
    assert futures[0] < futures[1] < futures[2]


def test_imagine_and_observe_leave_the_given_state_alone(model: WorldModel) -> None:
    state = model.observe(random_frames(B, 1))
    copy = state.clone()
    model.imagine(state, torch.ones(B, A))
    model.observe(random_frames(B, 1, seed=3), torch.ones(B, 1, A), state)
    assert states_equal(state, copy)


def test_hidden_variables_stay_zero_and_shown_ones_move(model: WorldModel) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, scenario in SCENARIOS.items():
        z, variables = model.starts[scenario.starts]
        state = model.begin(z, variables, model.scenario_index(name, len(z)))
        moved = torch.zeros(len(VARIABLE_SCALES), dtype=torch.bool)
        for _ in range(12):
            before = state.variables
            state, *_ = model.imagine(state, torch.zeros(len(z), A), 1.0, generator)
            change = (state.variables - before).unique()
            assert set(change.tolist()) <= {d for values in model.config.deltas for d in values}
            moved |= (state.variables != before).any(0)
        shown = torch.from_numpy(scenario.variable_mask())
        assert torch.all(state.variables[:, ~shown] == 0)
        assert torch.all(moved == shown)


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


def test_end_risk_sums_over_all_changes_of_the_first_variable() -> None:
    """By hand: the sum over changes of P(change) · P(end | change)."""
    model = make_model()
    model.dynamics.end[-1].weight.normal_(std=2.0)
    state = model.observe(random_frames(1, 1), scenario="deadly_corridor")
    action = torch.zeros(1, A)
    d = model.dynamics
    g = d.act(state.h, action)
    health, *others = model.outcome_logits(g, state.scenario)
    risk = 0.0
    for index, change in enumerate(model.config.deltas[0]):
        c = d.given_outcome(g, [torch.tensor([index]), *(logits.argmax(-1) for logits in others)])
        after = torch.tensor([[state.variables[0, 0] + change, 0.0, 0.0, 0.0]])
        risk += float(health.softmax(-1)[0, index] * torch.sigmoid(-d.ending(c, after / model.scales)[0][0]))
    assert float(model.end_risk(state, action)[0]) == pytest.approx(risk, abs=1e-5)
    assert float(model.imagine(state, action, 0)[2][0]) == pytest.approx(1 - risk, abs=1e-5)


def test_the_rules_of_the_game_hold_whatever_the_heads_say() -> None:
    """Whoever has health left in take_cover is not dead; the armour in my_way_home ends the episode as often as it is paid."""
    model = make_model(survival=-60.0)
    state = model.observe(random_frames(1, 1), scenario="take_cover")
    g = model.dynamics.act(state.h, torch.zeros(1, A))
    kills = state.variables[0, 0] + model.deltas(0) <= 0
    expected = float(model.outcome_logits(g, state.scenario)[0].softmax(-1)[0, kills].sum())
    assert 0 < expected < 1 and float(model.end_risk(state, torch.zeros(1, A))[0]) == pytest.approx(expected, abs=1e-5)
    lasting = make_model(survival=60.0)
    lasting.dynamics.end[-1].weight[1:] = 0
    lasting.dynamics.end[-1].bias[1:] = torch.where(lasting.dynamics.rewards == 1.0, 60.0, 0.0)
    for scenario, ends in (("my_way_home", 1.0), ("health_gathering", 0.0)):
        state = lasting.observe(random_frames(1, 1), scenario=scenario)
        for temperature in (0.0, 1.0):
            _, reward, proceed = lasting.imagine(state, torch.zeros(1, A), temperature)
            assert float(reward[0]) == pytest.approx(1.0) and float(proceed[0]) == pytest.approx(1 - ends, abs=1e-5), scenario


def test_state_indexing_and_putting_are_inverse(model: WorldModel) -> None:
    left, right = model.observe(random_frames(B, 1)), model.observe(random_frames(B, 1, seed=1))
    mask = torch.tensor([False, True, False])
    mixed = left.put(mask, right[mask])
    assert states_equal(mixed[mask], right[mask]) and states_equal(mixed[~mask], left[~mask])
    assert not states_equal(mixed, left)


def parameters(name: str) -> int:
    """Number of learned parameters of a preset, counted without memory for them."""
    c = PRESETS[name]
    with torch.device("meta"):
        trunk = Trunk(c.state_width, len(c.variables), len(c.scenarios), c.trunk_width, c.trunk_depth, c.trunk_heads, c.context)
        return sum(p.numel() for part in (Encoder(c), trunk, Dynamics(c), Decoder(c)) for p in part.parameters())


def test_the_tiny_preset_is_tiny() -> None:
    assert parameters("tiny") < 500_000


def test_shipped_presets_fit_into_80_megabytes_of_half_precision() -> None:
    assert 2 * (parameters("nano") + parameters("base")) < 80e6
