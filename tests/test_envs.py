"""Promises of the single environments: checkers pass, seeds repeat, dreams branch, mistakes are named.

Legend: T steps, N lanes.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import make_model, random_frames, states_equal
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import doom_dream_env  # noqa: F401
from doom_dream_env.envs import DreamBatch, DreamDoomEnv
from doom_dream_env.envs.batch import FEATURE_LIMIT, shared_world_model
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import WorldModel

T, N = 12, 3
OBSERVATIONS = ("features", "pixels")


def dream(weights: Path | WorldModel, **kwargs: Any) -> DreamDoomEnv:
    """`DreamDoom-v0` without wrappers."""
    return gym.make("DreamDoom-v0", weights=weights, **kwargs).unwrapped  # type: ignore[return-value]


def play(env: gym.Env, seed: int | None, steps: int = T) -> list[tuple[np.ndarray, float, bool, bool]]:
    """What a fixed sequence of actions brings; begins anew when an episode ends."""
    observation, _ = env.reset(seed=seed)
    seen: list[tuple[np.ndarray, float, bool, bool]] = [(observation, 0.0, False, False)]
    for t in range(steps):
        observation, reward, terminated, truncated, _ = env.step(t % env.action_space.n)
        seen.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            env.reset()
    return seen


def same(left: list, right: list) -> bool:
    """Do two sequences of steps agree exactly?"""
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(left, right, strict=True))


# Real games take a second each to start: two kinds of world in every run, the others when there is time.
SOME = [name if name in ("take_cover", "freedoom") else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS]


# ---- checkers ----------------------------------------------------------------------------------------------------------


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
    env = gym.make("RealDoom-v0", scenario=scenario, observation=observation, weights=weights, render_mode="rgb_array").unwrapped
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
        buttons = gym.spaces.Discrete(len(SCENARIOS[scenario].buttons) + 1) if SCENARIOS[scenario].discrete else gym.spaces.MultiBinary(9)
        assert real.action_space == buttons
        assert set(real.reset(seed=1)[1]) == set(imagined.reset(seed=1)[1])
    finally:
        real.close()


# ---- dreams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_one_seed_one_dream(weights: Path, observation: str) -> None:
    env, other = (dream(weights, observation=observation) for _ in range(2))
    first = play(env, seed=5)
    assert same(first, play(env, seed=5)), "the same environment"
    assert same(first, play(other, seed=5)), "another environment"
    assert not same(first, play(env, seed=6))
    assert not same(first, play(env, seed=None))


def test_the_action_changes_the_dream(immortal: WorldModel) -> None:
    """Same seed, same dice, another button: another future, from the first step on."""
    env = dream(immortal)
    ends = []
    for action in range(env.action_space.n):
        env.reset(seed=3)
        ends.append(env.step(action)[0])
    distances = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
    assert min(distances) > 1e-3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_saved_dream_branches_exactly(weights: Path, temperature: float) -> None:
    env = dream(weights, temperature=temperature)
    env.reset(seed=0)
    while True:  # some steps in, and not at the end
        observation, _, terminated, truncated, _ = env.step(1)
        if not (terminated or truncated):
            break
        env.reset()
    saved = env.get_state()

    def go_on(to: DreamDoomEnv, action: int) -> list:
        seen: list = [to.step(action)[:4]]
        while len(seen) < T and not any(seen[-1][2:]):
            seen.append(to.step(action)[:4])
        return seen

    first = go_on(env, 1)  # without a return to the saved dream: saving changes nothing
    for again in (env, dream(weights, temperature=temperature)):
        again.set_state(saved)
        second = go_on(again, 1)
        assert len(first) == len(second) and same(first, second)
    assert np.array_equal(env.set_state(saved), observation)
    assert not np.array_equal(first[0][0], go_on(env, 2)[0][0])


def test_a_saved_dream_is_a_copy_and_small(weights: Path) -> None:
    env = dream(weights)
    env.reset(seed=0)
    saved = env.get_state()
    before = saved["state"].clone()
    play(env, seed=9)
    assert states_equal(saved["state"], before)
    assert saved["state"].nbytes < 100_000


def test_a_dream_of_other_weights_is_refused(weights: Path, immortal: WorldModel) -> None:
    env, other = dream(weights), dream(immortal)
    env.reset(seed=0)
    other.reset(seed=0)
    with pytest.raises(ValueError, match=env.lanes.model.fingerprint):
        other.set_state(env.get_state())


def test_a_dream_with_another_number_of_lanes_is_refused(model: WorldModel) -> None:
    one, more = DreamBatch(1, weights=model), DreamBatch(N, weights=model)
    one.reset(seed=0)
    with pytest.raises(ValueError, match=f"1 lanes, this environment {N}"):
        more.set_state(one.get_state())


def test_time_is_up_after_exactly_the_scenarios_limit(immortal: WorldModel) -> None:
    batch = DreamBatch(1, "defend_the_center", weights=immortal)
    batch.reset(seed=0)
    limit = SCENARIOS["defend_the_center"].time_limit
    for step in range(1, limit + 1):
        _, _, terminated, truncated = batch.step(torch.tensor([0]))
        assert not terminated.any()
        assert bool(truncated[0]) == (step == limit)


def test_death_and_time_never_come_together(mortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=mortal)
    batch.reset(seed=0)
    batch.steps = batch.steps + SCENARIOS["take_cover"].time_limit - 1
    *_, terminated, truncated = batch.step(torch.zeros(N, dtype=torch.long))
    assert terminated.all() and not truncated.any()


def test_death_follows_its_probability() -> None:
    model, lanes = make_model(survival=1.0), 4000
    batch = DreamBatch(lanes, weights=model)
    batch.reset(seed=0)
    *_, terminated, _ = batch.step(torch.zeros(lanes, dtype=torch.long))
    expected, dead = 1 - torch.sigmoid(torch.tensor(1.0)), batch.variables[:, 0] <= 0
    assert 0.2 < float(dead.float().mean()) < 0.8
    assert float(terminated[dead].float().mean()) == pytest.approx(float(expected), abs=0.03)
    assert not terminated[~dead].any(), "somebody with health left has died"


def test_where_episodes_end_otherwise_they_follow_the_probability_too() -> None:
    model, lanes = make_model(survival=1.0), 4000
    batch = DreamBatch(lanes, "basic", weights=model)
    batch.reset(seed=0)
    *_, terminated, _ = batch.step(torch.zeros(lanes, dtype=torch.long))
    assert float(terminated.float().mean()) == pytest.approx(float(1 - torch.sigmoid(torch.tensor(1.0))), abs=0.03)


def test_only_the_masked_lanes_begin_anew(immortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=immortal)
    batch.reset(seed=0)
    batch.step(torch.zeros(N, dtype=torch.long))
    before, mask = batch.state, torch.tensor([False, True, False])
    batch.reset(mask)
    assert states_equal(batch.state[~mask], before[~mask]) and not torch.equal(batch.state.z[mask], before.z[mask])
    assert batch.steps.tolist() == [1, 0, 1]
    starts, _ = immortal.starts["take_cover"]
    assert (batch.state.z[1] == starts).all(1).any(), "a lane did not begin at one of the real beginnings"


def test_lanes_dream_different_dreams(immortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=immortal)
    batch.reset(seed=0)
    batch.set_state(batch.get_state() | {"state": batch.state[torch.zeros(N, dtype=torch.long)]})
    features, *_ = batch.step(torch.zeros(N, dtype=torch.long))
    assert not torch.allclose(features[0], features[1])


def test_features_are_clipped_to_the_declared_bounds(immortal: WorldModel) -> None:
    env = dream(immortal, temperature=1.0)
    env.reset(seed=0)
    lanes = env.unwrapped.lanes
    lanes.state = dataclasses.replace(lanes.state, h=1000 * lanes.state.h)
    features = lanes.features[0].numpy()
    assert np.abs(features).max() == FEATURE_LIMIT and env.observation_space.contains(features)


def test_a_dreamed_state_stays_where_real_ones_are() -> None:
    """However wild the prediction, it ends in the box of real states: here a line of length two."""
    wild = make_model(survival=60.0)
    wild.dynamics.central[-1].bias.fill_(50.0)
    width, world = wild.config.state_width, wild.config.scenarios.index("take_cover")
    line = torch.nn.functional.normalize(torch.arange(1.0, width + 1), dim=0)
    wild.manifold.fit(world, torch.linspace(-1, 1, 500)[:, None] * line)
    batch = DreamBatch(N, weights=wild)
    batch.reset(seed=0)
    for _ in range(3):
        batch.step(torch.zeros(N, dtype=torch.long))
        along = batch.state.z @ line
        assert along.abs().max() <= 1.0 + 1e-4
        torch.testing.assert_close(batch.state.z, along[:, None] * line, atol=1e-3, rtol=0)


def test_a_dream_can_begin_at_any_real_moment(immortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=immortal, starts="anywhere")
    batch.reset(seed=0)
    z, _, _, age = immortal.clips["take_cover"]
    assert bool((batch.state.length == z.shape[1]).all())  # it remembers the steps before
    began = (z[:, -1] == batch.state.z[:, None]).all(-1).float().argmax(1)
    assert torch.equal(batch.state.age, age[began].long() + z.shape[1] - 1)  # and how long the episode has run
    assert all(bool((z[:, -1] == state).all(1).any()) for state in batch.state.z)
    with pytest.raises(ValueError, match="starts 'nowhere' is unknown; choose from beginnings, anywhere"):
        DreamBatch(N, weights=immortal, starts="nowhere")


def test_remembering_a_clip_is_observing_it_step_by_step(immortal: WorldModel) -> None:
    z, actions, variables, _ = (part[:2] for part in immortal.clips["take_cover"])
    world = immortal.scenario_index("take_cover", 2)
    recalled = immortal.recall(z, actions, variables, world, torch.tensor([-1, -1]))
    state, known = immortal.begin(z[:, 0], variables[:, 0], world, start=False), torch.tensor([[1.0, 0.0]] * 2)
    for t in range(1, z.shape[1]):
        state = immortal._advance(state, z[:, t], variables[:, t], actions[:, t - 1], known)
    torch.testing.assert_close(recalled.h, state.h, atol=1e-4, rtol=0)


def test_a_dream_gone_wild_stays_finite(immortal: WorldModel) -> None:
    batch = DreamBatch(N, temperature=50.0, weights=immortal)
    batch.reset(seed=0)
    for _ in range(60):
        features, reward, *_ = batch.step(torch.zeros(N, dtype=torch.long))
    assert features.isfinite().all() and reward.isfinite().all() and batch.drift().isfinite().all()


def test_info_tells_the_drift_and_the_visible_variables(immortal: WorldModel) -> None:
    calm, wild = dream(immortal, temperature=0.0), dream(immortal, temperature=20.0)
    for env in (calm, wild):
        env.reset(seed=0)
    drifts = [env.step(0)[4]["drift"] for env in (calm, wild)]
    assert drifts[1] != drifts[0]
    z = wild.lanes.state.z[0]
    assert drifts[1] == pytest.approx(float(z.square().mean() - 1), rel=1e-4)
    _, info = dream(immortal, scenario="defend_the_center").reset(seed=0)
    assert info["variables"] == {"HEALTH": 100.0, "AMMO2": 26.0}
    assert set(calm.reset()[1]["variables"]) == {"HEALTH"}


def test_render_shows_the_dream_on_demand_only(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = dream(weights, render_mode="rgb_array")
    with pytest.raises(RuntimeError, match="reset"):
        env.render()
    decoded = []
    decode = WorldModel.decode
    monkeypatch.setattr(WorldModel, "decode", lambda self, state: decoded.append(1) or decode(self, state))
    env.reset(seed=0)
    env.step(0)
    assert not decoded, "a dream nobody looks at was drawn"
    picture = env.render()
    assert picture.shape == (120, 160, 3) and picture.dtype == np.uint8 and len(decoded) == 1
    assert np.array_equal(picture, decode(env.lanes.model, env.lanes.state)[0].numpy())
    pixels = dream(weights, observation="pixels")
    assert np.array_equal(pixels.reset(seed=0)[0], pixels.lanes.pixels()[0].numpy())


def test_a_window_opens_and_closes(weights: Path) -> None:
    import pygame

    env = dream(weights, render_mode="human")
    env.reset(seed=0)
    env.step(0)
    assert pygame.display.get_surface().get_size() == (640, 480)
    env.close()
    env.close()
    assert pygame.display.get_surface() is None


def test_environments_share_one_copy_of_the_weights(weights: Path) -> None:
    left, right = dream(weights), dream(weights, scenario="health_gathering")
    assert left.lanes.model is right.lanes.model is shared_world_model(weights)


# ---- clips -------------------------------------------------------------------------------------------------------------


def test_a_dream_goes_on_from_a_given_clip(immortal: WorldModel) -> None:
    frames, rng = random_frames(4), np.random.default_rng(0)
    actions = rng.integers(0, 2, (3, 9))
    variables = np.array([[health, 0, 0, 0] for health in (100, 90, 80, 70)], np.float32)
    env = dream(immortal)
    observation, info = env.reset(seed=0, options={"frames": frames, "actions": actions, "variables": variables})
    state = immortal.observe(frames[None], actions[None], None, variables[None], "take_cover", start=False)
    np.testing.assert_allclose(observation, immortal.features(state)[0].clamp(-FEATURE_LIMIT, FEATURE_LIMIT).numpy(), atol=1e-5)
    assert info["variables"] == {"HEALTH": 70.0}
    other, _ = env.reset(seed=0, options={"frames": frames, "actions": 1 - actions, "variables": variables})
    assert not np.allclose(observation, other)
    env.step(0)


def test_a_clip_fills_all_lanes_or_the_masked_ones(immortal: WorldModel) -> None:
    batch, frames = DreamBatch(N, weights=immortal), random_frames(2)
    features = batch.reset(options={"frames": frames})
    assert torch.equal(features[0], features[1]) and torch.equal(features[0], features[2])
    before = batch.state
    mask = torch.tensor([True, False, False])
    batch.reset(mask, options={"frames": random_frames(1, seed=4)})
    assert not torch.allclose(batch.state.z[0], before.z[0]) and torch.equal(batch.state.z[1:], before.z[1:])


def test_weights_without_beginnings_dream_from_clips_only() -> None:
    bare = make_model()
    bare.starts = {}
    env = dream(bare)
    with pytest.raises(ValueError, match="no beginnings of 'take_cover'"):
        env.reset()
    env.reset(options={"frames": random_frames(1)})
    env.step(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": random_frames(1)}, "reset options frame are unknown"),
        ({"frames": random_frames(1), "speed": 2}, "reset options speed are unknown"),
        ({"actions": np.zeros((1, 9))}, "give its frames too"),
        ({"frames": random_frames(3), "actions": np.zeros((3, 9))}, "3 frames need actions"),
        ({"frames": random_frames(0)}, "T of 1 or more"),
        ({"frames": random_frames(1)[0]}, "frames must have shape"),
        ({"frames": random_frames(2)[:, :60]}, "frames must have shape"),
        ({"frames": random_frames(2), "variables": np.zeros((2, 3))}, "variables must have shape"),
    ],
)
def test_reset_names_what_is_wrong_with_its_options(weights: Path, options: dict[str, Any], message: str) -> None:
    env = dream(weights)
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


# ---- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "take_covr"}, "'take_covr' is unknown; choose from basic, deadly_corridor, defend_the_center"),
        ({"observation": "sound"}, "'sound' is unknown; choose from features, pixels"),
        ({"render_mode": "ascii"}, "'ascii' is unknown; choose from"),
        ({"temperature": -0.1}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": float("inf")}, "temperature must be"),
    ],
)
def test_wrong_arguments_are_named(weights: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DreamDoomEnv(weights=weights, **arguments)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, None])
def test_a_batch_needs_lanes(model: WorldModel, num_envs: Any) -> None:
    with pytest.raises(ValueError, match="num_envs must be a positive int"):
        DreamBatch(num_envs, weights=model)


def test_weights_refuse_a_scenario_they_do_not_know() -> None:
    import dataclasses

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


@pytest.mark.parametrize(
    "actions", [[0], [0, 1, 3], [-1, 0, 0], [0.0, 1.0, 1.0], np.zeros((N, 8)), np.full((N, 9), 2), np.zeros((N, 9, 1))], ids=str
)
def test_batch_actions_of_wrong_shape_type_or_range_are_refused(model: WorldModel, actions: Any) -> None:
    batch = DreamBatch(N, weights=model)
    batch.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        batch.step(np.asarray(actions))


def test_indices_are_the_buttons_of_the_table(immortal: WorldModel) -> None:
    by_index, by_button = (DreamBatch(3, weights=immortal) for _ in range(2))
    for batch in (by_index, by_button):
        batch.reset(seed=0)
    left, *_ = by_index.step(np.array([0, 1, 2]))
    right, *_ = by_button.step(SCENARIOS["take_cover"].action_table())
    assert torch.equal(left, right)


def test_step_before_reset_and_after_the_end_is_refused(mortal: WorldModel) -> None:
    env = dream(mortal)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    with pytest.raises(RuntimeError, match="reset"):
        env.get_state()
    env.reset(seed=0)
    assert env.step(0)[2]
    with pytest.raises(RuntimeError, match="ended"):
        env.step(0)
    env.reset()
    env.step(0)


# ---- the real twin -----------------------------------------------------------------------------------------------------


def test_the_real_game_repeats_with_its_seed_and_shows_real_frames(weights: Path) -> None:
    env = gym.make("RealDoom-v0", observation="pixels", weights=weights, render_mode="rgb_array").unwrapped
    first, again, other = play(env, 7, 20), play(env, 7, 20), play(env, 8, 20)
    assert same(first, again) and not same(first, other)
    assert all(0 < step[0].mean() < 255 for step in first)
    assert np.array_equal(env.render(), env.lanes.games[0].frame)
    env.close()
    env.close()


def test_real_features_are_the_encoders_of_the_real_history(model: WorldModel) -> None:
    env = gym.make("RealDoom-v0", scenario="defend_the_center", weights=model).unwrapped
    frames, variables, actions = [], [], [1, 3, 0, 2]
    observation, _ = env.reset(seed=3)
    for action in [*actions, None]:
        frames.append(env.lanes.games[0].frame.copy())
        variables.append(env.lanes.games[0].variables.copy())
        if action is not None:
            observation = env.step(action)[0]
    pressed = SCENARIOS["defend_the_center"].action_table()[actions]
    state = model.observe(np.stack(frames)[None], pressed[None], None, np.stack(variables)[None], "defend_the_center")
    np.testing.assert_allclose(observation, model.features(state)[0].clamp(-FEATURE_LIMIT, FEATURE_LIMIT).numpy(), atol=1e-4)
    with pytest.raises(ValueError, match="cannot begin from a clip"):
        env.reset(options={"frames": random_frames(1)})
    env.close()
    assert variables[0].tolist() == [100.0, 26.0, 0.0, 0.0]


def test_the_real_game_ends_by_death_or_time_never_both(weights: Path) -> None:
    env = gym.make("RealDoom-v0", scenario="health_gathering", weights=weights).unwrapped
    env.reset(seed=1)
    rewards, done = [], False
    while not done:  # standing still on the burning floor
        observation, reward, terminated, truncated, info = env.step(0)
        assert env.observation_space.contains(observation)
        rewards.append(reward)
        done = terminated or truncated
    assert terminated and not truncated and info["variables"]["HEALTH"] <= 0
    assert rewards[-1] < -90 and set(rewards[:-1]) == {4.0}
    with pytest.raises(RuntimeError, match="ended"):
        env.step(0)
    env.close()


@pytest.mark.slow
def test_the_real_time_limit_truncates(weights: Path) -> None:
    env = gym.make("RealDoom-v0", scenario="defend_the_center", weights=weights).unwrapped
    scenario = SCENARIOS["defend_the_center"]
    truncations = 0
    for seed in range(20):
        env.reset(seed=seed)
        for step in range(1, scenario.time_limit + 1):
            *_, terminated, truncated, _ = env.step(step % 2 + 2)
            assert not (terminated and truncated)
            if terminated or truncated:
                break
        assert terminated or (truncated and step == scenario.time_limit)
        truncations += truncated
    env.close()


# ---- free play ---------------------------------------------------------------------------------------------------------


def test_free_play_takes_any_buttons_together(weights: Path) -> None:
    batch = DreamBatch(N, "freedoom", weights=weights)
    batch.reset(seed=0)
    buttons = torch.zeros(N, 9)
    buttons[:, [0, 5, 6]] = 1
    batch.step(buttons)
    batch.reset()
    with pytest.raises(ValueError, match="nine 0/1 buttons"):
        batch.step(torch.zeros(N, dtype=torch.long))


def test_a_map_without_beginnings_is_named_with_those_there_are(weights: Path) -> None:
    env = dream(weights, scenario="freedoom", map="MAP07")
    with pytest.raises(ValueError, match="no beginnings of 'freedoom:MAP07', only of .*freedoom:MAP01"):
        env.reset(seed=0)
    env.reset(seed=0, options={"frames": random_frames(2)})


def test_a_world_that_the_weights_do_not_know_is_played_for_real_with_neutral_heads() -> None:
    import dataclasses

    config = make_model().config
    narrow = WorldModel(dataclasses.replace(config, scenarios=("take_cover",), known=config.known[:1])).eval()
    env = gym.make("RealDoom-v0", scenario="basic", weights=narrow).unwrapped
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation) and info["variables"] == {"AMMO2": 50.0}
    assert int(env.lanes.state.scenario[0]) == 1
    env.close()
