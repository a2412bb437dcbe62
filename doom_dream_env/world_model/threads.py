"""How many of torch's threads work is given: one where more do not help, all while they help, one while others work.

Torch splits an operation over its threads and waits for the last of them. A step of a dream is some two hundred small
operations; when another process holds a core, each of them waits for a thread that is not running: 256 dreams fell to a
fiftieth (measured on two cores of an AMD EPYC). How much a second thread helps, and from how many dreams on, differs
from machine to machine, so `AdaptiveThreads` measures it where it runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

COST_OF_PROBES = 0.02  # share of the time that goes to trying the other number of threads
PROBE = 5  # repetitions; the first does not count, because threads that have slept and cold caches are slow at first
FASTER = 0.93  # times the other's time: a difference below this is noise
STALLED = 1.5  # times one thread's time: another process has begun to work
CALLS = 1000  # of a trifle that is split: longer than the threads are let run before others have their turn
SPLIT = 32_768  # numbers of which torch gives each thread as many at least
UNANSWERED = 4.0  # times one thread's time for the trifle: threads that are called do not come
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

    It begins with one. Now and then `PROBE` repetitions are given the other number, no more often than costs
    `COST_OF_PROBES` of the time; the faster one stays. All threads are left at once when a repetition takes `STALLED`
    times as long as on one, and they are not even tried while they do not come when they are called: a repetition could
    take fifty times as long. After `torch.set_num_threads(1)` one thread does everything.
    """

    def __init__(self) -> None:
        self.split = False  # is the work given all threads?
        self._seconds: dict[bool, float] = {}  # of a repetition: split or not → what it took lately
        self._repetitions = 0
        self._probe: list[float] = []  # what the repetitions of the running probe took
        self._probing = False
        self._next_probe = 0.0
        self._all = 1
        self._started = 0.0

    def __enter__(self) -> None:
        self._all = torch.get_num_threads()
        self._repetitions += 1
        self._started = time.perf_counter()
        # What is used must have been measured first: it was not while torch had one thread.
        due = self._repetitions > WARM_UP and self.split in self._seconds
        self._probing = due and (bool(self._probe) or self._started >= self._next_probe)
        if self._probing and not self.split and not self._probe and self._all > 1 and not self._answered():
            self._probing = False
            now = time.perf_counter()
            self._next_probe = now + (now - self._started) / COST_OF_PROBES
            self._started = now
        if self.split == self._probing:  # one thread is used, or tried while all are used
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        finished = time.perf_counter()
        torch.set_num_threads(self._all)
        if self._all > 1 and self._repetitions > 1:
            self._learn(finished - self._started, finished)

    def _answered(self) -> bool:
        """Do all threads come when they are called?"""
        numbers = torch.zeros(SPLIT * self._all)

        def seconds(threads: int, limit: float) -> float:
            torch.set_num_threads(threads)
            started = time.perf_counter()
            for _ in range(CALLS):
                numbers.zero_()
                if time.perf_counter() - started > limit:
                    break
            return time.perf_counter() - started

        limit = UNANSWERED * seconds(1, float("inf"))
        return seconds(self._all, limit) <= limit

    def _learn(self, seconds: float, now: float) -> None:
        """Take in how long a repetition took, and decide how the next ones are done."""
        used = self._seconds.get(self.split, seconds)
        if not self._probing:  # what is used is as fast as it was lately
            self._seconds[self.split] = used + (seconds - used) / 8
            if self.split and seconds > STALLED * self._seconds[False]:
                self.split = False
                self._next_probe = now + seconds / COST_OF_PROBES
            return
        self._probe.append(seconds)
        if len(self._probe) < PROBE and seconds < STALLED * used:
            return
        self._next_probe = now + sum(self._probe) / COST_OF_PROBES
        # The mean counts: beside a busy process some repetitions are as fast as on an idle machine, and others wait.
        found = self._probe[1:] or self._probe
        self._seconds[not self.split] = mean = sum(found) / len(found)
        if mean < FASTER * used:
            self.split = not self.split
        self._probe.clear()
