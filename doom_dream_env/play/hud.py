"""Draws pictures and what there is to say about them on a surface of any size, the window's or a film's."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pygame

from doom_dream_env.play.status import Status, ViewStatus
from doom_dream_env.play.views import Picture
from doom_dream_env.scenarios import FRAME_SHAPE

HEIGHT, WIDTH, _ = FRAME_SHAPE
# Pixels of the game, of which a picture has 160x120.
BAR = 8  # height of a bar
GAP = 4  # between two pictures
# Points of a line of text.
TALL = 1.25  # by the height of its box in pixels
SMALLEST = 12

BACK = (14, 14, 18)
TEXT = (232, 228, 216)
FAINT = (150, 146, 138)
GOOD = (140, 200, 120)
BAD = (235, 160, 70)
RED = (220, 50, 40)
LOW_HEALTH = 30

LABELS = {"HEALTH": "health", "AMMO2": "ammo", "ARMOR": "armour", "SELECTED_WEAPON_AMMO": "ammo"}
HELP = (
    ("Move", "W S or up, down"),
    ("Strafe", "A D or , . or Alt + left, right"),
    ("Turn", "Q E or left, right"),
    ("Attack", "Ctrl, J or left mouse button"),
    ("Use / run", "Space / Shift"),
    ("Game pad", "sticks or cross, A attack, B use"),
    ("", ""),
    ("Tab", "you or the agent"),
    ("M", "dream, real game, both"),
    ("PageUp  PageDown", "another scenario"),
    ("R", "begin anew"),
    ("P   N", "pause, one step"),
    ("+   -", "temperature: a wilder or calmer dream"),
    ("F5   F9", "save the dream, go back to it"),
    ("V   F12 or C", "film, screenshot"),
    ("F11   [   ]", "full screen, smaller, larger"),
    ("F1 or H   Esc", "this help, quit"),
)


def size(pictures: int, scale: int) -> tuple[int, int]:
    """Width and height of a surface on which so many pictures are enlarged `scale` times exactly; both are even."""
    return (pictures * WIDTH + (pictures - 1) * GAP) * scale, (HEIGHT + 2 * BAR) * scale


class Hud:
    """The drawing, and the fonts it needs; `pygame.font` is initialised, no display is."""

    def __init__(self) -> None:
        pygame.font.init()
        self._fonts: dict[int, pygame.font.Font] = {}

    def _font(self, points: int) -> pygame.font.Font:
        if points not in self._fonts:
            self._fonts[points] = pygame.font.Font(None, points)
        return self._fonts[points]

    def _write(
        self,
        surface: pygame.Surface,
        box: pygame.Rect,
        text: str,
        color: tuple[int, int, int] = TEXT,
        at: str = "midleft",
    ) -> int:
        """Write one line into a box, smaller if it is too wide.

        Args:
            surface: where to.
            box: where on it.
            text: one line.
            color: red, green, blue.
            at: which point of the line goes to that of the box, as `pygame.Rect` names its points.

        Returns:
            its width.
        """
        points = max(int(box.height * TALL), SMALLEST)
        while points > SMALLEST and self._font(points).size(text)[0] > box.width:
            points -= 1
        line = self._font(points).render(text, True, color)
        surface.blit(line, line.get_rect(**{at: getattr(box, at)}))
        return line.get_width()

    def draw(self, surface: pygame.Surface, pictures: Sequence[Picture], status: Status, help: bool = False) -> None:
        """Fill the surface.

        From top to bottom: a bar; the pictures side by side, as large as fits, with messages over them; a caption under
        each.

        Args:
            surface: of any size.
            pictures: one or two.
            status: what is said about them.
            help: cover everything with the help.
        """
        surface.fill(BACK)
        width, height = surface.get_size()
        columns, rows = size(len(pictures), 1)
        scale = min(width / columns, height / rows)
        bar = round(BAR * scale)
        left = round((width - columns * scale) / 2)
        top = round((height - rows * scale) / 2)
        picture_width = round(WIDTH * scale)
        picture_height = round(HEIGHT * scale)
        shown = pygame.Rect(left, top, round(columns * scale), bar)
        self._bar(surface, shown.inflate(-bar, -bar // 2), status)
        for index, (picture, view) in enumerate(zip(pictures, status.views, strict=True)):
            box = pygame.Rect(left + round(index * (WIDTH + GAP) * scale), top + bar, picture_width, picture_height)
            image = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
            surface.blit(pygame.transform.scale(image, box.size), box)
            if view.ended:
                line = pygame.Rect(0, 0, box.width * 0.9, bar).move_to(center=box.center)
                self._write(surface, line, view.ended, at="center")
            caption = pygame.Rect(box.left, box.bottom, box.width, bar).inflate(-bar, -bar // 2)
            self._caption(surface, caption, view, len(pictures) > 1)
        self._notice(surface, pygame.Rect(left, top + bar, shown.width, picture_height), bar, status)
        if help:
            self._help(surface)

    def _bar(self, surface: pygame.Surface, box: pygame.Rect, status: Status) -> None:
        right = [] if status.fps is None else [f"{status.fps:.0f} fps"]
        if status.drift is not None:
            right = [f"temperature {status.temperature:.1f}", f"drift {status.drift:+.2f}", *right]
        half = pygame.Rect(0, 0, box.width * 0.55, box.height)
        if status.recording:
            pygame.draw.circle(surface, RED, (box.left + box.height // 2, box.centery), box.height * 0.36)
            indent = box.height * 1.3
            box = pygame.Rect(box.left + indent, box.top, box.width - indent, box.height)
        who = "the agent plays" if status.player == "agent" else "you play"
        written = self._write(surface, half.move_to(midleft=box.midleft), f"{status.scenario}  ·  {who}")
        rest = pygame.Rect(0, 0, box.width - written - box.height, box.height)
        self._write(surface, rest.move_to(midright=box.midright), "   ".join(right), FAINT, "midright")

    def _caption(self, surface: pygame.Surface, box: pygame.Rect, view: ViewStatus, several: bool) -> None:
        title = f"{view.title}   " if several else ""
        values = [f"{LABELS[name]} {max(value, 0):.0f}" for name, value in view.variables.items()]
        low = view.variables.get("HEALTH", 100) < LOW_HEALTH
        color = BAD if low else GOOD if values else TEXT
        half = pygame.Rect(0, 0, box.width * 0.5, box.height)
        self._write(surface, half.move_to(midleft=box.midleft), title + "   ".join(values), color)
        said = f"return {view.reward:.2f}   {view.seconds:.1f} s"
        self._write(surface, half.move_to(midright=box.midright), said, TEXT, "midright")

    def _shade(self, surface: pygame.Surface, box: pygame.Rect) -> None:
        shade = pygame.Surface(box.size, pygame.SRCALPHA)
        shade.fill((*BACK, 215))
        surface.blit(shade, box)

    def _notice(self, surface: pygame.Surface, box: pygame.Rect, bar: int, status: Status) -> None:
        lines = ["paused"] * status.paused + textwrap.wrap(status.notice, round(3.5 * box.width / bar))
        for index, text in enumerate(reversed(lines)):
            line = pygame.Rect(0, 0, box.width, bar).move_to(midbottom=(box.centerx, box.bottom - index * bar))
            self._shade(surface, line)
            self._write(surface, line.inflate(-bar, -bar // 2), text, at="center")

    def _help(self, surface: pygame.Surface) -> None:
        width, height = surface.get_size()
        self._shade(surface, surface.get_rect())
        line = min(height / (len(HELP) + 2), width / 22)
        table = pygame.Rect(0, 0, min(width * 0.92, line * 22), line * len(HELP))
        table = table.move_to(center=(width // 2, height // 2))
        for index, (keys, what) in enumerate(HELP):
            row = pygame.Rect(table.left, table.top + index * line, table.width, line).inflate(0, -line * 0.25)
            left = pygame.Rect(row.left, row.top, row.width * 0.34, row.height)
            right = pygame.Rect(row.left + row.width * 0.37, row.top, row.width * 0.63, row.height)
            self._write(surface, left, keys, GOOD)
            self._write(surface, right, what)


def to_frame(surface: pygame.Surface) -> npt.NDArray[np.uint8]:
    """The pixels of a surface, uint8 (H, W, 3)."""
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))
