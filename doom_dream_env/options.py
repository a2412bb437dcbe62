"""Types of the commands' options: each says at once, before anything heavy is loaded, what an option may be."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

LONGEST = 24 * 3600  # seconds of a film
LARGEST = 24  # scale of a film; two pictures are 7776x3264 then, which H.264 just allows
MOST_SEED = 2**31 - 1  # ViZDoom and numpy take no more
# Who can play without a file of their own; `doom_dream_env.agents.minds` makes them.
MINDS = (
    "agent",
    "clone",
    "noop",
    "random",
    "routine",
    "planner",
    "planner:cem",
    "planner:gradient",
)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def option(
        self,
        name: str,
        meaning: str,
        kind: Callable[[str], Any] = str,
        default: Any = None,
        said: str = "",
        **more: Any,
    ) -> None:
        """Add an option whose help says what it means, and what it is if it is not given: `said`, or `default`."""
        without = said or (f"{default:g}" if isinstance(default, float) else default)
        self.add_argument(name, type=kind, default=default, help=f"{meaning} (default: {without})", **more)

    def error(self, message: str) -> NoReturn:
        """Print one line that names the option, and exit with status 2."""
        program = self.prog.partition(" ")[0]
        print(f"{program}: {message.removeprefix('argument ')} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number of a range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text!r}")
        return value

    return read


def number(least: float, most: float, unit: str = "") -> Callable[[str], float]:
    """A finite number of a range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}{unit}, got {text!r}")
        return value

    return read


seed = whole(0, MOST_SEED)
scale = whole(1, LARGEST)


def one_of(names: Sequence[str], suffix: str | None = None) -> Callable[[str], str]:
    """One of some names, or a file of that suffix that exists."""

    def read(text: str) -> str:
        if suffix is not None and text.endswith(suffix):
            return str(file(text))
        if text not in names:
            other = f", or a file *{suffix}" if suffix else ""
            raise argparse.ArgumentTypeError(f"{text!r} is unknown here: choose from {', '.join(names)}{other}")
        return text

    return read


def mind(text: str) -> str:
    """Who plays: one of `MINDS`, or the folder of a saved agent."""
    if text in MINDS:
        return text
    if not Path(text).expanduser().is_dir():
        known = ", ".join(MINDS)
        raise argparse.ArgumentTypeError(f"{text!r} is nobody who can play: choose from {known}, or give a folder")
    return str(Path(text).expanduser())


def file(text: str) -> Path:
    """A file that can be read. A shell leaves the ~ of `--option=~/file` alone."""
    path = Path(text).expanduser()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is a device or a pipe" if path.exists() else "does not exist"
        raise argparse.ArgumentTypeError(f"{text!r} {kind}: give a file")
    if not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text!r} may not be read: check its permissions")
    return path


def folder_to_read(text: str) -> Path:
    """A folder that exists."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder: give one")
    return path


def why_not_writable(folder: Path) -> str:
    """Why no files can be made in a folder, which need not exist yet; empty: they can."""
    there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    if not there.is_dir():
        return f"{there} is not a folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} is read-only"


def folder_to_write(text: str) -> Path:
    """A folder in which files can be made; it need not exist yet."""
    path = Path(text).expanduser()
    if reason := why_not_writable(path):
        raise argparse.ArgumentTypeError(f"cannot write to {text!r}: {reason}")
    return path
