"""Promises of what is written over the pictures: help and menu tell what there is here, and all of it can be read.

Legend: a step is four ticks of 1/35 s.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pygame
import pytest
from playroom import FREEDOOM, NOTHING, STEP, press_key

from doom_dream_env.agents import Agent
from doom_dream_env.play import hud
from doom_dream_env.play.help import help_rows
from doom_dream_env.play.menu import world_rows
from doom_dream_env.play.overlay import Overlay
from doom_dream_env.play.session import Session
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


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["dream", "both"])
def test_texts_never_overlap(
    make: Callable[..., Session], scale: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even numbers as long as they get, in the smallest window; nor is anything written outside."""
    session = make(FREEDOOM, mode)
    pictures = session.pictures()
    status = session.status()
    long = {"HEALTH": 200.0, "ARMOR": 200.0, "SELECTED_WEAPON_AMMO": 400.0}
    views = tuple(replace(view, points="return 1234567", seconds=180.0, variables=long) for view in status.views)
    status = replace(status, scenario="health_gathering_supreme", fps=35.0, recording=True, views=views)
    written: list[pygame.Rect] = []
    blit = hud.Hud._write

    def write(self: hud.Hud, surface: pygame.Surface, box: pygame.Rect, text: str, *more: Any, **most: Any) -> int:
        width = blit(self, surface, box, text, *more, **most)
        at = most.get("at", more[1] if len(more) > 1 else "midleft")
        written.append(pygame.Rect(0, 0, width, min(box.height, 8)).move_to(**{at: getattr(box, at)}))
        return width

    monkeypatch.setattr(hud.Hud, "_write", write)
    for overlay in (None, Overlay("Keys", help_rows(session)), Overlay("Worlds", world_rows(session), 12)):
        written.clear()
        surface = pygame.Surface(hud.size(len(pictures), scale))
        hud.Hud().draw(surface, pictures, status)
        if overlay:
            written.clear()
            hud.Hud()._overlay(surface, overlay)
        assert len(written) > 1
        for one, other in itertools.combinations([rect for rect in written if rect.width], 2):
            assert not one.colliderect(other), (one, other)
        assert all(surface.get_rect().contains(rect) for rect in written)
