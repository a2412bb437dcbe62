"""What this machine gives a process, and processes of `multiprocessing` that must not outlive who started them.

Workers of vector environments end when their pipe breaks. They first look at it when they have loaded all that they
need, torch among it, and have made their environment: killed before, their parent would leave them behind for as long.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import threading
from pathlib import Path

LOOK = 0.5  # seconds between two looks at the parent
playing = threading.Event()  # set when this process has made its first environment


def end_with_parent(until: threading.Event | None = None) -> None:
    """In a process of `multiprocessing`: end when the process that started it is gone, however that went.

    Args:
        until: from when on this is no longer wanted; None: never.
    """
    if multiprocessing.current_process().name == "MainProcess":
        return
    system_parent = os.getppid()  # all that is known before what is to run has been loaded; or a server of forks

    def watch() -> None:
        over = until or threading.Event()
        while not over.wait(LOOK):
            parent = multiprocessing.parent_process()
            if os.getppid() != system_parent or (parent is not None and not parent.is_alive()):
                os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


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
