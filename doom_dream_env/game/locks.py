"""Locks that a killed engine has left behind.

Library and engine talk through two message queues in shared memory (Boost.Interprocess), each behind a mutex that
nobody opens when its holder is killed: the library then waits for ever (measured: one time in two, if an engine is
killed at work on a busy machine). Linux and glibc only; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps what engine and library share; elsewhere it has no name
QUEUES = ("ViZDoomMQCtr", "ViZDoomMQDoom")
MUTEX = 0x30  # where a queue's mutex is in its memory
FIELDS = struct.Struct("=IIi")  # of a mutex of glibc: its state (0: open), a count, the holder


def open_locks(identifier: str, pid: int) -> None:
    """Open the locks of an engine's queues, if they are held by a process that has ended.

    Args:
        identifier: of the `DoomGame`.
        pid: of the engine. A lock is touched only if this is its holder.
    """
    for name in QUEUES:
        try:
            with open(SHARED_MEMORY / f"{name}{identifier}", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                state, _, holder = FIELDS.unpack_from(memory, MUTEX)
                if state and holder == pid:
                    # Like its holder would: the mutex is of the kind that does not ask who opens it.
                    mutex = ctypes.c_char.from_buffer(memory, MUTEX)
                    ctypes.CDLL(None).pthread_mutex_unlock(ctypes.byref(mutex))
                    del mutex
        except (FileNotFoundError, ValueError, struct.error):
            continue  # removed already, or still empty


def remove_shared_memory(identifier: str) -> None:
    """Remove what nobody uses any more; nothing, if there is no identifier."""
    if not identifier:
        return
    for path in SHARED_MEMORY.glob(f"ViZDoom*{identifier}"):
        path.unlink(missing_ok=True)
