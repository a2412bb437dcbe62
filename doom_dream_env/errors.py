"""What a command says when it cannot go on: one line for a mistake of the user's, a traceback for a bug.

A mistake is what this project says on purpose, a `UserError`, and what the operating system reports: a file that is
missing, a disk that is full. Any other ValueError is a bug, and only its traceback says where.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MISTAKE = 2  # exit status, as of argparse
INTERRUPTED = 130  # as of a shell


class UserError(ValueError):
    """Something that whoever called can put right; the message says what was wrong, what was expected, what to do."""


def is_mistake(error: BaseException) -> bool:
    """Can the user put right what this says? A training that diverged (FloatingPointError) wants other settings."""
    return isinstance(error, UserError | OSError | ModuleNotFoundError | FloatingPointError)


def _nobody_reads() -> bool:
    """Has the reader of standard output gone, as in `... | head`? Another pipe that broke is a fault."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


@contextmanager
def in_one_line(program: str) -> Iterator[None]:
    """Print a mistake of the user's as one line on standard error and exit with status 2; bugs pass.

    Args:
        program: what the line begins with.

    Raises:
        SystemExit: on a mistake, on Ctrl-C (status 130), and when nobody reads standard output any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± gets a question mark
    try:
        yield
    except KeyboardInterrupt:
        print(f"{program}: stopped; what was finished is in the output folder", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain again when it ends
            raise SystemExit(0) from None
        if not is_mistake(error):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{program}: {message}", file=sys.stderr)
        raise SystemExit(MISTAKE) from None


def status_of(program: str, command: Callable[[], object]) -> int:
    """Run a command as `in_one_line` does; returns the exit status: the command's own if it gives one."""
    try:
        with in_one_line(program):
            result = command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return result if isinstance(result, int) else 0


def install_command(extra: str = "") -> str:
    """The command that installs this package, and an extra: from the clone that it runs from, or from the index."""
    root = Path(__file__).resolve().parent.parent
    extras = f"[{extra}]" if extra else ""
    if (root / "setup.cfg").is_file() and (root / "training").is_dir():
        return f'pip install -e "{root}{extras}"'
    return f'pip install "doom-dream-env{extras}"'
