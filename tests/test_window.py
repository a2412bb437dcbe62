"""Promises of the window: keys are seen at once, films are whole, time is kept, help and menu tell what there is.

Legend: a step is four ticks of 1/35 s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pygame
import pytest
from playroom import FREEDOOM, NOTHING, STEP, press_key, video

import doom_dream_env  # noqa: F401
from doom_dream_env.agents import Agent
from doom_dream_env.play import hud
from doom_dream_env.play.help import help_rows
from doom_dream_env.play.overlay import Overlay
from doom_dream_env.play.session import PlayScenario, Session
from doom_dream_env.play.window import Window
from doom_dream_env.scenarios import press


def test_a_key_in_the_window_changes_the_picture_at_once(open_window: Callable[..., Window]) -> None:
    window = open_window(FREEDOOM)
    still = open_window(FREEDOOM)
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
    window = open_window(PlayScenario("basic"), **more)
    pressed = []
    window.frame()
    for kind in (pygame.KEYDOWN, pygame.KEYUP):
        pygame.event.post(pygame.event.Event(kind, key=pygame.K_LCTRL))
    window.wait(0)
    for _ in range(3 * STEP):
        pressed.append(window.session.pressed.tolist() == press("ATTACK").tolist())
        window.frame()
    held = range(STEP, 2 * STEP) if record else range(1, STEP)  # recorded keys count for whole steps
    assert [tick for tick, down in enumerate(pressed) if down] == list(held)


def test_the_loop_keeps_time(open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch) -> None:
    window = open_window()
    frames = []
    frame = window.frame

    def count(show: bool) -> None:
        frames.append(show)
        frame(show)
        window.running = len(frames) < 20

    monkeypatch.setattr(window, "frame", count)
    clock = Clock()
    monkeypatch.setattr("doom_dream_env.play.window.time.perf_counter", clock)
    monkeypatch.setattr(
        pygame.event, "wait", lambda ms: [clock.sleep(ms / 1000), pygame.event.Event(pygame.NOEVENT)][1]
    )
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


def test_a_film_that_is_cut_short_by_closing_the_window_is_whole(
    open_window: Callable[..., Window], tmp_path: Path
) -> None:
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


def test_films_are_numbered_also_beside_another_window(open_window: Callable[..., Window], tmp_path: Path) -> None:
    one, other = open_window(), open_window()
    for window in (one, other):
        press_key(window, pygame.K_v)
    one.frame()
    for window in (one, other):
        press_key(window, pygame.K_v)
    films = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert films == ["take_cover-001.mp4", "take_cover-002.mp4"]
    assert [len(video(tmp_path / "out" / name)) for name in films] == [2, 1]
    assert other.session.status().notice.endswith("take_cover-002.mp4") and other.film is None


def test_a_screenshot_is_what_the_window_shows(open_window: Callable[..., Window], tmp_path: Path) -> None:
    window = open_window()
    window.frame()
    shown = hud.to_frame(pygame.display.get_surface())
    press_key(window, pygame.K_F12)
    press_key(window, pygame.K_c)
    picture = pygame.image.load(tmp_path / "out" / "take_cover-001.png")
    assert np.array_equal(hud.to_frame(picture), shown)
    assert (tmp_path / "out" / "take_cover-002.png").is_file()


def test_a_window_that_is_minimised_stops_time_and_a_lost_focus_releases_the_keys(
    open_window: Callable[..., Window],
) -> None:
    window = open_window()
    press_key(window, pygame.K_a)
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    pygame.event.post(pygame.event.Event(pygame.WINDOWMINIMIZED))
    window.wait(0)
    window._keyboard.end_step()
    assert window.session.paused and not window._keyboard.names


def test_a_slow_computer_slows_the_dream_and_keys_stay_fresh(
    open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tic takes three times as long as it may: time slows, and a key is seen in the next tic."""
    window = open_window()
    clock = Clock()
    monkeypatch.setattr("doom_dream_env.play.window.time.perf_counter", clock)
    pressed: list[bool] = []
    shown: list[bool] = []
    frame = window.frame

    def slow(show: bool) -> None:
        if len(pressed) in (10, 20):
            pygame.event.post(pygame.event.Event((pygame.KEYDOWN, pygame.KEYUP)[len(pressed) // 20], key=pygame.K_a))
            window.wait(0)
        frame(show)
        clock.sleep(3 / 35)
        shown.append(show)
        pressed.append(bool(window.session.pressed.any()))
        window.running = len(pressed) < 30

    monkeypatch.setattr(window, "frame", slow)
    window.run()
    assert window.session._time == 30 and clock.now == pytest.approx(30 * 3 / 35, rel=0.05)
    assert pressed.index(True) == 10 and not any(pressed[20 + STEP :])
    assert any(shown[start : start + 9] == [False] * 7 + [True] + [False] for start in range(20)) and sum(shown) >= 3


def test_every_command_works(open_window: Callable[..., Window], shipped: Agent) -> None:
    window = open_window()
    for key in window.commands:
        press_key(window, key)
        if window.overlay:
            press_key(window, key)
        assert window.overlay is None or key == pygame.K_h
        window.running = True
    assert window.session.status().scenario == "take_cover" and window.film is not None
    assert pygame.mixer.get_init() is None, "a machine without sound could not play"


def test_the_window_fits_its_pictures_and_the_screen(open_window: Callable[..., Window]) -> None:
    window = open_window()
    assert pygame.display.get_window_size() == hud.size(1, 2)
    press_key(window, pygame.K_RIGHTBRACKET)
    assert pygame.display.get_window_size() == hud.size(1, 3)
    for _ in range(20):
        press_key(window, pygame.K_RIGHTBRACKET)
    screen_width, screen_height = pygame.display.get_desktop_sizes()[0]
    width, height = pygame.display.get_window_size()
    assert width <= screen_width and height <= screen_height
    for surface in (pygame.Surface((900, 200)), pygame.Surface((100, 300)), pygame.Surface((41, 13))):
        hud.Hud().draw(surface, window.session.pictures(), window.session.status(), Overlay("", [("a", "b")], 0))
    wide_surface = pygame.Surface((900, 272))
    hud.Hud().draw(wide_surface, window.session.pictures(), window.session.status())
    frame = hud.to_frame(wide_surface)
    assert (frame[:, :280] == hud.BACK).all() and (frame[:, -280:] == hud.BACK).all(), "the picture is stretched"
    assert not (frame[136, 300:600] == hud.BACK).all(-1).any()


def test_a_folder_that_cannot_be_written_is_a_message_not_an_end(
    open_window: Callable[..., Window], tmp_path: Path
) -> None:
    window = open_window()
    (tmp_path / "out").write_text("a file is in the way")
    press_key(window, pygame.K_v)
    assert "cannot film" in window.session.status().notice and window.film is None
    press_key(window, pygame.K_F12)
    assert "cannot save a picture" in window.session.status().notice


@pytest.mark.parametrize("driver", ["nonsense", "offscreen"])
def test_without_a_display_the_window_says_so(
    make: Callable[..., Session], monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
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


# ---- overlays --------------------------------------------------------------------------------------------------------
def test_help_stops_time_covers_the_window_and_names_every_command(
    open_window: Callable[..., Window], shipped: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    window.frame()
    shown = hud.to_frame(pygame.display.get_surface())
    time_before = window.session._time
    press_key(window, pygame.K_F1)
    for _ in range(2 * STEP):
        window.frame()
    covered = hud.to_frame(pygame.display.get_surface())
    assert window.session._time == time_before and not np.array_equal(covered, shown)
    assert (covered == hud.TEXT).all(-1).sum() > 2 * (shown == hud.TEXT).all(-1).sum()
    text = " ".join(keys for keys, _ in help_rows(window.session))
    press_key(window, pygame.K_ESCAPE)
    window.frame()
    assert window.running and window.overlay is None and window.session._time > time_before
    for sign, word in {"+": "plus", "[": "leftbracket", "]": "rightbracket"}.items():
        text = text.replace(sign, word)
    words = text.lower().replace("-", " - ").split()
    spelled = {"+": "plus", "[": "leftbracket", "]": "rightbracket"}
    keypad = {"escape": "esc", "[-]": "-", "[+]": "+", "=": "+", " ": ""}
    for key in window.commands:
        name = pygame.key.name(key)
        for written, meant in keypad.items():
            name = name.replace(written, meant)
        assert spelled.get(name, name).lower() in words, f"help says nothing of {name}"


def test_a_key_that_does_nothing_says_so(open_window: Callable[..., Window], shipped: Agent) -> None:
    window = open_window()
    press_key(window, pygame.K_w)
    assert window.session.status().notice == "W does nothing in take_cover; F1: all keys"
    press_key(window, pygame.K_TAB)
    press_key(window, pygame.K_a)
    assert window.session.status().notice == "the agent plays; Tab: you"


def test_a_world_is_typed_or_chosen_in_the_menu(open_window: Callable[..., Window]) -> None:
    window = open_window()
    press_key(window, pygame.K_F2)
    for letter in "My way_":
        event = pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(letter.lower().replace(" ", "space")))
        event = pygame.event.Event(pygame.KEYDOWN, key=event.key, unicode=letter)
        pygame.event.post(event)
    window.wait(0)
    assert window.overlay and [name for name, _ in window.overlay.rows] == ["my_way_home"]
    press_key(window, pygame.K_RETURN)
    assert window.session.scenario.name == "my_way_home" and window.overlay is None
    press_key(window, pygame.K_F2)
    press_key(window, pygame.K_UP)
    press_key(window, pygame.K_RETURN)
    assert window.session.scenario.name == "deadly_corridor"
    press_key(window, pygame.K_F2)
    press_key(window, pygame.K_END)
    press_key(window, pygame.K_ESCAPE)
    assert window.session.scenario.name == "deadly_corridor" and window.running and window.overlay is None
    window.frame()
    assert window.session.pressed.tolist() == NOTHING.tolist(), "a letter that was typed is held as a key"
