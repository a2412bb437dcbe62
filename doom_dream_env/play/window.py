"""The window: shows a session at 35 frames/s and takes the keys."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pygame

from doom_dream_env.play import hud
from doom_dream_env.play.display import announce, keep_on_screen, largest_scale, open_window
from doom_dream_env.play.film import Film, partial_name
from doom_dream_env.play.help import help_rows
from doom_dream_env.play.keys import Keyboard, Pad, presses, to_buttons
from doom_dream_env.play.menu import world_rows
from doom_dream_env.play.overlay import Overlay
from doom_dream_env.play.session import Session
from doom_dream_env.scenarios import TICS_PER_SECOND

PERIOD = 1 / TICS_PER_SECOND
MOST_DROPPED = 7  # frames in a row, however slow the computer is
MOST_LATE = 0.25  # s; time that is lost beyond that is not caught up with
FILM_SCALE = 4


class Window:
    """A window on a session.

    Args:
        session: what is played; whoever made it closes it.
        out: folder for films and screenshots, made when the first one is.
        scale: size of the window: a pixel of the game is so many squared, or fewer where the screen is too small.

    Attributes:
        latencies: of the last 1000 key presses and releases, s: from the event's arrival to the flip that shows a
            picture made with it.

    Raises:
        OSError: if there is no display.
    """

    def __init__(self, session: Session, out: Path, scale: int = 4) -> None:
        self._pictures = len(session.views)
        if not pygame.display.get_init() or pygame.display.get_surface() is None:
            open_window(scale, self._pictures)
        pygame.key.stop_text_input()  # an input method would keep letters to itself, to ask which one was meant
        self.session = session
        self.out = out
        self.scale = scale
        self.running = True
        self.overlay: Overlay | None = None  # while there is one, time stands still
        self.fullscreen = False
        self.film: Film | None = None
        self.latencies: deque[float] = deque(maxlen=1000)
        self._flips: deque[float] = deque(maxlen=2 * TICS_PER_SECOND)
        self._hud = hud.Hud()
        self._keyboard = Keyboard()
        self._pad = Pad()
        self._asked: float | None = None  # when a key came whose effect is not yet to be seen
        self._looked = time.perf_counter()  # when there were no events left
        self._dropped = 0
        self._filmed: npt.NDArray[np.uint8] | None = None  # the newest frame of the film
        self._choose: Callable[[int], None] | None = None  # what follows a choice in the overlay
        self.commands = self._all_commands()
        self.rescale(0)
        session.notify("F1: all keys")

    def _all_commands(self) -> dict[int, Callable[[], None]]:
        session = self.session
        hotter = partial(session.change_temperature, 0.1)
        calmer = partial(session.change_temperature, -0.1)
        return {
            pygame.K_ESCAPE: self.quit,
            pygame.K_F1: self.open_help,
            pygame.K_h: self.open_help,
            pygame.K_F2: self.open_menu,
            pygame.K_p: session.pause,
            pygame.K_n: session.single_step,
            pygame.K_r: session.reset,
            pygame.K_TAB: session.toggle_agent,
            pygame.K_m: self._announced(session.next_mode),
            pygame.K_F5: session.save,
            pygame.K_F9: session.restore,
            pygame.K_PAGEUP: self._announced(partial(session.next_scenario, -1)),
            pygame.K_PAGEDOWN: self._announced(partial(session.next_scenario, 1)),
            pygame.K_PLUS: hotter,
            pygame.K_EQUALS: hotter,
            pygame.K_KP_PLUS: hotter,
            pygame.K_MINUS: calmer,
            pygame.K_KP_MINUS: calmer,
            pygame.K_v: self.toggle_film,
            pygame.K_c: self.screenshot,
            pygame.K_F12: self.screenshot,
            pygame.K_F11: self.toggle_fullscreen,
            pygame.K_LEFTBRACKET: partial(self.rescale, -1),
            pygame.K_RIGHTBRACKET: partial(self.rescale, 1),
        }

    @staticmethod
    def _announced(command: Callable[[], None]) -> Callable[[], None]:
        """A command that may start a game: the window says that it takes a moment."""

        def run() -> None:
            announce("loading …")
            command()

        return run

    # ---- time --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Play until the window is closed."""
        due = time.perf_counter()
        try:
            while self.running:
                self.wait(due)
                self.frame(show=time.perf_counter() - due < PERIOD or self._dropped >= MOST_DROPPED)
                due = max(due + PERIOD, time.perf_counter() - MOST_LATE)
        finally:
            self.close()

    def wait(self, due: float) -> None:
        """Take events as they come, until a time of `time.perf_counter`."""
        for event in pygame.event.get():
            self.handle(event, self._looked)  # it came while a frame was made, and may have come at once
        while (left := due - time.perf_counter()) > 0.001:
            self.handle(pygame.event.wait(int(1000 * left)), time.perf_counter())
        for event in pygame.event.get():
            self.handle(event, time.perf_counter())
        self._looked = time.perf_counter()

    def frame(self, show: bool = True) -> None:
        """Go on by one tic, unless there is an overlay; `show`: and display it."""
        session = self.session
        phase = session.phase
        buttons = to_buttons(self._keyboard.names | self._pad.names, session.scenario)
        if not self.overlay:
            session.tick(buttons)
        last_tic_of_keys = 0 if session.recording else session.scenario.frame_skip - 1
        stands_still = session.phase == phase  # what is tapped meanwhile is not for later
        if phase == last_tic_of_keys or stands_still:
            self._keyboard.end_step()
        self._dropped = 0 if show else self._dropped + 1
        if show:
            self._show()
            if self._asked is not None and np.array_equal(session.pressed, buttons):
                self.latencies.append(self._flips[-1] - self._asked)
                self._asked = None
        if session.paused or session.over or self.overlay:
            self._asked = None
        if self.film and self._filmed is not None and not self.overlay:
            self._add_to_film(self.film, self._filmed)

    def _show(self) -> None:
        pictures = self.session.pictures()
        status = self.session.status()
        pygame.mouse.set_visible(status.paused or self.overlay is not None)  # else it hides what one aims at
        if len(pictures) != self._pictures:
            as_it_was_made = pygame.display.get_window_size() == hud.size(self._pictures, self.scale)
            self._pictures = len(pictures)
            if as_it_was_made:
                self.rescale(0)
        about_window = replace(status, recording=self.film is not None, fps=self.fps())
        self._hud.draw(self._surface, pictures, about_window, self.overlay)
        pygame.display.flip()
        self._flips.append(time.perf_counter())
        if self.film:
            surface = pygame.Surface(hud.size(len(pictures), FILM_SCALE))  # whatever size the window has
            self._hud.draw(surface, pictures, status)
            self._filmed = hud.to_frame(surface)

    @property
    def _surface(self) -> pygame.Surface:
        surface = pygame.display.get_surface()
        assert surface is not None
        return surface

    def fps(self) -> float:
        """Frames displayed per second, over the last two seconds."""
        return (len(self._flips) - 1) / (self._flips[-1] - self._flips[0]) if len(self._flips) > 1 else 0.0

    # ---- events ------------------------------------------------------------------------------------------------------

    def handle(self, event: pygame.Event, arrived: float) -> None:
        """Take in an event that came at a time of `time.perf_counter`."""
        self._pad.handle(event)
        pressed = event.type in (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN)
        if event.type == pygame.QUIT:
            self.quit()
        elif event.type == pygame.WINDOWMINIMIZED:
            if not self.session.agent and not self.session.paused:
                self.session.pause()
        elif self.overlay and (pressed or event.type == pygame.MOUSEWHEEL):
            self._handle_overlay(self.overlay, event)
        elif name := self._keyboard.handle(event):
            if self._asked is None and not self.session.agent:
                self._asked = arrived
            if pressed:
                self._explain(name)
        elif event.type == pygame.KEYDOWN and event.key in self.commands:
            self.commands[event.key]()

    def _explain(self, name: str) -> None:
        """Say why a key does nothing, if so."""
        if self.session.agent:
            self.session.notify("the agent plays; Tab: you")
        elif not presses(name, self.session.scenario):
            self.session.notify(f"{name.capitalize()} does nothing in {self.session.scenario.name}; F1: all keys")

    def _handle_overlay(self, overlay: Overlay, event: pygame.Event) -> None:
        closing = (pygame.K_ESCAPE, pygame.K_F1, pygame.K_F2) + (() if overlay.for_choice else (pygame.K_h,))
        if event.type == pygame.KEYDOWN and event.key in closing:
            self._close_overlay()
            return
        chosen = overlay.handle(event)
        if chosen is not None and self._choose:
            choose = self._choose
            self._close_overlay()
            choose(chosen)

    def _open_overlay(self, overlay: Overlay, choose: Callable[[int], None] | None = None) -> None:
        self.overlay = overlay
        self._choose = choose
        if overlay.for_choice:
            pygame.key.start_text_input()

    def _close_overlay(self) -> None:
        self.overlay = self._choose = None
        pygame.key.stop_text_input()

    def quit(self) -> None:
        """End after this frame."""
        self.running = False

    def open_help(self) -> None:
        """Show which keys there are."""
        title = f"{self.session.status().scenario}, mode {self.session.mode}"
        self._open_overlay(Overlay(title, help_rows(self.session)))

    def open_menu(self) -> None:
        """Show all worlds, to choose one."""
        session = self.session
        here = session.selectable.index(session.selected)

        def choose(index: int) -> None:
            self._announced(partial(session.choose, session.selectable[index]))()

        self._open_overlay(Overlay("Type or choose a world", world_rows(session), here), choose)

    def toggle_fullscreen(self) -> None:
        """Fill the screen, or no longer."""
        self.fullscreen = not self.fullscreen
        self.rescale(0)

    def rescale(self, by: int) -> None:
        """Make the window larger or smaller by whole multiples of the game's pixels."""
        self.scale = max(min(self.scale + by, largest_scale(self._pictures)), 1)
        if self.fullscreen:
            pygame.display.set_mode(pygame.display.get_desktop_sizes()[0], pygame.FULLSCREEN)
        else:
            pygame.display.set_mode(hud.size(self._pictures, self.scale), pygame.RESIZABLE)
            keep_on_screen()

    # ---- files -------------------------------------------------------------------------------------------------------

    def _new_path(self, suffix: str) -> Path:
        self.out.mkdir(parents=True, exist_ok=True)
        stem = self.session.scenario.place.replace(":", "-")
        paths = (self.out / f"{stem}-{number:03d}{suffix}" for number in itertools.count(1))
        # Another window may be filming now, or a program that was killed may have left a film.
        return next(path for path in paths if not path.exists() and not partial_name(path).exists())

    def toggle_film(self) -> None:
        """Begin a film of what is played, or end it."""
        if self.film:
            path = self.film.path
            self._end_film()
            self.session.notify(f"film saved as {path}")
            return
        try:
            self.film = Film(self._new_path(".mp4"), TICS_PER_SECOND)
        except OSError as error:
            self.session.notify(f"cannot film: {error.strerror}")

    def _end_film(self) -> None:
        film = self.film
        self.film = None
        self._filmed = None
        if film:
            film.close()

    def _add_to_film(self, film: Film, frame: npt.NDArray[np.uint8]) -> None:
        try:
            film.add(frame)
        except OSError as error:
            self.film = self._filmed = None
            self.session.notify(f"the film ends here: {error.strerror}")

    def screenshot(self) -> None:
        """Save what the window shows as a PNG."""
        try:
            path = self._new_path(".png")
            pygame.image.save(self._surface, path)
        except (OSError, pygame.error) as error:
            self.session.notify(f"cannot save a picture: {error}")
        else:
            self.session.notify(f"saved as {path}")

    def close(self) -> None:
        """End the film, if one is being made, and close the window."""
        try:
            self._end_film()
        finally:
            pygame.display.quit()
