"""Promises of what is written over the pictures: help and menu tell what there is here, and all of it can be read.

Legend: a step is four ticks of 1/35 s.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pygame
import pytest
from playroom import NOTHING, STEP, press_key

from doom_dream_env.agents import Agent
from doom_dream_env.play import hud
from doom_dream_env.play.help import help_rows
from doom_dream_env.play.window import Window


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
