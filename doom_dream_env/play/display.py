"""The display: is there one, and a first picture on it while the rest is still being loaded."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import pygame

from doom_dream_env.play import hud

TITLE = "DreamDoom"


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


def announce(text: str) -> None:
    """Say in the window, before something that takes a while, what it is."""
    surface = pygame.display.get_surface()
    if surface is not None:
        hud.Hud().say(surface, text)
        pygame.display.flip()
        pygame.event.pump()
