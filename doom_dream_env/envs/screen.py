"""A word to those who open a window where there is no screen."""

from __future__ import annotations

import os
import warnings

OFF_SCREEN = ("dummy", "offscreen")  # SDL's drivers that draw where nobody sees it


def warn_without_screen(alternative: str) -> None:
    """Warn if SDL found no screen and draws for nobody; not if `SDL_VIDEODRIVER` asked for that.

    Args:
        alternative: what to do instead, e.g. "use render_mode='rgb_array'".
    """
    import pygame

    driver = pygame.display.get_driver()
    if driver.lower() in OFF_SCREEN and not os.environ.get("SDL_VIDEODRIVER"):
        warnings.warn(
            f"there is no screen to open a window on (SDL draws with its driver {driver!r}, which shows nothing): "
            f"set DISPLAY, or {alternative}",
            stacklevel=3,
        )
