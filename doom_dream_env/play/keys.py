"""Keys, mouse and game pad to the nine buttons."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pygame
from pygame._sdl2 import controller

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS, PAIRS, Buttons, Scenario, press

MOUSE = -1  # the left mouse button among the codes of the keys
STRAFE = "STRAFE"  # while it is down, turning is strafing
# What a key is called (in `parse`, in the help), its codes, and what it presses.
KEYS: dict[str, tuple[tuple[int, ...], str]] = {
    "UP": ((pygame.K_UP,), "MOVE_FORWARD"),
    "W": ((pygame.K_w,), "MOVE_FORWARD"),
    "DOWN": ((pygame.K_DOWN,), "MOVE_BACKWARD"),
    "S": ((pygame.K_s,), "MOVE_BACKWARD"),
    "A": ((pygame.K_a,), "MOVE_LEFT"),
    "COMMA": ((pygame.K_COMMA,), "MOVE_LEFT"),
    "D": ((pygame.K_d,), "MOVE_RIGHT"),
    "PERIOD": ((pygame.K_PERIOD,), "MOVE_RIGHT"),
    "LEFT": ((pygame.K_LEFT,), "TURN_LEFT"),
    "Q": ((pygame.K_q,), "TURN_LEFT"),
    "RIGHT": ((pygame.K_RIGHT,), "TURN_RIGHT"),
    "E": ((pygame.K_e,), "TURN_RIGHT"),
    "CTRL": ((pygame.K_LCTRL, pygame.K_RCTRL), "ATTACK"),
    "J": ((pygame.K_j,), "ATTACK"),
    "MOUSE": ((MOUSE,), "ATTACK"),
    "SPACE": ((pygame.K_SPACE,), "USE"),
    "SHIFT": ((pygame.K_LSHIFT, pygame.K_RSHIFT), "SPEED"),
    "ALT": ((pygame.K_LALT, pygame.K_RALT), STRAFE),
}
NAMES = {code: name for name, (codes, _) in KEYS.items() for code in codes}
# Keys that belong where they are on a keyboard from the US, whatever letter is printed there, by their scan codes.
PLACES = {
    pygame.KSCAN_W: "W",
    pygame.KSCAN_A: "A",
    pygame.KSCAN_S: "S",
    pygame.KSCAN_D: "D",
    pygame.KSCAN_Q: "Q",
    pygame.KSCAN_E: "E",
}
SIDEWAYS = {"TURN_LEFT": "MOVE_LEFT", "TURN_RIGHT": "MOVE_RIGHT"}
# In a scenario that lacks a button, the one that comes nearest to it.
INSTEAD = {"USE": "ATTACK", **SIDEWAYS, **{move: turn for turn, move in SIDEWAYS.items()}}
OPPOSITES = tuple(map(set, PAIRS))
LONGEST_COUNT = 9  # digits of a number of steps
TOGETHER = 4  # keys in a combination of `keys_to_action`, at most


def to_buttons(names: Iterable[str], scenario: Scenario) -> Buttons:
    """The nine 0/1 buttons, shape (9,), of keys of `KEYS` or buttons that are down together; opposites cancel.

    A button that the scenario lacks is never pressed, but another may stand in for it: attacking for using, strafing
    for turning and turning for strafing.
    """
    wanted = {KEYS[name][1] if name in KEYS else name for name in names}
    if STRAFE in wanted:
        wanted = {SIDEWAYS.get(button, button) for button in wanted}
    wanted = {button if button in scenario.buttons else INSTEAD.get(button, "") for button in wanted}
    for pair in OPPOSITES:
        if pair <= wanted:
            wanted -= pair
    return press(*wanted.intersection(scenario.buttons))


def presses(name: str, scenario: Scenario) -> set[str]:
    """Which buttons a key presses in a scenario, none if it does nothing; of Alt, what it makes of the arrows."""
    if KEYS[name][1] != STRAFE:
        return {BUTTONS[index] for index in np.flatnonzero(to_buttons([name], scenario))}
    both = set(SIDEWAYS) & set(scenario.buttons) and set(SIDEWAYS.values()) & set(scenario.buttons)
    return both or set()


def parse(text: str, scenario: Scenario) -> list[tuple[Buttons, int]]:
    """What a text like "W*20 W+CTRL*3 NOTHING*5 TURN_LEFT" presses, one after the other, and for how many steps each.

    Args:
        text: keys or buttons, together with +, for so many steps with *, one after the other.
        scenario: whose buttons.

    Raises:
        ValueError: on a name or a number that means nothing.
    """
    held: list[tuple[Buttons, int]] = []
    for item in text.upper().split():
        keys, _, times = item.partition("*")
        names = [] if keys == "NOTHING" else keys.split("+")
        if unknown := [name for name in names if name not in KEYS and name not in BUTTONS]:
            known = ", ".join([*KEYS, *BUTTONS, "NOTHING"])
            raise UserError(f"{unknown[0]!r} in the keys {item!r} is unknown; choose from {known}")
        if times and not (times.isdecimal() and len(times) <= LONGEST_COUNT):
            raise UserError(f"the keys {item[:40]!r} need a number of steps after the *, as in W*20")
        held.append((to_buttons(names, scenario), int(times or 1)))
    return held


def keys_to_action(scenario: Scenario) -> dict[tuple[int, ...], Any]:
    """For `gymnasium.utils.play`: codes of keys that are down together, up to four, to an action of the action space.

    Where a scenario takes one button at a time, combinations that press several are left out.
    """
    table = {row.tobytes(): index for index, row in enumerate(scenario.action_table())}
    actions: dict[tuple[int, ...], Any] = {}
    for size in range(1, TOGETHER + 1):
        for codes in itertools.combinations([code for code in NAMES if code != MOUSE], size):
            buttons = to_buttons((NAMES[code] for code in codes), scenario)
            if not scenario.discrete:
                actions[codes] = buttons.astype(np.int8)
            elif buttons.tobytes() in table:
                actions[codes] = table[buttons.tobytes()]
    return actions


def key_name(event: pygame.Event) -> str | None:
    """What `KEYS` calls the key or mouse button of an event; None if it is none of them."""
    if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
        return NAMES[MOUSE] if event.button == pygame.BUTTON_LEFT else None
    if event.type not in (pygame.KEYDOWN, pygame.KEYUP):
        return None
    scancode = getattr(event, "scancode", 0)  # remote keyboards may have none
    name = PLACES.get(scancode, NAMES.get(event.key))
    return None if scancode and scancode not in PLACES and name in PLACES.values() else name


class Keyboard:
    """Which keys are down, the left mouse button among them.

    A key that is tapped more briefly than a step lasts counts until `end_step`, so that no tap is lost.
    """

    def __init__(self) -> None:
        self._down: dict[int, str] = {}  # name by scan code
        self._tapped: set[str] = set()

    def handle(self, event: pygame.Event) -> str | None:
        """Take in an event; which of the keys was it?"""
        if event.type == pygame.WINDOWFOCUSLOST:
            self._down.clear()  # whatever is released elsewhere is not reported
        name = key_name(event)
        if name is None:
            return None
        code = MOUSE if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP) else event.key
        code = getattr(event, "scancode", 0) or code
        if event.type in (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN):
            self._down[code] = name
            self._tapped.add(name)
        else:
            self._down.pop(code, None)
        return name

    def end_step(self) -> None:
        """Forget the taps."""
        self._tapped.clear()

    @property
    def names(self) -> set[str]:
        """Names of the keys that are down, or were tapped in this step."""
        return {*self._down.values(), *self._tapped}


class Pad:
    """The first game pad, if there is one; it may come and go.

    Left stick or cross: move and strafe; right stick: turn; A or the right trigger: attack; B: use; left shoulder:
    speed.
    """

    THRESHOLD = 13_000  # of 32,767
    AXES = (
        (pygame.CONTROLLER_AXIS_LEFTY, -1, "MOVE_FORWARD"),
        (pygame.CONTROLLER_AXIS_LEFTY, 1, "MOVE_BACKWARD"),
        (pygame.CONTROLLER_AXIS_LEFTX, -1, "MOVE_LEFT"),
        (pygame.CONTROLLER_AXIS_LEFTX, 1, "MOVE_RIGHT"),
        (pygame.CONTROLLER_AXIS_RIGHTX, -1, "TURN_LEFT"),
        (pygame.CONTROLLER_AXIS_RIGHTX, 1, "TURN_RIGHT"),
        (pygame.CONTROLLER_AXIS_TRIGGERRIGHT, 1, "ATTACK"),
    )
    BUTTONS = (
        (pygame.CONTROLLER_BUTTON_DPAD_UP, "MOVE_FORWARD"),
        (pygame.CONTROLLER_BUTTON_DPAD_DOWN, "MOVE_BACKWARD"),
        (pygame.CONTROLLER_BUTTON_DPAD_LEFT, "MOVE_LEFT"),
        (pygame.CONTROLLER_BUTTON_DPAD_RIGHT, "MOVE_RIGHT"),
        (pygame.CONTROLLER_BUTTON_A, "ATTACK"),
        (pygame.CONTROLLER_BUTTON_B, "USE"),
        (pygame.CONTROLLER_BUTTON_LEFTSHOULDER, "SPEED"),
    )

    def __init__(self) -> None:
        controller.init()
        self._pad: Any = None
        self._find()

    def _find(self) -> None:
        known = [index for index in range(controller.get_count()) if controller.is_controller(index)]
        try:
            self._pad = controller.Controller(known[0]) if known else None
        except pygame.error:
            self._pad = None  # pulled out again at once

    def handle(self, event: pygame.Event) -> None:
        """Take in that a pad has come or gone."""
        if event.type in (pygame.CONTROLLERDEVICEADDED, pygame.CONTROLLERDEVICEREMOVED):
            self._find()

    @property
    def names(self) -> set[str]:
        """The buttons that it presses."""
        if self._pad is None or not self._pad.attached():
            return set()
        axes = {name for axis, sign, name in self.AXES if sign * self._pad.get_axis(axis) > self.THRESHOLD}
        return axes | {name for button, name in self.BUTTONS if self._pad.get_button(button)}
