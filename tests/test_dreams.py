"""Promises of dreams: they begin at real moments or at clips, repeat with their seed, branch, and end as they should.

Legend: N environments, T steps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import dream, make_model, play, random_frames, same

from doom_dream_env.envs import DreamBatch, DreamDoomEnv
from doom_dream_env.envs.base import FEATURE_LIMIT
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import WorldModel

T = 12
N = 3
OBSERVATIONS = ("features", "pixels")


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_one_seed_one_dream(weights: Path, observation: str) -> None:
    env, other = (dream(weights, observation=observation) for _ in range(2))
    first = play(env, seed=5)
    assert same(first, play(env, seed=5)), "the same environment"
    assert same(first, play(other, seed=5)), "another environment"
    assert not same(first, play(env, seed=6))
    assert not same(first, play(env, seed=None))


def test_the_action_changes_the_dream(immortal: WorldModel) -> None:
    """Same seed, same random numbers, another button: another future, from the first step on."""
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


def test_a_dream_of_another_number_of_environments_is_refused(model: WorldModel) -> None:
    one = DreamBatch(1, weights=model)
    more = DreamBatch(N, weights=model)
    one.reset(seed=0)
    with pytest.raises(ValueError, match=f"1 dreams, there are {N} environments"):
        more.set_state(one.get_state())
    with pytest.raises(ValueError, match=f"1 dreams, there are {N} environments"):
        more.resume(one.state, 0)


def test_death_and_time_never_come_together(mortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=mortal)
    batch.reset(seed=0)
    batch.resume(batch.state, SCENARIOS["take_cover"].time_limit - 1)
    *_, terminated, truncated = batch.step(torch.zeros(N, dtype=torch.long))
    assert terminated.all() and not truncated.any()


@pytest.mark.parametrize("scenario", ["take_cover", "basic"])
def test_the_end_follows_its_probability(scenario: str) -> None:
    """In take_cover, nobody with health left dies; basic ends otherwise."""
    count = 4000
    batch = DreamBatch(count, scenario, weights=make_model(survival=1.0))
    batch.reset(seed=0)
    *_, terminated, _ = batch.step(torch.zeros(count, dtype=torch.long))
    may_end = batch.variables[:, 0] <= 0
    if scenario == "take_cover":
        assert 0.2 < float(may_end.float().mean()) < 0.8
    expected = float(1 - torch.sigmoid(torch.tensor(1.0)))
    assert float(terminated[may_end].float().mean()) == pytest.approx(expected, abs=0.03)
    assert not terminated[~may_end].any(), "somebody with health left has died"


def test_features_are_clipped_to_the_declared_bounds(immortal: WorldModel) -> None:
    env = dream(immortal, temperature=1.0)
    env.reset(seed=0)
    state = env.batch.state
    features = env.batch.resume(dataclasses.replace(state, h=1000 * state.h), 0)[0].numpy()
    assert np.abs(features).max() == FEATURE_LIMIT and env.observation_space.contains(features)


def test_a_dreamed_state_stays_where_real_ones_are() -> None:
    """However wild the prediction, it ends in the box of real states: here a line of length two."""
    wild = make_model(survival=60.0)
    wild.dynamics.central[-1].bias.fill_(50.0)
    line = torch.nn.functional.normalize(torch.arange(1.0, wild.config.state_width + 1), dim=0)
    wild.manifold.fit(wild.config.scenarios.index("take_cover"), torch.linspace(-1, 1, 500)[:, None] * line)
    batch = DreamBatch(N, weights=wild)
    batch.reset(seed=0)
    for _ in range(3):
        batch.step(torch.zeros(N, dtype=torch.long))
        along = batch.state.z @ line
        assert along.abs().max() <= 1.0 + 1e-4
        torch.testing.assert_close(batch.state.z, along[:, None] * line, atol=1e-3, rtol=0)


def test_a_dream_gone_wild_stays_finite(immortal: WorldModel) -> None:
    batch = DreamBatch(N, temperature=50.0, weights=immortal)
    batch.reset(seed=0)
    for _ in range(60):
        features, reward, *_ = batch.step(torch.zeros(N, dtype=torch.long))
    assert features.isfinite().all() and reward.isfinite().all() and batch.drift().isfinite().all()


def test_info_tells_the_drift_and_the_visible_variables(immortal: WorldModel) -> None:
    calm = dream(immortal, temperature=0.0)
    wild = dream(immortal, temperature=20.0)
    for env in (calm, wild):
        env.reset(seed=0)
    drifts = [env.step(0)[4]["drift"] for env in (calm, wild)]
    assert drifts[1] != drifts[0]
    z = wild.batch.state.z[0]
    assert drifts[1] == pytest.approx(float(z.square().mean() - 1), rel=1e-4)
    _, info = dream(immortal, scenario="defend_the_center").reset(seed=0)
    assert set(info) == {"drift", "HEALTH", "AMMO2"} and (info["HEALTH"], info["AMMO2"]) == (100, 26)
    assert set(calm.reset()[1]) == {"drift", "HEALTH"}


def test_render_shows_the_dream_on_demand_only(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = dream(weights, render_mode="rgb_array")
    with pytest.raises(RuntimeError, match="reset"):
        env.render()
    decoded = []
    draw = WorldModel.draw
    monkeypatch.setattr(WorldModel, "draw", lambda self, *given: decoded.append(1) or draw(self, *given))
    env.reset(seed=0)
    env.step(0)
    assert not decoded, "a dream nobody looks at was drawn"
    picture = env.render()
    assert picture.shape == (120, 160, 3) and picture.dtype == np.uint8 and len(decoded) == 1
    assert np.array_equal(picture, env.render()) and len(decoded) == 1, "the same moment was drawn twice"
    pixels = dream(weights, observation="pixels")
    assert np.array_equal(pixels.reset(seed=0)[0], pixels.batch.pixels()[0].numpy())


def test_a_window_opens_and_closes(weights: Path) -> None:
    import pygame

    env = dream(weights, render_mode="human")
    env.reset(seed=0)
    env.step(0)
    assert pygame.display.get_surface().get_size() == (640, 480)
    env.close()
    env.close()
    assert pygame.display.get_surface() is None


def test_a_dream_goes_on_from_a_given_state_and_time(immortal: WorldModel) -> None:
    here = DreamBatch(N, temperature=0.0, weights=immortal)
    there = DreamBatch(N, temperature=0.0, weights=immortal, max_episode_steps=6)
    here.reset(seed=0)
    for _ in range(3):
        here.step(torch.ones(N, dtype=torch.long))
    assert torch.equal(there.resume(here.state, 3), here.features)
    for step in (4, 5, 6):
        features, _, _, truncated = there.step(torch.zeros(N, dtype=torch.long))
        assert torch.equal(features, here.step(torch.zeros(N, dtype=torch.long))[0])
        assert there.steps.tolist() == [step] * N
        assert bool(truncated.all()) == (step == 6)
    there.resume(here.state, 0)
    assert not there.done.any()


def test_what_has_ended_may_be_stepped_along_and_stays_to_be_reset(mortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=mortal)
    batch.reset(seed=0)
    assert batch.step(torch.zeros(N, dtype=torch.long))[2].all()
    before = batch.state
    batch.reset(torch.tensor([True, False, False]))
    _, reward, terminated, truncated = batch.step(torch.zeros(N, dtype=torch.long), allow_ended=True)
    assert terminated.tolist() == [True, False, False] and not truncated.any()
    assert not reward[1:].any(), "what had ended has earned something"
    assert batch.done.all() and not torch.equal(batch.state.z[1:], before.z[1:])


def test_a_dream_can_begin_at_any_real_moment(immortal: WorldModel) -> None:
    batch = DreamBatch(N, weights=immortal, initial_states="anywhere")
    batch.reset(seed=0)
    z, _, _, elapsed = immortal.context_clips["take_cover"]
    assert bool((batch.state.length == z.shape[1]).all())  # it remembers the steps before
    began = (z[:, -1] == batch.state.z[:, None]).all(-1).float().argmax(1)
    assert torch.equal(batch.state.elapsed, elapsed[began].long() + z.shape[1] - 1)  # and how long the episode has run
    assert all(bool((z[:, -1] == state).all(1).any()) for state in batch.state.z)


def test_a_dream_goes_on_from_a_given_clip(immortal: WorldModel) -> None:
    frames = random_frames(4)
    actions = np.random.default_rng(0).integers(0, 2, (3, 9))
    variables = np.array([[health, 0, 0, 0] for health in (100, 90, 80, 70)], np.float32)
    env = dream(immortal)
    observation, info = env.reset(seed=0, options={"frames": frames, "actions": actions, "variables": variables})
    state = immortal.observe(frames[None], actions[None], None, variables[None], "take_cover", start=False)
    np.testing.assert_allclose(
        observation, immortal.features(state)[0].clamp(-FEATURE_LIMIT, FEATURE_LIMIT).numpy(), atol=1e-5
    )
    assert info["HEALTH"] == 70
    other, _ = env.reset(seed=0, options={"frames": frames, "actions": 1 - actions, "variables": variables})
    assert not np.allclose(observation, other)
    env.step(0)


def test_weights_without_initial_states_dream_from_clips_only() -> None:
    bare = make_model()
    bare.initial_states = {}
    env = dream(bare)
    with pytest.raises(ValueError, match="no initial states of 'take_cover'"):
        env.reset()
    env.reset(options={"frames": random_frames(1)})
    env.step(1)


def test_a_map_without_initial_states_is_named_with_those_there_are(weights: Path) -> None:
    env = dream(weights, scenario="freedoom", map="MAP07")
    with pytest.raises(ValueError, match="no initial states of 'freedoom:MAP07', only of .*freedoom:MAP01"):
        env.reset(seed=0)
    env.reset(seed=0, options={"frames": random_frames(2)})
