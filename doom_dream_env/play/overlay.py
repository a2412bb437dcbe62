"""A list that covers the pictures while time stands still: the help, and the menu of worlds."""

from __future__ import annotations

from collections.abc import Sequence

import pygame

PAGE = 8  # rows
MOVES = {
    pygame.K_UP: -1,
    pygame.K_DOWN: 1,
    pygame.K_PAGEUP: -PAGE,
    pygame.K_PAGEDOWN: PAGE,
    pygame.K_HOME: -10_000,
    pygame.K_END: 10_000,
}


class Overlay:
    """Rows that the arrows and the wheel of the mouse go through; letters narrow down what there is to choose.

    Args:
        title: what the list is.
        rows: of two texts each.
        chosen: index of the row that is marked first; None: nothing is there to be chosen, only to be read.

    Attributes:
        title: as given.
        cursor: which of the shown rows is marked.
        typed: letters, in which spaces and underscores are the same, that the first text of every shown row contains.
    """

    def __init__(self, title: str, rows: Sequence[tuple[str, str]], chosen: int | None = None) -> None:
        self.title = title
        self.typed = ""
        self.cursor = chosen or 0
        self.for_choice = chosen is not None
        self._rows = list(rows)

    def _shown(self) -> list[int]:
        typed = _plain(self.typed)
        return [index for index, (name, _) in enumerate(self._rows) if typed in _plain(name)]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The rows that are shown."""
        return [self._rows[index] for index in self._shown()]

    def handle(self, event: pygame.Event) -> int | None:
        """Take in an event; returns the index (of all rows) of the row that it chose, if it chose one."""
        if event.type == pygame.MOUSEWHEEL:
            self._move(-event.y)
        if event.type != pygame.KEYDOWN:
            return None
        shown = self._shown()
        if event.key in MOVES:
            self._move(MOVES[event.key])
        elif not self.for_choice:
            return None
        elif event.key in (pygame.K_RETURN, pygame.K_KP_ENTER):
            return shown[self.cursor] if shown else None
        elif event.key == pygame.K_BACKSPACE:
            self._type(self.typed[:-1])
        elif getattr(event, "unicode", "").isprintable():
            self._type(self.typed + getattr(event, "unicode", ""))
        return None

    def _move(self, by: int) -> None:
        self.cursor = max(min(self.cursor + by, len(self._shown()) - 1), 0)

    def _type(self, typed: str) -> None:
        if typed != self.typed:
            self.typed = typed
            self.cursor = 0


def _plain(text: str) -> str:
    return text.lower().replace(" ", "_")
