"""Promises of playing: keys do what they say, dreams run smoothly under them, films are whole, mistakes are named.

Legend: a step is four ticks of 1/35 s; a side is a dream or the real game.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
import pygame
import pytest
import torch
from conftest import random_frames, states_equal

import doom_dream_env  # noqa: F401
from doom_dream_env import agents
from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.cli import main
from doom_dream_env.envs import DreamBatch
from doom_dream_env.play import hud
from doom_dream_env.play.session import LINGER, NOTICE, SHADE, Session, World
from doom_dream_env.play.window import Window
from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS, press
from doom_dream_env.world_model import WorldModel

NOTHING, LEFT, RIGHT = press(), press("MOVE_LEFT"), press("MOVE_RIGHT")
STEP = 4
TAKE_COVER, FREEDOOM = World("take_cover"), World("freedoom")


@pytest.fixture
def make(immortal: WorldModel) -> Iterator[Callable[..., Session]]:
    """Makes sessions, and closes them."""
    made: list[Session] = []

    def session(world: World = TAKE_COVER, mode: str = "dream", model: WorldModel = immortal, seed: int | None = 5, **more: Any) -> Session:
        made.append(Session(world, model, mode, seed=seed, **more))
        return made[-1]

    yield session
    for one in made:
        one.close()


@pytest.fixture
def open_window(make: Callable[..., Session], tmp_path: Path) -> Iterator[Callable[..., Window]]:
    """Makes windows with sessions of their own, and closes them; films go to `tmp_path / "out"`."""
    made: list[Window] = []

    def window(*arguments: Any, **more: Any) -> Window:
        made.append(Window(make(*arguments, **more), tmp_path / "out", scale=2))
        pygame.event.clear()
        return made[-1]

    yield window
    for one in made:
        one.close()


@pytest.fixture
def shipped(immortal: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The agent of take_cover for the weights `immortal`: it always steps right."""
    bias = torch.tensor([0.0, 60.0, 0.0])
    agent = Agent(AgentCard("take_cover", immortal.fingerprint, "", "Tanh"), [(torch.zeros(3, immortal.config.feature_width), bias)])
    agent.save(tmp_path / "agents" / "take_cover")
    monkeypatch.setattr(agents, "SHIPPED", tmp_path / "agents")
    assert SCENARIOS["take_cover"].action_table()[1].tolist() == RIGHT.tolist()
    return agent


def press_key(window: Window, key: int, down: bool = True) -> None:
    """A key event as the keyboard would send it, and one frame."""
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN if down else pygame.KEYUP, key=key))
    window.wait(0)
    window.frame()


def dream_of(session: Session) -> DreamBatch:
    assert session._dream
    return session._dream.batch


def ticks(session: Session, buttons: np.ndarray, number: int) -> list[np.ndarray]:
    """The dream's or left picture after every tick."""
    seen = []
    for _ in range(number):
        session.tick(buttons)
        seen.append(session.pictures()[0])
    return seen


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def video(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# ---- sessions: time ----------------------------------------------------------------------------------------------------


def test_one_seed_and_the_same_keys_show_the_same_and_others_something_else(make: Callable[..., Session]) -> None:
    first, again = ticks(make(), LEFT, 10), ticks(make(), LEFT, 10)
    assert first[0].shape == FRAME_SHAPE and first[0].dtype == np.uint8
    assert same(first, again)
    other = ticks(make(), RIGHT, 10)
    assert not np.array_equal(first[0], other[0]), "the first picture after the key does not show it"
    assert not same(first, ticks(make(seed=6), LEFT, 10))


def test_at_a_step_the_picture_is_the_state_and_between_steps_on_the_way(make: Callable[..., Session], immortal: WorldModel) -> None:
    session = make()
    for _ in range(3):
        start = dream_of(session).state.z
        shown = [session._dream._shown.clone() for _ in range(STEP) if session.tick(LEFT) is None]
        end = dream_of(session).state.z
        assert np.array_equal(session.pictures()[0], immortal.decode(end)[0].numpy())
        for quarter, z in enumerate(shown, 1):
            torch.testing.assert_close(z, start + (end - start) * quarter / STEP)
        assert not torch.equal(start, end)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_key_change_in_a_step_dreams_it_anew_with_the_same_dice(
    make: Callable[..., Session], immortal: WorldModel, temperature: float
) -> None:
    session = make(temperature=temperature)
    ticks(session, NOTHING, 2 * STEP)
    before = dream_of(session).get_state()
    ends = {}
    for buttons in (LEFT, RIGHT):
        alone = DreamBatch(1, "take_cover", temperature, weights=immortal)
        alone.set_state(before)
        alone.step(buttons[None])
        ends[buttons.tobytes()] = alone.state, alone.generator.get_state()
    session.tick(LEFT)
    assert states_equal(dream_of(session).state, ends[LEFT.tobytes()][0])
    shown = session._dream._shown
    session.tick(RIGHT)
    target, dice = ends[RIGHT.tobytes()]
    torch.testing.assert_close(session._dream._shown, shown + (target.z - shown) / 3)  # it goes on from what was shown
    ticks(session, RIGHT, 2)
    assert states_equal(dream_of(session).state, target) and torch.equal(dream_of(session).generator.get_state(), dice)
    assert not states_equal(target, ends[LEFT.tobytes()][0])
    assert session.phase == 0 and session.status().sides[0].seconds == pytest.approx(3 * STEP / 35)


def test_the_return_counts_each_step_once_whatever_is_pressed_in_it(make: Callable[..., Session], immortal: WorldModel) -> None:
    session = make()
    batch = DreamBatch(1, "take_cover", weights=immortal)
    batch.reset()
    batch.set_state(dream_of(session).get_state())
    for buttons in (LEFT, RIGHT, LEFT, LEFT):
        session.tick(buttons)
    ticks(session, RIGHT, STEP)
    expected = sum(float(batch.step(buttons[None])[1][0]) for buttons in (LEFT, RIGHT))
    assert session.status().sides[0].reward == pytest.approx(expected, rel=1e-5)


def test_pause_stops_time_and_a_single_step_is_one_whole_step(make: Callable[..., Session]) -> None:
    session, running = make(), make()
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


def test_a_dreamed_death_is_shown_for_a_second_and_a_new_dream_begins(make: Callable[..., Session], mortal: WorldModel) -> None:
    session = make(model=mortal)
    ticks(session, NOTHING, STEP - 1)
    assert session.status().sides[0].ended == "" and not session.over
    ticks(session, NOTHING, 1)
    side = session.status().sides[0]
    assert side.ended == "died" and session.over and side.variables == {"HEALTH": 0.0}
    dark = session.pictures()[0]
    assert np.array_equal(dark, (session._dream.picture() * SHADE).astype(np.uint8))
    assert same(ticks(session, LEFT, LINGER - 1), [dark] * (LINGER - 1))
    ticks(session, LEFT, 1)
    side = session.status().sides[0]
    assert not side.ended and side.reward == 0 and side.seconds == 0 and side.variables == {"HEALTH": 100.0}
    session.tick(LEFT)
    assert not session.over
    session.reset()
    assert session.phase == 0


def test_the_time_limit_is_named(make: Callable[..., Session]) -> None:
    session = make()
    session._dream._before["steps"] = torch.tensor([SCENARIOS["take_cover"].time_limit - 1])
    ticks(session, NOTHING, STEP)
    assert session.status().sides[0].ended == "time is up"


# ---- sessions: the real game -------------------------------------------------------------------------------------------


def test_beside_the_real_game_a_dream_sees_its_first_frame_and_no_other(make: Callable[..., Session], immortal: WorldModel) -> None:
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
    moved = sum(not np.array_equal(a, b) for a, b in zip(seen, seen[1:], strict=False))
    assert moved > 5, "the real game is shown once a step, not tic by tic"
    assert [side.title for side in session.status().sides] == ["dream", "real"]
    session.reset()
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(session.pictures()[1][None, None])[:, 0])
    assert session.status().sides[1].seconds == 0


def test_the_real_side_is_what_the_real_environment_shows(make: Callable[..., Session], immortal: WorldModel) -> None:
    session = make(World("defend_the_center"), "real")
    env = gym.make("RealDoom-v0", scenario="defend_the_center", weights=immortal, render_mode="rgb_array").unwrapped
    session._draw_seed = lambda: 7  # type: ignore[method-assign]
    session.reset()
    env.lanes.reset(seed=[7])
    for action in (1, 3, 2, 0):
        observation, reward, *_ = env.step(action)
        ticks(session, SCENARIOS["defend_the_center"].action_table()[action], STEP)
        assert np.array_equal(session.pictures()[0], env.render())
        np.testing.assert_allclose(session._real.features[0].numpy(), observation, atol=1e-4)
    side = session.status().sides[0]
    assert side.variables == env._info()["variables"] and side.seconds == pytest.approx(4 * STEP / 35)
    assert session.status().temperature is None
    env.close()


def test_when_one_side_has_ended_the_other_goes_on_and_both_begin_together(make: Callable[..., Session], mortal: WorldModel) -> None:
    session = make(mode="both", model=mortal)
    ticks(session, NOTHING, STEP)
    dark, real = session.pictures()
    assert [side.ended for side in session.status().sides] == ["died", ""]
    ticks(session, LEFT, 2 * STEP)
    later = session.pictures()
    assert np.array_equal(later[0], dark) and not np.array_equal(later[1], real)
    session._real.ended = "died"
    assert session.over
    ticks(session, LEFT, LINGER)
    assert [side.ended for side in session.status().sides] == ["", ""]


def test_the_dream_can_go_on_from_reality_every_few_seconds(make: Callable[..., Session], mortal: WorldModel) -> None:
    session = make(mode="both", model=mortal, resync=3 * STEP / 35)
    ticks(session, LEFT, 3 * STEP)
    assert session._dream.ended, "this dream dies at once"
    state, reward = session._real.state, session._real.reward
    session.tick(LEFT)
    assert states_equal(session._dream._before["state"], state) and session._dream._earned == reward
    assert not session._dream.ended and session._dream.steps == 3


def test_a_map_without_beginnings_is_dreamed_from_the_real_games_first_frame(make: Callable[..., Session], immortal: WorldModel) -> None:
    session = make(World("freedoom", "MAP07"))
    assert session.mode == "dream" and len(session.pictures()) == 1
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(session._real.game.frame[None, None])[:, 0])
    assert session.worlds[0] == World("freedoom", "MAP07")


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


# ---- sessions: commands ------------------------------------------------------------------------------------------------


def test_a_saved_dream_goes_on_exactly(make: Callable[..., Session]) -> None:
    session = make()
    ticks(session, LEFT, STEP + 2)  # in the middle of a step
    session.save()
    ticks(session, RIGHT, 1)
    runs = []
    for buttons in (LEFT, LEFT, RIGHT):
        session.restore()
        assert session.status().sides[0].seconds == pytest.approx(STEP / 35)
        runs.append((ticks(session, buttons, 3 * STEP), session.status().sides))
    assert same(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


def test_only_dreams_are_saved_and_only_in_their_world(make: Callable[..., Session]) -> None:
    session = make()
    session.restore()
    assert "no saved dream" in session.status().notice
    session.save()
    session.next_world(1)
    session.restore()
    assert session.scenario.name == "basic" and "no saved dream" in session.status().notice


def test_the_agent_plays_where_one_ships(make: Callable[..., Session], shipped: Agent) -> None:
    session = make(agent=True)
    expected = ticks(make(), RIGHT, 2 * STEP)
    assert session.status().player == "agent" and same(ticks(session, LEFT, 2 * STEP), expected)
    session.toggle_agent()
    ticks(session, LEFT, 1)
    assert session.status().player == "you" and session.pressed.tolist() == LEFT.tolist()
    session.next_world(1)
    session.toggle_agent()
    assert session.status().player == "you"
    assert session.status().notice == "no agent ships for basic and these weights; one does for take_cover"
    ticks(session, NOTHING, NOTICE)
    assert session.status().notice == ""
    with pytest.raises(ValueError, match="no agent ships for basic"):
        make(World("basic"), agent=True)


def test_beside_the_real_game_the_agent_sees_that(make: Callable[..., Session], shipped: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    session, seen = make(mode="both", agent=True), []
    act = Agent.act
    monkeypatch.setattr(Agent, "act", lambda self, features, **more: [seen.append(features), act(self, features, **more)][1])
    ticks(session, NOTHING, STEP)
    features = session._real.features
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


def test_all_worlds_of_the_weights_are_gone_through_and_back(make: Callable[..., Session], immortal: WorldModel) -> None:
    session = make(World("my_way_home"))
    names = []
    for _ in session.worlds:
        session.next_world(1)
        ticks(session, NOTHING, 1)
        names.append(session.status().world)
    assert {name.split()[0] for name in names} == set(immortal.config.scenarios) and names[-1] == "my_way_home"
    assert "freedoom MAP01" in names and session.status().drift == pytest.approx(float(dream_of(session).drift()[0]))
    session.next_world(-1)
    assert session.status().world == names[-2]


def test_modes_follow_each_other(make: Callable[..., Session]) -> None:
    session, shown = make(), []
    for _ in range(3):
        session.next_mode()
        shown.append([side.title for side in session.status().sides])
    assert shown == [["real"], ["dream", "real"], ["dream"]]


def test_a_dream_begins_with_a_picture_of_your_own(make: Callable[..., Session], immortal: WorldModel) -> None:
    frames = random_frames(3)
    session = make(start=frames)
    torch.testing.assert_close(dream_of(session).state.z, immortal.encode(frames[None])[:, -1], atol=1e-4, rtol=0)
    session.next_world(1)
    assert (immortal.starts["basic"][0] == dream_of(session).state.z).all(1).any()
    for wrong, message in (({"start": frames}, "mode dream"), ({"mode": "reel"}, "choose from dream, real, both")):
        with pytest.raises(ValueError, match=message):
            make(**({"mode": "real"} | wrong))
    with pytest.raises(ValueError, match="only real play is recorded"):
        make(save=Path("data"))


# ---- the window --------------------------------------------------------------------------------------------------------


def test_a_key_in_the_window_changes_the_picture_at_once(open_window: Callable[..., Window]) -> None:
    window, still = open_window(FREEDOOM), open_window(FREEDOOM)
    before = hud.to_frame(pygame.display.get_surface())
    press_key(window, pygame.K_w)
    assert window.session.pressed.tolist() == press("MOVE_FORWARD").tolist()
    assert len(window.latencies) == 1 and 0 < window.latencies[0] < 5
    pressed = window.session.pictures()[0]
    still.frame()
    assert not np.array_equal(pressed, still.session.pictures()[0])
    assert not np.array_equal(before, hud.to_frame(pygame.display.get_surface()))
    press_key(window, pygame.K_LCTRL)
    assert window.session.pressed.tolist() == press("MOVE_FORWARD", "ATTACK").tolist()
    press_key(window, pygame.K_w, down=False)
    press_key(window, pygame.K_LCTRL, down=False)
    window.frame()
    assert window.session.pressed.tolist() == NOTHING.tolist() and window.fps() > 0


@pytest.mark.parametrize("record", [False, True])
def test_a_tap_between_two_frames_is_not_lost(open_window: Callable[..., Window], tmp_path: Path, record: bool) -> None:
    more = {"mode": "real", "save": tmp_path / "data"} if record else {}
    if record:
        pytest.importorskip("pyarrow")
    window, pressed = open_window(World("basic"), **more), []
    window.frame()
    for kind in (pygame.KEYDOWN, pygame.KEYUP):
        pygame.event.post(pygame.event.Event(kind, key=pygame.K_LCTRL))
    window.wait(0)
    for _ in range(3 * STEP):
        pressed.append(window.session.pressed.tolist() == press("ATTACK").tolist())
        window.frame()
    held = range(STEP, 2 * STEP) if record else range(1, STEP)  # recorded keys count for whole steps
    assert [tick for tick, down in enumerate(pressed) if down] == list(held)


def test_late_frames_are_dropped_but_no_steps(open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch) -> None:
    window, decoded = open_window(), []
    decode = WorldModel.decode
    monkeypatch.setattr(WorldModel, "decode", lambda self, state: [decoded.append(1), decode(self, state)][1])
    for show in (False, False, False, True):
        window.frame(show)
    assert len(decoded) == 1 and window.session._dream.steps == 1


def test_the_loop_keeps_time(open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch) -> None:
    window, frames = open_window(), []
    frame = window.frame

    def count(show: bool) -> None:
        frames.append(show)
        frame(show)
        window.running = len(frames) < 20

    monkeypatch.setattr(window, "frame", count)
    clock = Clock()
    monkeypatch.setattr("doom_dream_env.play.window.time.perf_counter", clock)
    monkeypatch.setattr(pygame.event, "wait", lambda ms: [clock.sleep(ms / 1000), pygame.event.Event(pygame.NOEVENT)][1])
    window.run()
    assert clock.now == pytest.approx(19 / 35, abs=0.003) and all(frames)
    assert not pygame.display.get_init(), "the window stays open"


class Clock:
    """A clock that moves only when somebody sleeps, and a microsecond whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_film_that_is_cut_short_by_closing_the_window_is_whole(open_window: Callable[..., Window], tmp_path: Path) -> None:
    window = open_window()
    press_key(window, pygame.K_v)
    for tick in range(11):
        window.frame(show=tick % 3 > 0)  # dropped frames are filmed all the same
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    window.run()
    assert not window.running
    frames = video(tmp_path / "out" / "take_cover-001.mp4")
    assert len(frames) == 13 and frames[0].shape == (*hud.size(1, 4)[::-1], 3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["take_cover-001.mp4"]


def test_films_are_numbered_and_say_where_they_are(open_window: Callable[..., Window], tmp_path: Path) -> None:
    window = open_window(World("freedoom", "MAP01"))
    for _ in range(4):
        press_key(window, pygame.K_v)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["freedoom-MAP01-001.mp4", "freedoom-MAP01-002.mp4"]
    assert window.session.status().notice.endswith("freedoom-MAP01-002.mp4") and window.film is None


def test_a_screenshot_is_what_the_window_shows(open_window: Callable[..., Window], tmp_path: Path) -> None:
    window = open_window()
    window.frame()
    shown = hud.to_frame(pygame.display.get_surface())
    press_key(window, pygame.K_F12)
    press_key(window, pygame.K_c)
    picture = pygame.image.load(tmp_path / "out" / "take_cover-001.png")
    assert np.array_equal(hud.to_frame(picture), shown)
    assert (tmp_path / "out" / "take_cover-002.png").is_file()


def test_help_covers_the_window_and_names_every_command(open_window: Callable[..., Window]) -> None:
    window = open_window()
    press_key(window, pygame.K_p)
    press_key(window, pygame.K_F1)
    covered = hud.to_frame(pygame.display.get_surface())
    press_key(window, pygame.K_h)
    shown = hud.to_frame(pygame.display.get_surface())
    assert (covered == hud.TEXT).all(-1).sum() > 4 * (shown == hud.TEXT).all(-1).sum()
    text = " ".join(keys for keys, _ in hud.HELP).replace("+", "Plus").replace("[", "LeftBracket").replace("]", "RightBracket")
    for key in window.commands:
        name = pygame.key.name(key).replace("escape", "esc").replace("[-]", "-").replace("[+]", "+").replace("=", "+").replace(" ", "")
        name = {"+": "plus", "[": "leftbracket", "]": "rightbracket"}.get(name, name)
        assert name.lower() in text.lower().replace("-", " - ").split(), f"help says nothing of {name}"


def test_every_command_works(open_window: Callable[..., Window], shipped: Agent) -> None:
    window = open_window()
    for key in window.commands:
        press_key(window, key)
        window.running = True
    assert window.session.status().world == "take_cover" and window.film is not None
    assert pygame.mixer.get_init() is None, "a machine without sound could not play"


def test_the_window_fits_its_pictures_and_the_screen(open_window: Callable[..., Window]) -> None:
    window = open_window()
    assert pygame.display.get_window_size() == hud.size(1, 2)
    press_key(window, pygame.K_RIGHTBRACKET)
    assert pygame.display.get_window_size() == hud.size(1, 3)
    for _ in range(20):
        press_key(window, pygame.K_RIGHTBRACKET)
    (wide, high), (width, height) = pygame.display.get_desktop_sizes()[0], pygame.display.get_window_size()
    assert width <= wide and height <= high
    for surface in (pygame.Surface((900, 200)), pygame.Surface((100, 300)), pygame.Surface((41, 13))):
        hud.Hud().draw(surface, window.session.pictures(), window.session.status(), help=True)
    wide_surface = pygame.Surface((900, 272))
    hud.Hud().draw(wide_surface, window.session.pictures(), window.session.status())
    frame = hud.to_frame(wide_surface)
    assert (frame[:, :280] == hud.BACK).all() and (frame[:, -280:] == hud.BACK).all(), "the picture is stretched"
    assert not (frame[136, 300:600] == hud.BACK).all(-1).any()


def test_a_folder_that_cannot_be_written_is_a_message_not_an_end(open_window: Callable[..., Window], tmp_path: Path) -> None:
    window = open_window()
    (tmp_path / "out").write_text("a file is in the way")
    press_key(window, pygame.K_v)
    assert "cannot film" in window.session.status().notice and window.film is None
    press_key(window, pygame.K_F12)
    assert "cannot save a picture" in window.session.status().notice


@pytest.mark.parametrize("driver", ["nonsense", "offscreen"])
def test_without_a_display_the_window_says_so(make: Callable[..., Session], monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    pygame.display.quit()
    if driver == "nonsense":
        monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    else:  # what SDL falls back to by itself where the screen that is named is not there
        monkeypatch.setenv("DISPLAY", ":99")
        monkeypatch.delenv("SDL_VIDEODRIVER")
        monkeypatch.setattr(pygame.display, "init", lambda: None)
        monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    with pytest.raises(OSError, match="no display: .*dream-doom record"):
        Window(make(), Path("out"))
    assert not pygame.display.get_init()


# ---- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def few_frames(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows close after five frames; returns those that did."""
    seen: list[Window] = []
    frame = Window.frame

    def short(self: Window, show: bool = True) -> None:
        frame(self, show)
        self.running = self.session._time < 5
        if not self.running:
            seen.append(self)

    monkeypatch.setattr(Window, "frame", short)
    return seen


def test_play_opens_a_window_on_the_world_that_is_asked_for(weights: Path, few_frames: list[Window]) -> None:
    common = ["--weights", str(weights), "--seed", "1", "--scale", "1"]
    assert main(["play", "--scenario", "basic", "--temperature", "0.5", *common]) == 0
    assert main(["play", "--map", "map02", *common]) == 0
    assert [window.session.status().world for window in few_frames] == ["basic", "freedoom MAP02"]
    assert few_frames[0].session.temperature == 0.5 and few_frames[0].session._time == 5
    assert not Path("dream-doom-films").exists()


def test_autoplay_shows_an_agent_in_the_real_game_and_its_dream(shipped: Agent, immortal: WorldModel, few_frames: list[Window]) -> None:
    assert main(["autoplay", "--weights", immortal.source, "--scale", "1"]) == 0
    (window,) = few_frames
    assert window.session.mode == "both" and window.session.agent and window.session.resync == 3


def test_a_film_of_keys_is_that_session(weights: Path, make: Callable[..., Session], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["record", "--weights", str(weights), "--seed", "5", "--scenario", "basic", "--scale", "2", "--keys", "A*2 D+CTRL", "--out"]
    assert main([*command, "films/one.mp4"]) == 0
    assert capsys.readouterr().out.strip() == str(Path("films/one.mp4").resolve())
    frames = video(Path("films/one.mp4"))
    assert len(frames) == 3 * STEP and frames[0].shape == (*hud.size(1, 2)[::-1], 3)
    session = make(World("basic"), model=WorldModel.from_pretrained(weights))
    pictures = ticks(session, LEFT, 2 * STEP) + ticks(session, press("MOVE_RIGHT", "ATTACK"), STEP)
    top = hud.BAR * 2
    for frame, picture in zip(frames, pictures, strict=True):
        shown = frame[top : top + 240 : 2, ::2].astype(int)[10:90]  # without messages and banners
        assert np.abs(shown - picture[10:90]).mean() < 12
    assert main([*command, "two.gif", "--seconds", "0.4"]) == 0
    with av.open("two.gif") as container:
        assert sum(1 for _ in container.decode(video=0)) > 5


def test_a_film_of_dream_and_real_game_shows_both(shipped: Agent, immortal: WorldModel) -> None:
    assert main(["record", "--weights", immortal.source, "--mode", "both", "--seconds", "0.3", "--scale", "1", "--out", "pair.mp4"]) == 0
    frames = video(Path("pair.mp4"))
    assert len(frames) == 10 and frames[0].shape == (*hud.size(2, 1)[::-1], 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "--scenario", "take_covr"], "scenario 'take_covr' is unknown"),
        (["play", "--wad", "nowhere.wad"], "cannot read the WAD nowhere.wad"),
        (["play", "--map", "MAP99"], "no map 'MAP99'"),
        (["play", "--start", "nowhere.png"], "nowhere.png"),
        (["play", "--start", "broken.png"], "broken.png"),
        (["play", "--out", "broken.png/films"], "cannot write to broken.png/films"),
        (["play", "--agent"], "no agent ships for take_cover"),
        (["play", "--save", "data"], "only real play is recorded"),
        (["play", "--temperature", "3"], "temperature must be in 0…2"),
        (["autoplay", "--map", "MAP01"], "no agent ships for freedoom"),
        (["record", "--out", "film.avi", "--keys", "A"], "must end in .mp4 or .gif"),
        (["record", "--out", "broken.png/film.mp4", "--keys", "A"], "cannot write to broken.png"),
        (["record", "--keys", "JUMP*3"], "'JUMP'"),
        (["record", "--keys", ""], "nothing to film"),
        (["record", "--keys", "A", "--seconds", "-1"], "nothing to film"),
        (["record", "--keys", "A", "--scale", "0"], "--scale must be 1 or more"),
        (["record"], "no agent ships for take_cover"),
        (["play"], "no display"),
    ],
)
def test_mistakes_are_one_clear_line(
    weights: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("broken.png").write_bytes(b"no picture")
    if message == "no display":
        monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    assert main([*arguments, "--weights", str(weights)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dream-doom: ") and message in error and error.count("\n") == 1
