"""The one progress bar: it moves on a terminal, and is a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0  # in a log
SECONDS_BETWEEN_LOOKS = 1.0  # on a terminal
_lines: list[TextIO] = []  # where lines go in this process, whatever standard error is


def print_lines(file: TextIO) -> None:
    """From now on, print lines instead of bars in this process, one of several that would write over each other's."""
    _lines[:] = [file]


class _Lines(tqdm):
    """A bar that prints whole lines, because a log cannot go back to the beginning of one."""

    closed = False

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """What tqdm prints its states with; the empty one would wipe a bar."""

        def print_status(state: str) -> None:
            if state.strip():
                file.write(f"{state.strip()}\n")
                file.flush()

        return print_status

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print the state; tqdm would first go up to the line of the bar."""
        self.sp(str(self) if msg is None else msg)
        return True

    def close(self) -> None:
        """Say how it ended, without the empty line with which tqdm leaves a bar."""
        if self.closed or self.disable:
            return
        self.closed = True
        self._decr_instances(self)
        if self.leave or self.last_print_n > self.initial:
            self.display()


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    desc: str | None,
    total: int | None = None,
    initial: int = 0,
    unit: str = "step",
    leave: bool = True,
    disable: bool = False,
) -> tqdm:
    """A progress bar on standard error: use it as an iterator, or in a `with` and call its `update`.

    Where standard error is no terminal, or after `print_lines`, it prints a line a minute, and one at the end if it is
    to stay or if it took longer than that.

    Args:
        iterable: what it goes through; None: `update` says how far it is.
        desc: what is being done.
        total: how many there are; None: the length of `iterable`.
        initial: how many were done before.
        unit: name of one of them.
        leave: does it stay when it is finished?
        disable: show nothing.
    """
    terminal = not _lines and sys.stderr is not None and sys.stderr.isatty()
    kind = tqdm if terminal else _Lines
    seconds = SECONDS_BETWEEN_LOOKS if terminal else SECONDS_BETWEEN_LINES
    return kind(
        iterable,
        desc=desc,
        total=total,
        initial=initial,
        unit=unit,
        leave=leave,
        disable=disable,
        file=_lines[0] if _lines else None,
        mininterval=seconds,
        maxinterval=2 * seconds,
        miniters=1,
        delay=0 if terminal else seconds,
        ascii=None if terminal else True,
    )
