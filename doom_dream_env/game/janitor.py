"""The janitor of a process that plays: a small shell process that ends and removes what is left of it."""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import threading
from pathlib import Path

# $1 is the folder with the engines' folders. The links to the engine go first, so that nothing starts from now on.
# Numbers of processes are used again, so the one that is ended must have the folder among its arguments.
JANITOR = """
trap '' HUP INT TERM
read -r nothing
rm -f "$1"/*/vizdoom
for file in "$1"/*/pid; do
    read -r pid <"$file" || continue
    { tr '\\0' ' ' <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } | grep -qF "$1" && kill -9 "$pid"
done
for file in "$1"/*/arguments; do
    id=$(sed -n '/^+viz_instance_id$/{n;p;}' "$file")
    [ -z "$id" ] || rm -f /dev/shm/ViZDoom*"$id"
done
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""

_homes: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}  # of this process, by its number
_lock = threading.Lock()


def home() -> Path:
    """This process's temporary folder, which lasts as long as it.

    The janitor ends every process whose number is in a file `pid` of a folder in it and whose arguments name the
    folder; `arguments` are those of ViZDoom's engine, which has shared memory of its own.

    Raises:
        OSError: if no temporary folder can be made.
    """
    with _lock:
        folder, janitor = _homes.get(os.getpid(), (None, None))
        if folder is not None and janitor is not None and janitor.poll() is None:
            return folder
        try:
            folder = folder or Path(tempfile.mkdtemp(prefix="dream-doom-"))
        except OSError as error:
            raise OSError(
                f"there is no temporary folder for ViZDoom's files ({error}): name one that can be written with TMPDIR"
            ) from error
        janitor = subprocess.Popen(
            ["/bin/sh", "-c", JANITOR, "janitor", str(folder)],
            stdin=subprocess.PIPE,  # which nobody writes to: it ends with this process
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a signal to everybody is not for it
        )
        _homes[os.getpid()] = (folder, janitor)
        return folder


def clean() -> None:
    """Let the janitor do its work now, and wait for it."""
    with _lock:
        for _, janitor in _homes.values():
            janitor.communicate()
        _homes.clear()


def _after_fork() -> None:
    """Let go, in a forked process, of what belongs to its parent."""
    global _lock
    _lock = threading.Lock()
    for _, janitor in _homes.values():
        if janitor.stdin:
            janitor.stdin.close()  # or the janitor would wait for this process, too
        janitor.returncode = 0  # not this process's child
    _homes.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(clean)
