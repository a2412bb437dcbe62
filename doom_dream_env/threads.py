"""How many of torch's threads work is given: one where more do not help, all while they help, one while others work.

Torch splits an operation over its threads and waits for the last of them. A step of a dream is some hundred small
operations; when another process holds a core, each of them waits for a thread that is not running. Measured on two
cores, 256 dreams: 9,900 steps/s at two threads alone, 100 to 700 beside one busy process; one thread makes 7,800 in
both cases. Two things mend it. Threads that wait go to sleep early (`GOMP_SPINCOUNT`, set when the package is imported,
if torch is not there yet), and `AdaptiveThreads` goes to one thread while the machine is busy.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

WORTH_SPLITTING = 128  # dreams at once; below, two threads were never faster than one
PICTURES_WORTH_SPLITTING = 16  # decoded at once
COST_OF_PROBES = 0.02  # share of the time that goes to trying the other number of threads
FASTER = 0.93  # times the other's time: a difference below this is noise
STALLED = 1.5  # times one thread's time: another process has begun to work
WARM_UP = 3  # repetitions before anything is tried; the first one allocates and is not counted


@contextlib.contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Give the work inside at most so many of torch's threads, and restore their number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class AdaptiveThreads:
    """Gives work that is repeated one thread or all of torch's, whichever is faster at the time.

        threads = AdaptiveThreads()
        for _ in range(1000):
            with threads:
                ...  # always about the same amount of work

    It begins with one. Now and then a repetition is given the other number, no more often than costs `COST_OF_PROBES`
    of the time, however slow it turns out to be; the faster one stays. All threads are left at once when a repetition
    takes `STALLED` times as long as on one. After `torch.set_num_threads(1)` one thread does everything.

    Args:
        worth_splitting: False: always one thread.
    """

    def __init__(self, worth_splitting: bool = True) -> None:
        self.worth_splitting = worth_splitting
        self.split = False  # is the work given all threads?
        self._seconds: dict[bool, float] = {}  # of a repetition: split or not → what it took lately
        self._repetitions = 0
        self._probing = False
        self._next_probe = 0.0
        self._all = 1
        self._started = 0.0

    def __enter__(self) -> None:
        self._all = torch.get_num_threads()
        self._repetitions += 1
        self._probing = self.worth_splitting and self._repetitions > WARM_UP and time.perf_counter() >= self._next_probe
        if self.split == self._probing:  # one thread is used, or tried while all are used
            torch.set_num_threads(1)
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        finished = time.perf_counter()
        torch.set_num_threads(self._all)
        if self.worth_splitting and self._all > 1 and self._repetitions > 1:
            self._learn(finished - self._started, finished)

    def _learn(self, seconds: float, now: float) -> None:
        """Take in how long a repetition took, and decide how the next ones are done."""
        split = self.split != self._probing
        known = self._seconds.get(split, seconds)
        # What was tried is as fast as it was this time; what is used is as fast as it was lately.
        self._seconds[split] = seconds if self._probing else known + (seconds - known) / 8
        if self._probing:
            self._next_probe = now + seconds / COST_OF_PROBES
            if seconds < FASTER * self._seconds[self.split]:
                self.split = split
        elif self.split and seconds > STALLED * self._seconds[False]:
            self.split = False
            self._next_probe = now + seconds / COST_OF_PROBES
