"""Promises of a session's commands: saved dreams go on, agents take over, modes and scenarios follow each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import random_frames
from playroom import LEFT, NOTHING, RIGHT, STEP, dream_of, same, ticks

from doom_dream_env.agents import Agent
from doom_dream_env.play.session import NOTICE, PlayScenario, Session
from doom_dream_env.world_model import WorldModel


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


def test_only_dreams_are_saved_and_only_in_their_scenario(make: Callable[..., Session]) -> None:
    session = make()
    session.restore()
    assert "no saved dream" in session.status().notice
    session.save()
    session.next_scenario(1)
    session.restore()
    assert session.scenario.name == "basic" and "no saved dream" in session.status().notice


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


def test_modes_follow_each_other(make: Callable[..., Session]) -> None:
    session = make()
    shown = []
    for _ in range(3):
        session.next_mode()
        shown.append([view.title for view in session.status().views])
    assert shown == [["real"], ["dream", "real"], ["dream"]]


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
