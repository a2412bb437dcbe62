"""Promises of the keys: held together they press the right buttons of each scenario, also in Gymnasium's own `play`."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import av
import gymnasium as gym
import numpy as np
import pygame
import pytest

import doom_dream_env  # noqa: F401
from doom_dream_env.play.keys import KEYS, Keyboard, Pad, keys_to_action, parse, to_buttons
from doom_dream_env.scenarios import BUTTONS, SCENARIOS, press
from doom_dream_env.world_model import WorldModel

NOTHING = press()
LEFT = press("MOVE_LEFT")
RIGHT = press("MOVE_RIGHT")
SAME_KEYS = (("W", "UP"), ("S", "DOWN"), ("A", "COMMA"), ("D", "PERIOD"), ("Q", "LEFT"), ("E", "RIGHT"), ("J", "MOUSE"))


def test_keys_held_together_press_their_buttons_together() -> None:
    free = SCENARIOS["freedoom"]
    together = to_buttons(("W", "LEFT", "CTRL", "SHIFT", "SPACE"), free)
    assert together.tolist() == press("MOVE_FORWARD", "TURN_LEFT", "ATTACK", "SPEED", "USE").tolist()
    for first, second in SAME_KEYS:
        pressed = to_buttons([first], free)
        assert pressed.tolist() == to_buttons([second], free).tolist() and pressed.sum() == 1
    assert to_buttons(("ALT", "LEFT"), free).tolist() == LEFT.tolist()
    assert to_buttons(("ALT", "RIGHT", "W"), free).tolist() == press("MOVE_RIGHT", "MOVE_FORWARD").tolist()


@pytest.mark.parametrize("pair", [("W", "DOWN"), ("A", "D"), ("LEFT", "E"), ("LEFT", "RIGHT")])
def test_opposite_keys_cancel(pair: tuple[str, str]) -> None:
    assert to_buttons((*pair, "J"), SCENARIOS["freedoom"]).tolist() == press("ATTACK").tolist()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_button_that_the_scenario_lacks_is_never_pressed(name: str) -> None:
    scenario = SCENARIOS[name]
    for key in KEYS:
        assert {BUTTONS[i] for i in np.flatnonzero(to_buttons([key], scenario))} <= set(scenario.buttons)
    for button in scenario.buttons:
        assert any(to_buttons([key], scenario)[BUTTONS.index(button)] for key in KEYS)


def test_the_nearest_button_stands_in_for_one_that_is_missing() -> None:
    assert to_buttons(["SPACE"], SCENARIOS["basic"]).tolist() == press("ATTACK").tolist()
    assert to_buttons(["LEFT"], SCENARIOS["take_cover"]).tolist() == LEFT.tolist()
    assert to_buttons(["A"], SCENARIOS["defend_the_center"]).tolist() == press("TURN_LEFT").tolist()
    assert to_buttons(["W", "J"], SCENARIOS["take_cover"]).tolist() == NOTHING.tolist()


def test_a_tap_counts_until_the_step_ends_and_lost_focus_releases_all() -> None:
    keys = Keyboard()
    down, up = (pygame.event.Event(kind, key=pygame.K_RCTRL) for kind in (pygame.KEYDOWN, pygame.KEYUP))
    assert keys.handle(down) and keys.handle(up) and keys.names == {"CTRL"}
    keys.end_step()
    assert keys.names == set()
    keys.handle(down)
    keys.end_step()
    assert keys.names == {"CTRL"}
    assert not keys.handle(pygame.event.Event(pygame.WINDOWFOCUSLOST)) and keys.names == set()
    keys.handle(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1))
    assert keys.names == {"MOUSE"}
    assert not keys.handle(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=3))
    assert not keys.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_F1))


def key(kind: int, code: int, scancode: int) -> pygame.Event:
    return pygame.event.Event(kind, key=code, scancode=scancode)


@pytest.mark.parametrize(
    ("layout", "letters"),
    [("azerty", "zqsdae"), ("qwerty", "wasdqe"), ("colemak", "warsqf"), ("dvorak", ",aoe'.")],
)
def test_the_hand_lies_where_it_does_on_every_keyboard(layout: str, letters: str) -> None:
    places = (pygame.KSCAN_W, pygame.KSCAN_A, pygame.KSCAN_S, pygame.KSCAN_D, pygame.KSCAN_Q, pygame.KSCAN_E)
    for letter, place, name in zip(letters, places, "WASDQE", strict=True):
        keys = Keyboard()
        assert keys.handle(key(pygame.KEYDOWN, ord(letter), place)) == name
        assert keys.names == {name}
        keys.handle(key(pygame.KEYUP, ord(letter), place))
        keys.end_step()
        assert not keys.names


def test_a_game_pad_presses_buttons_and_may_be_missing() -> None:
    axes = {
        pygame.CONTROLLER_AXIS_LEFTY: -30_000,
        pygame.CONTROLLER_AXIS_RIGHTX: 32_000,
        pygame.CONTROLLER_AXIS_LEFTX: 3000,
    }
    device = SimpleNamespace(
        attached=lambda: True,
        get_axis=lambda axis: axes.get(axis, 0),
        get_button=lambda button: button == pygame.CONTROLLER_BUTTON_B,
    )
    pad = Pad()
    pad._pad = device
    assert pad.names == {"MOVE_FORWARD", "TURN_RIGHT", "USE"}
    device.attached = lambda: False
    assert pad.names == set()
    pad.handle(pygame.event.Event(pygame.CONTROLLERDEVICEREMOVED, instance_id=0))
    assert pad.names == set()


def test_keys_are_read_from_text() -> None:
    free = SCENARIOS["freedoom"]
    held = [(list(buttons), steps) for buttons, steps in parse("w*2 W+ctrl nothing*999999999 TURN_LEFT", free)]
    expected = [("MOVE_FORWARD",), ("MOVE_FORWARD", "ATTACK"), (), ("TURN_LEFT",)]
    assert held == [(list(press(*names)), steps) for names, steps in zip(expected, (2, 1, 999999999, 1), strict=True)]
    with pytest.raises(ValueError, match="'X' in the keys 'W\\+X\\*3' is unknown; choose from UP, W, .*MOVE_FORWARD"):
        parse("W+X*3", free)
    with pytest.raises(ValueError, match="number of steps"):
        parse("W*few", free)


@pytest.mark.parametrize("name", SCENARIOS)
def test_keys_to_action_are_actions_of_the_scenario(weights: Path, name: str) -> None:
    env = gym.make("DreamDoom-v0", scenario=name, weights=weights, render_mode="rgb_array")
    actions = env.get_wrapper_attr("get_keys_to_action")()
    assert all(action in env.action_space for action in actions.values())
    scenario = SCENARIOS[name]
    if scenario.discrete:
        assert set(actions.values()) == set(range(len(scenario.buttons) + 1))
        assert scenario.action_table()[actions[(pygame.K_a,)]].tolist() == to_buttons(["A"], scenario).tolist()
    else:
        codes = next(codes for codes in actions if set(codes) == {pygame.K_w, pygame.K_LEFT, pygame.K_LCTRL})
        assert actions[codes].tolist() == press("MOVE_FORWARD", "TURN_LEFT", "ATTACK").tolist()
    assert actions.keys() == keys_to_action(scenario).keys()


@pytest.mark.parametrize("kind", ["DreamDoom-v0", "RealDoom-v0"])
def test_gymnasiums_play_works(immortal: WorldModel, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    backend = matplotlib.get_backend()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants a window for its plots
        from gymnasium.utils.play import play

    matplotlib.use(backend)
    key = pygame.event.Event(pygame.KEYDOWN, key=pygame.K_d)
    events = iter([[], [key], [], [pygame.event.Event(pygame.QUIT)]])
    monkeypatch.setattr(pygame.event, "get", lambda: next(events))
    actions: list[int] = []
    env = gym.make(kind, weights=immortal, render_mode="rgb_array")
    play(env, seed=1, callback=lambda *step: actions.append(step[2]))
    right = int(np.flatnonzero((SCENARIOS["take_cover"].action_table() == RIGHT).all(1))[0])
    assert actions == [0, right, right]


@pytest.mark.parametrize("kind", ["DreamDoom-v0", "RealDoom-v0"])
def test_gymnasiums_record_video_works(immortal: WorldModel, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    from gymnasium.wrappers import RecordVideo

    env = RecordVideo(gym.make(kind, weights=immortal, render_mode="rgb_array"), str(tmp_path), disable_logger=True)
    env.reset(seed=1)
    for _ in range(5):
        env.step(1)
    env.close()
    (film,) = tmp_path.glob("*.mp4")
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
