"""Promises of playing: keys do what they say, dreams run smoothly, saved ones go on, the real game is the real game.

Legend: a step is four ticks of 1/35 s; a view is of a dream or of the real game."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import random_frames, states_equal
from playroom import LEFT, NOTHING, RIGHT, STEP, dream_of, same, ticks

import doom_dream_env  # noqa: F401
from doom_dream_env.agents import Agent
from doom_dream_env.envs import DreamBatch
from doom_dream_env.play.session import LINGER, NOTICE, SHADE, PlayScenario, Session
from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS
from doom_dream_env.world_model import WorldModel


def test_one_seed_and_the_same_keys_show_the_same_and_others_something_else(make: Callable[..., Session]) -> None:
    first = ticks(make(), LEFT, 10)
    again = ticks(make(), LEFT, 10)
    assert first[0].shape == FRAME_SHAPE and first[0].dtype == np.uint8
    assert same(first, again)
    other = ticks(make(), RIGHT, 10)
    assert not np.array_equal(first[0], other[0]), "the first picture after the key does not show it"
    assert not same(first, ticks(make(seed=6), LEFT, 10))


def test_at_a_step_the_picture_is_the_state_and_between_steps_on_the_way(
    make: Callable[..., Session], immortal: WorldModel
) -> None:
    session = make()
    for _ in range(3):
        start = dream_of(session).state.z
        shown = [session._dream._shown.clone() for _ in range(STEP) if session.tick(LEFT) is None]
        end = dream_of(session).state.z
        for quarter, z in enumerate(shown, 1):
            torch.testing.assert_close(z, start + (end - start) * quarter / STEP)
        assert not torch.equal(start, end)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_key_change_in_a_step_dreams_it_anew_with_the_same_random_numbers(
    make: Callable[..., Session], immortal: WorldModel, temperature: float
) -> None:
    session = make(temperature=temperature)
    ticks(session, NOTHING, 2 * STEP)
    before = dream_of(session).get_state()
    ends = {}
    for buttons in (LEFT, RIGHT):
        alone = DreamBatch(1, "take_cover", temperature=temperature, weights=immortal)
        alone.set_state(before)
        alone.step(buttons[None])
        ends[buttons.tobytes()] = (alone.state, alone.generator.get_state())
    session.tick(LEFT)
    assert states_equal(dream_of(session).state, ends[LEFT.tobytes()][0])
    shown = session._dream._shown
    session.tick(RIGHT)
    target, generator = ends[RIGHT.tobytes()]
    # It goes on from what was shown.
    torch.testing.assert_close(session._dream._shown, shown + (target.z - shown) / 3)
    ticks(session, RIGHT, 2)
    assert states_equal(dream_of(session).state, target)
    assert torch.equal(dream_of(session).generator.get_state(), generator)
    assert not states_equal(target, ends[LEFT.tobytes()][0])
    assert session.phase == 0 and session.status().views[0].seconds == pytest.approx(3 * STEP / 35)


def test_the_return_counts_each_step_once_whatever_is_pressed_in_it(
    make: Callable[..., Session], immortal: WorldModel
) -> None:
    session = make()
    batch = DreamBatch(1, "take_cover", weights=immortal)
    batch.reset()
    batch.set_state(dream_of(session).get_state())
    for buttons in (LEFT, RIGHT, LEFT, LEFT):
        session.tick(buttons)
    ticks(session, RIGHT, STEP)
    expected = sum(float(batch.step(buttons[None])[1][0]) for buttons in (LEFT, RIGHT))
    assert session._dream.reward == pytest.approx(expected, rel=1e-5)


def test_pause_stops_time_and_a_single_step_is_one_whole_step(make: Callable[..., Session]) -> None:
    session = make()
    running = make()
    expected = ticks(running, LEFT, 3 * STEP)
    session.tick(LEFT)
    session.pause()
    assert session.status().paused
    assert same(ticks(session, LEFT, 5), [expected[0]] * 5)
    session.single_step()
    assert same(ticks(session, LEFT, 6), [*expected[1:STEP], *[expected[STEP - 1]] * 3])
    session.single_step()
    assert same(ticks(session, LEFT, 6), [*expected[STEP : 2 * STEP], *[expected[2 * STEP - 1]] * 2])
    session.pause()
    assert same(ticks(session, LEFT, STEP), expected[2 * STEP :])


def test_a_dreamed_death_is_shown_for_a_second_and_a_new_dream_begins(
    make: Callable[..., Session], mortal: WorldModel
) -> None:
    session = make(model=mortal)
    ticks(session, NOTHING, STEP - 1)
    assert session.status().views[0].ended == "" and not session.over
    ticks(session, NOTHING, 1)
    view = session.status().views[0]
    assert view.ended == "died" and session.over and view.variables == {"HEALTH": 0.0}
    dark = session.pictures()[0]
    assert np.array_equal(dark, (session._dream.picture() * SHADE).astype(np.uint8))
    assert same(ticks(session, LEFT, LINGER - 1), [dark] * (LINGER - 1))
    ticks(session, LEFT, 1)
    view = session.status().views[0]
    assert not view.ended and session._dream.reward == 0 and view.seconds == 0 and view.variables == {"HEALTH": 100.0}
    session.tick(LEFT)
    assert not session.over
    session.reset()
    assert session.phase == 0


# ---- the real game ---------------------------------------------------------------------------------------------------
def test_beside_the_real_game_a_dream_sees_its_first_frame_and_no_other(
    make: Callable[..., Session], immortal: WorldModel
) -> None:
    session = make(mode="both")
    first = session.pictures()[1]
    assert first.std() > 5
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(first[None, None])[:, 0])
    alone = DreamBatch(1, "take_cover", weights=immortal)
    alone.set_state(dream_of(session).get_state())
    seen = [first]
    for buttons in (LEFT, LEFT, RIGHT, NOTHING, RIGHT):
        for _ in range(STEP):
            session.tick(buttons)
            seen.append(session.pictures()[1])
        alone.step(buttons[None])
    assert states_equal(dream_of(session).state, alone.state)
    moved = sum(not np.array_equal(before, after) for before, after in pairwise(seen))
    assert moved > 5, "the real game is shown once a step, not tic by tic"
    assert [view.title for view in session.status().views] == ["dream", "real"]
    session.reset()
    newest = session.pictures()[1]
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(newest[None, None])[:, 0])
    assert session.status().views[1].seconds == 0


def test_the_real_view_is_what_the_real_environment_shows(make: Callable[..., Session], immortal: WorldModel) -> None:
    name = "defend_the_center"
    session = make(PlayScenario(name), "real")
    env = gym.make("RealDoom-v0", scenario=name, weights=immortal, render_mode="rgb_array").unwrapped
    session._draw_seed = lambda: 7  # type: ignore[method-assign]
    session.reset()
    env.batch.reset(seed=[7])
    for action in (1, 3, 2, 0):
        observation, *_ = env.step(action)
        ticks(session, SCENARIOS[name].action_table()[action], STEP)
        assert np.array_equal(session.pictures()[0], env.render())
        np.testing.assert_allclose(session._real.batch.features[0].numpy(), observation, atol=1e-4)
    view = session.status().views[0]
    assert view.variables == {name: env._info()[name] for name in view.variables}
    assert view.seconds == pytest.approx(4 * STEP / 35)
    assert session.status().temperature is None
    env.close()


def test_when_one_view_has_ended_the_other_goes_on_and_both_begin_together(
    make: Callable[..., Session], mortal: WorldModel
) -> None:
    session = make(mode="both", model=mortal)
    ticks(session, NOTHING, STEP)
    dark, real = session.pictures()
    assert [view.ended for view in session.status().views] == ["died", ""]
    ticks(session, LEFT, 2 * STEP)
    later = session.pictures()
    assert np.array_equal(later[0], dark) and not np.array_equal(later[1], real)
    session._real.ended = "died"
    assert session.over
    ticks(session, LEFT, LINGER)
    assert [view.ended for view in session.status().views] == ["", ""]


def test_the_dream_can_go_on_from_reality_every_few_seconds(make: Callable[..., Session], mortal: WorldModel) -> None:
    session = make(mode="both", model=mortal, resync=3 * STEP / 35)
    ticks(session, LEFT, 3 * STEP)
    assert session._dream.ended, "this dream dies at once"
    state = session._real.state
    reward = session._real.reward
    session.tick(LEFT)
    assert states_equal(session._dream._before["state"], state) and session._dream._return_before == reward
    assert not session._dream.ended and session._dream.steps == 3


def test_a_map_without_initial_states_is_dreamed_from_the_real_games_first_frame(
    make: Callable[..., Session], immortal: WorldModel
) -> None:
    session = make(PlayScenario("freedoom", "MAP07"))
    assert session.mode == "dream" and len(session.pictures()) == 1
    frame = session._real.game.frame
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(frame[None, None])[:, 0])
    assert session.selectable[0] == PlayScenario("freedoom", "MAP07")


def test_recorded_play_is_whole_steps_under_their_first_keys(make: Callable[..., Session], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    session = make(mode="real", save=tmp_path / "data")
    for tick, buttons in enumerate((LEFT, RIGHT, RIGHT, RIGHT, NOTHING, LEFT, LEFT, LEFT)):
        session.tick(buttons)
        assert session.pressed.tolist() == (LEFT if tick < STEP else NOTHING).tolist()
    session.toggle_agent()
    assert not session.agent and "recorded" in session.status().notice
    session.close()
    (shard,) = (tmp_path / "data").rglob("*.parquet")
    assert np.array_equal(np.stack(parquet.read_table(shard)["action"].to_pylist()), [LEFT, NOTHING])


# ---- session commands ----------------------------------------------------------------------------------------------
def test_a_saved_dream_goes_on_exactly(make: Callable[..., Session]) -> None:
    session = make()
    ticks(session, LEFT, STEP + 2)  # in the middle of a step
    session.save()
    ticks(session, RIGHT, 1)
    runs = []
    for buttons in (LEFT, LEFT, RIGHT):
        session.restore()
        assert session.status().views[0].seconds == pytest.approx(STEP / 35)
        runs.append((ticks(session, buttons, 3 * STEP), session.status().views))
    assert same(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


def test_the_agent_plays_where_one_ships(make: Callable[..., Session], shipped: Agent) -> None:
    session = make(agent="agent")
    expected = ticks(make(), RIGHT, 2 * STEP)
    assert session.status().player == "agent" and same(ticks(session, LEFT, 2 * STEP), expected)
    session.toggle_agent()
    ticks(session, LEFT, 1)
    assert session.status().player == "you" and session.pressed.tolist() == LEFT.tolist()
    session.next_scenario(1)
    session.toggle_agent()
    assert session.status().player == "you"
    assert session.status().notice == "no agent ships for basic and these weights; one does for take_cover"
    ticks(session, NOTHING, NOTICE)
    assert session.status().notice == ""
    with pytest.raises(ValueError, match="no agent ships for basic"):
        make(PlayScenario("basic"), agent="agent")


def test_beside_the_real_game_the_agent_sees_that(
    make: Callable[..., Session], shipped: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make(mode="both", agent="agent")
    seen = []
    act = Agent.act
    monkeypatch.setattr(
        Agent, "act", lambda self, features, **more: [seen.append(features), act(self, features, **more)][1]
    )
    ticks(session, NOTHING, STEP)
    features = session._real.batch.features
    session.tick(NOTHING)
    assert len(seen) == 2 and torch.equal(seen[1], features) and not torch.equal(seen[1], dream_of(session).features)
    assert session.pressed.tolist() == RIGHT.tolist()


def test_the_temperature_has_limits_and_reaches_the_dream(make: Callable[..., Session]) -> None:
    session = make()
    for by, expected in ((0.1, 1.1), (5, 2.0), (-0.1, 1.9), (-5, 0.0)):
        session.change_temperature(by)
        assert session.status().temperature == dream_of(session).temperature == expected
    for bad in (-0.1, 2.1, float("nan")):
        with pytest.raises(ValueError, match="temperature must be in 0…2"):
            make(temperature=bad)


def test_all_scenarios_of_the_weights_are_gone_through_and_back(
    make: Callable[..., Session], immortal: WorldModel
) -> None:
    session = make(PlayScenario("my_way_home"))
    names = []
    for _ in session.selectable:
        session.next_scenario(1)
        ticks(session, NOTHING, 1)
        names.append(session.status().scenario)
    assert {name.split()[0] for name in names} == set(immortal.config.scenarios) and names[-1] == "my_way_home"
    assert "freedoom MAP01" in names
    assert session.status().drift == pytest.approx(float(dream_of(session).drift()[0]))
    session.next_scenario(-1)
    assert session.status().scenario == names[-2]


def test_a_dream_begins_with_a_picture_of_your_own(make: Callable[..., Session], immortal: WorldModel) -> None:
    frames = random_frames(3)
    session = make(start=frames)
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(frames[None])[:, -1], atol=1e-4, rtol=0)
    session.next_scenario(1)
    assert (immortal.initial_states["basic"][0] == dream_of(session).state.z).all(1).any()
    for wrong, message in (({"start": frames}, "mode dream"), ({"mode": "reel"}, "choose from dream, real, both")):
        with pytest.raises(ValueError, match=message):
            make(**({"mode": "real"} | wrong))
    with pytest.raises(ValueError, match="only real play is recorded"):
        make(save=Path("data"))
