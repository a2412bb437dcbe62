"""What this machine gives a process, and processes of `multiprocessing` that must not outlive who started them.

Workers of vector environments end when their pipe breaks. They first look at it when they have loaded all that they
need, torch among it, and have made their environment: killed before, their parent would leave them behind for as long.
What a worker loads before this package cannot be watched from here.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
import threading
from pathlib import Path

LOOK = 0.5  # seconds between two looks at the parent
playing = threading.Event()  # set when this process has made its first environment


def end_with_parent(until: threading.Event | None = None) -> None:
    """In a process of `multiprocessing`: end when the process that started it is gone, however that went.

    A server of forks that is told to load this package ends as well, and so do the workers that it forks. When it
    forks it has no other thread.

    Args:
        until: from when on this is no longer wanted; None: never.
    """
    by_server = any("multiprocessing.forkserver" in word for word in sys.orig_argv)
    if multiprocessing.current_process().name != "MainProcess":
        _watch(until, by_server)
    elif by_server:
        loaded = threading.Event()
        watcher = _watch(loaded)

        def stop() -> None:
            loaded.set()
            watcher.join()

        os.register_at_fork(before=stop, after_in_child=lambda: _watch(until, by_server))


def _watch(until: threading.Event | None, forked_by_server: bool = False) -> threading.Thread:
    """Look at the parents now and then, in a thread."""
    before = _parents(forked_by_server)

    def watch() -> None:
        over = until or threading.Event()
        while not over.wait(LOOK):
            parent = multiprocessing.parent_process()  # not known before what is to run has been loaded
            if _parents(forked_by_server) != before or (parent is not None and not parent.is_alive()):
                os._exit(1)

    thread = threading.Thread(target=watch, daemon=True, name="end with parent")
    thread.start()
    return thread


def _parents(forked_by_server: bool) -> tuple[int, ...]:
    """This process's parent; of one that a server forked also the server's, where the system tells it (Linux).

    The server itself lives as long as any of its workers.
    """
    parent = os.getppid()
    try:
        stat = Path(f"/proc/{parent}/stat").read_text() if forked_by_server else ""
    except OSError:
        stat = ""
    return parent, *map(int, stat.rpartition(")")[2].split()[1:2])


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name, as far as the system says it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
