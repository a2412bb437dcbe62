"""The display: is there one, and a first picture on it while the rest is still being loaded."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import pygame

from doom_dream_env.errors import INTERRUPTED
from doom_dream_env.play import hud

TITLE = "DreamDoom"
LOOK = 0.02  # seconds between two looks at the window while something is loaded

T = TypeVar("T")


def open_display() -> bool:
    """Initialise the display, and nothing else of pygame (a machine may have no sound); is there one?"""
    if sys.platform == "linux" and not {"SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return False
    try:
        pygame.display.init()
    except pygame.error:
        return False
    # SDL falls back to a driver that shows nothing, unasked.
    if pygame.display.get_driver() == "offscreen" and os.environ.get("SDL_VIDEODRIVER") != "offscreen":
        pygame.display.quit()
        return False
    return True


def largest_scale(pictures: int) -> int:
    """How many times so many pictures can be enlarged to fit on the screen, 1 or more."""
    screen_width, screen_height = pygame.display.get_desktop_sizes()[0]
    fits = [
        scale
        for scale in range(1, screen_width // hud.WIDTH + 2)
        if hud.size(pictures, scale)[0] <= screen_width and hud.size(pictures, scale)[1] <= screen_height
    ]
    return max(fits, default=1)


def _load_triton() -> None:
    """Load triton, which torch brings along, before the window.

    A window loads the drivers of OpenGL, which may have an LLVM of another version in them than triton has. Measured:
    torch loaded after Mesa's drivers crashed with a segmentation fault; the other way round it does not.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton._C.libtriton")


def open_window(scale: int, pictures: int = 1) -> None:
    """Open the window, and say in it that everything else is still being loaded.

    Raises:
        OSError: if there is no display.
    """
    if not open_display():
        raise OSError("no display: nothing can be shown here; use `dream-doom record` to make a film instead")
    _load_triton()
    pygame.display.set_caption(TITLE)
    scale = max(min(scale, largest_scale(pictures)), 1)
    surface = pygame.display.set_mode(hud.size(pictures, scale), pygame.RESIZABLE)
    surface.fill(hud.BACK)
    announce("loading …")


def keep_on_screen() -> None:
    """Move a window that has grown over the edge of the screen back onto it."""
    x, y = pygame.display.get_window_position()
    size = pygame.display.get_window_size()
    screen = pygame.display.get_desktop_sizes()[0]
    inside = max(min(x, screen[0] - size[0]), 0), max(min(y, screen[1] - size[1]), 0)
    if (x, y) != inside and x < screen[0] and y < screen[1]:  # else it is on another screen
        pygame.display.set_window_position(inside)


def while_loading(load: Callable[[], T]) -> T:
    """Load something in a thread, while the window answers: Escape, its closing and signals end the program at once.

    Raises:
        Exception: whatever `load` raises.
    """
    loaded: Future[T] = Future()

    def run() -> None:
        try:
            loaded.set_result(load())
        except BaseException as error:
            loaded.set_exception(error)

    thread = threading.Thread(target=run, daemon=True, name="loading")
    try:
        thread.start()
        while not loaded.done():
            for event in pygame.event.get():
                if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
                    raise SystemExit(0)
            time.sleep(LOOK)
    except (KeyboardInterrupt, SystemExit) as end:
        pygame.display.quit()
        # The thread cannot be ended, and Python crashes when it ends in the middle of loading torch.
        os._exit(INTERRUPTED if isinstance(end, KeyboardInterrupt) else int(end.code or 0))
    return loaded.result()


def announce(text: str) -> None:
    """Say in the window, before something that takes a while, what it is."""
    surface = pygame.display.get_surface()
    if surface is not None:
        hud.Hud().say(surface, text)
        pygame.display.flip()
        pygame.event.pump()
