"""Processes that must not write to one folder at once."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

COMMAND_LENGTH = 200  # characters of a holder's command that are shown
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # from file systems that have none


@contextmanager
def sole_writer(folder: Path, name: str = "") -> Iterator[None]:
    """Be the only process that writes to a folder, for as long as this lasts.

    The operating system lets go of the lock when its holder ends, killed or not. A process that was started by the
    holder, a stage of a pipeline, may write, too.

    Args:
        folder: is made if it does not exist.
        name: of a part of the folder, where several have a writer each.

    Raises:
        BlockingIOError: if another process is at it; the message says which.
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{name}{'.' * bool(name)}lock"
    file = _lock(path)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def _lock(path: Path) -> IO[str] | None:
    """The locked file; None if no lock is needed, or possible."""
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read()
            file.close()
            if _pid(holder) == os.getppid():
                return None
            raise BlockingIOError(
                f"{path.parent} is being written by {_describe(holder)}; wait for it, or end it"
            ) from None
        except OSError as error:
            file.close()
            if error.errno not in NO_LOCKS_HERE:
                raise
            print(f"{path.parent}: this file system has no locks; see that nobody else writes there", file=sys.stderr)
            return None
        if _is_at(file, path):
            break
        file.close()  # its last holder has removed it between opening and locking
    file.truncate(0)
    command = " ".join(shlex.join(sys.orig_argv).split())[:COMMAND_LENGTH]
    about = {"pid": os.getpid(), "command": command, "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    file.write(json.dumps(about))
    file.flush()
    return file


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _pid(holder: str) -> int | None:
    try:
        return int(json.loads(holder)["pid"])
    except (ValueError, KeyError, TypeError):
        return None


def _describe(holder: str) -> str:
    try:
        about = json.loads(holder)
        return f"process {about['pid']} since {about['since']} ({about['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
