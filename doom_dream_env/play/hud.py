"""Draws pictures and what there is to say about them on a surface of any size, the window's or a film's."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pygame

from doom_dream_env.play.overlay import Overlay
from doom_dream_env.play.status import Picture, Status, ViewStatus
from doom_dream_env.scenarios import FRAME_SHAPE

HEIGHT, WIDTH, _ = FRAME_SHAPE
# Pixels of the game, of which a picture has 160x120.
BAR = 8  # height of a bar, unless nobody could read it
GAP = 4  # between two pictures
READABLE = 14  # px, height of a bar or a line of a list, at least
# Points of a line of text.
TALL = 1.25  # by the height of its box in pixels
SMALLEST = 12

Color = tuple[int, int, int]

BACK = (14, 14, 18)
TEXT = (232, 228, 216)
FAINT = (150, 146, 138)
GOOD = (140, 200, 120)
BAD = (235, 160, 70)
RED = (220, 50, 40)
MARKED = (60, 60, 76)
LOW_HEALTH = 30

LABELS = {"HEALTH": "health", "AMMO2": "ammo", "ARMOR": "armour", "SELECTED_WEAPON_AMMO": "ammo"}


def bar_height(scale: float) -> int:
    """Height in pixels of the bars above and below pictures that are enlarged so many times."""
    return max(round(BAR * scale), READABLE)


def size(pictures: int, scale: int) -> tuple[int, int]:
    """Width and height of a surface on which so many pictures are enlarged `scale` times exactly; both are even."""
    return (pictures * WIDTH + (pictures - 1) * GAP) * scale, HEIGHT * scale + 2 * bar_height(scale)


class Hud:
    """The drawing, and the fonts it needs; `pygame.font` is initialised, no display is."""

    def __init__(self) -> None:
        pygame.font.init()
        self._fonts: dict[int, pygame.font.Font] = {}

    def _font(self, points: int) -> pygame.font.Font:
        if points not in self._fonts:
            self._fonts[points] = pygame.font.Font(None, points)
        return self._fonts[points]

    def _points(self, box: pygame.Rect) -> int:
        return max(int(box.height * TALL), SMALLEST)

    def _write(
        self,
        surface: pygame.Surface,
        box: pygame.Rect,
        text: str,
        color: Color = TEXT,
        at: str = "midleft",
    ) -> int:
        """Write one line into a box, smaller if it is too wide, and if that does not do, without its end.

        Args:
            surface: where to.
            box: where on it.
            text: one line.
            color: red, green, blue.
            at: which point of the line goes to that of the box, as `pygame.Rect` names its points.

        Returns:
            its width.
        """
        points = self._points(box)
        while points > SMALLEST and self._font(points).size(text)[0] > box.width:
            points -= 1
        font = self._font(points)
        while text and font.size(text)[0] > box.width:
            text = text.removesuffix("…")[:-1] + "…" if len(text) > 1 else ""
        line = font.render(text, True, color)
        surface.blit(line, line.get_rect(**{at: getattr(box, at)}))
        return line.get_width()

    def draw(
        self,
        surface: pygame.Surface,
        pictures: Sequence[Picture],
        status: Status,
        overlay: Overlay | None = None,
    ) -> None:
        """Fill the surface.

        From top to bottom: a bar; the pictures side by side, as large as fits, with messages over them; a caption under
        each.

        Args:
            surface: of any size.
            pictures: one or two.
            status: what is said about them.
            overlay: cover everything with this list.
        """
        surface.fill(BACK)
        width, height = surface.get_size()
        columns, rows = len(pictures) * WIDTH + (len(pictures) - 1) * GAP, HEIGHT + 2 * BAR
        scale = min(width / columns, height / rows)
        bar = bar_height(scale)
        scale = min(scale, max(height - 2 * bar, 1) / HEIGHT)
        left = round((width - columns * scale) / 2)
        top = max(round((height - HEIGHT * scale - 2 * bar) / 2), 0)
        picture_width = max(round(WIDTH * scale), 1)
        picture_height = max(round(HEIGHT * scale), 1)
        shown = pygame.Rect(left, top, round(columns * scale), bar)
        self._bar(surface, _inside(shown), status)
        for index, (picture, view) in enumerate(zip(pictures, status.views, strict=True)):
            box = pygame.Rect(left + round(index * (WIDTH + GAP) * scale), top + bar, picture_width, picture_height)
            image = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
            surface.blit(pygame.transform.scale(image, box.size), box)
            if view.ended:
                line = pygame.Rect(0, 0, box.width * 0.9, bar).move_to(center=box.center)
                self._write(surface, line, view.ended, at="center")
            caption = _inside(pygame.Rect(box.left, box.bottom, box.width, bar))
            self._caption(surface, caption, view, len(pictures) > 1)
        self._notice(surface, pygame.Rect(left, top + bar, shown.width, picture_height), bar, status)
        if overlay:
            self._overlay(surface, overlay)

    def say(self, surface: pygame.Surface, text: str) -> None:
        """Write a line into the middle, over whatever is there."""
        width, height = surface.get_size()
        line = pygame.Rect(0, 0, width, max(height // 16, READABLE) * 2).move_to(center=(width // 2, height // 2))
        self._shade(surface, line)
        self._write(surface, line.inflate(-line.height // 2, -line.height // 2), text, at="center")

    def _write_if_fits(self, surface: pygame.Surface, box: pygame.Rect, texts: Sequence[str], color: Color) -> None:
        """Write the first of some texts for which there is room, at the right; they say less and less."""
        for text in texts:
            if self._font(SMALLEST).size(text)[0] <= box.width:
                self._write(surface, box, text, color, "midright")
                return

    def _bar(self, surface: pygame.Surface, box: pygame.Rect, status: Status) -> None:
        if status.recording:
            pygame.draw.circle(surface, RED, (box.left + box.height // 2, box.centery), box.height * 0.36)
            indent = box.height * 1.3
            box = pygame.Rect(box.left + indent, box.top, box.width - indent, box.height)
        who = "the agent plays" if status.player == "agent" else "you play"
        written = self._write(surface, box, f"{status.scenario}  ·  {who}")
        right = [] if status.fps is None else [f"{status.fps:.0f} fps"]
        if status.drift is not None:
            right = [f"temperature {status.temperature:.1f}", f"drift {status.drift:+.2f}", *right]
        less = ["   ".join(right[:count]) for count in range(len(right), 0, -1)]
        rest = pygame.Rect(0, 0, box.width - written - box.height, box.height)
        self._write_if_fits(surface, rest.move_to(midright=box.midright), less, FAINT)

    def _caption(self, surface: pygame.Surface, box: pygame.Rect, view: ViewStatus, several: bool) -> None:
        title = f"{view.title}   " if several else ""
        values = [f"{LABELS[name]} {max(value, 0):.0f}" for name, value in view.variables.items()]
        low = view.variables.get("HEALTH", 100) < LOW_HEALTH
        color = BAD if low else GOOD if values else TEXT
        written = self._write(surface, box, title + "   ".join(values), color)
        less = [f"{view.points}   {view.seconds:.1f} s".strip(), f"{view.seconds:.1f} s"]
        rest = pygame.Rect(0, 0, box.width - written - box.height, box.height)
        self._write_if_fits(surface, rest.move_to(midright=box.midright), less, TEXT)

    def _shade(self, surface: pygame.Surface, box: pygame.Rect, opacity: int = 215) -> None:
        shade = pygame.Surface(box.size, pygame.SRCALPHA)
        shade.fill((*BACK, opacity))
        surface.blit(shade, box)

    def _notice(self, surface: pygame.Surface, box: pygame.Rect, bar: int, status: Status) -> None:
        inner = _inside(pygame.Rect(0, 0, box.width, bar))
        letters = self._font(self._points(inner)).size("abcdefghij")[0] / 10  # px, the width of one
        lines = ["paused"] * status.paused + textwrap.wrap(status.notice, max(int(inner.width / letters), 8))
        for index, text in enumerate(reversed(lines)):
            line = pygame.Rect(0, 0, box.width, bar).move_to(midbottom=(box.centerx, box.bottom - index * bar))
            self._shade(surface, line)
            self._write(surface, _inside(line), text, at="center")

    def _overlay(self, surface: pygame.Surface, overlay: Overlay) -> None:
        """The title and as many rows as fit around the marked one; what is right goes below where it is narrow."""
        width, height = surface.get_size()
        self._shade(surface, surface.get_rect(), 245)
        rows = overlay.rows
        line = max(min(height / (len(rows) + 3), width / 22), READABLE)
        table = pygame.Rect(0, 0, min(width - line / 2, line * 26), height - line / 2)
        table = table.move_to(center=(width // 2, height // 2))
        font = self._font(max(int(line * 0.75 * TALL), SMALLEST))
        names = max([font.size(name)[0] for name, _ in rows], default=0) + line
        wide = names + max([font.size(what)[0] for _, what in rows], default=0) <= table.width
        lines: list[tuple[int, str, str]] = []  # row, left, right
        for index, (name, what) in enumerate(rows):
            letters = max(int((table.width - line) / (font.size("abcdefghij")[0] / 10)), 8)
            below = [] if wide else textwrap.wrap(what, letters)
            lines += [(index, name, what if wide else ""), *((index, "", f"  {text}") for text in below)]
        room = max(int(table.height / line) - 1, 1)
        marked = [number for number, (index, _, _) in enumerate(lines) if index == overlay.cursor] or [0]
        first = max(min(marked[0] - room // 2, len(lines) - room), 0)
        left = names if wide else 0
        title = overlay.title + (f": {overlay.typed}" if overlay.typed else "")
        self._write(surface, pygame.Rect(table.left, table.top, table.width, line * 0.75), title, FAINT)
        for number, (index, name, what) in enumerate(lines[first : first + room], start=1):
            row = pygame.Rect(table.left, table.top + number * line, table.width, line)
            if overlay.for_choice and index == overlay.cursor:
                pygame.draw.rect(surface, MARKED, row)
            row = row.inflate(0, -line * 0.25)
            self._write(surface, row, name, GOOD)
            self._write(surface, pygame.Rect(row.left + left, row.top, row.width - left, row.height), what)


def _inside(bar: pygame.Rect) -> pygame.Rect:
    """Where in a bar the text is: in the middle half of its height, or of more where that is unreadable."""
    return bar.inflate(-bar.height, -min(bar.height // 2, bar.height - READABLE + 4))


def to_frame(surface: pygame.Surface) -> npt.NDArray[np.uint8]:
    """The pixels of a surface, uint8 (H, W, 3)."""
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))
