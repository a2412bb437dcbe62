"""How fast the dream is while other processes use the cores: what `dream-doom bench --busy` measures."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from doom_dream_env.benchmark import random_step, rate
from doom_dream_env.doctor import usable_cores
from doom_dream_env.envs.base import shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.threads import at_most
from doom_dream_env.world_model import WorldModel

LONGEST = 600.0  # seconds after which they end by themselves, whatever became of who started them
WORK = f"""
import os, sys, time
parent = int(sys.argv[1])
end = time.monotonic() + {LONGEST}
while time.monotonic() < end and os.getppid() == parent:
    sum(range(100_000))
"""


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep so many processes computing for as long as this lasts; they end with this process, however it ends."""
    command = [sys.executable, "-c", WORK, str(os.getpid())]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


# ---- the dream beside them -------------------------------------------------------------------------------------------

ENV_COUNTS = (64, 256, 1024)
ROUNDS = 4  # in which one thread and all threads take turns: a machine is not as fast all the time


@dataclass(frozen=True)
class BusySpeed:
    """Steps/s of dreams on one thread and on as many as torch has.

    Attributes:
        threads: of torch.
        processes: other busy ones.
        alone: number of environments → (one thread, all threads), while this process is alone.
        beside: the same beside the busy processes.
    """

    threads: int
    processes: int
    alone: dict[int, tuple[float, float]]
    beside: dict[int, tuple[float, float]]


def one_and_all(num_envs: int, scenario: str, model: WorldModel, seconds: float) -> tuple[float, float]:
    """Steps/s of dreams on one thread, and with all of torch's to choose from; each is measured for `seconds`."""
    one, every = (random_step(DreamBatch(num_envs, scenario, weights=model)) for _ in range(2))
    rates: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        with at_most(1):
            first = rate(one, seconds / ROUNDS)
        rates.append((first, rate(every, seconds / ROUNDS)))
    first, second = np.mean(rates, 0)
    return float(first), float(second)


def measure_busy(scenario: str, weights: str | None = None, seconds: float = 3.0) -> BusySpeed:
    """Dreams alone, then beside processes that keep half of the cores busy, one at least.

    Args:
        scenario: its name.
        weights: as for `WorldModel.from_pretrained`.
        seconds: spent on each figure.
    """
    model = shared_world_model(weights)
    processes = max(1, usable_cores() // 2)
    alone = {count: one_and_all(count, scenario, model, seconds) for count in ENV_COUNTS}
    with busy_processes(processes):
        beside = {count: one_and_all(count, scenario, model, seconds) for count in ENV_COUNTS}
    return BusySpeed(torch.get_num_threads(), processes, alone, beside)


def show_busy(speed: BusySpeed) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("dreams", "one thread", f"{speed.threads} threads", "ratio", title="steps/s")
    for where, rates in (("alone", speed.alone), (f"beside {speed.processes} busy", speed.beside)):
        for count, (one, every) in rates.items():
            table.add_row(f"{count}, {where}", f"{one:,.0f}", f"{every:,.0f}", f"{every / one:.2f}")
    console = Console()
    console.print(table)
    worst = min(every / one for one, every in speed.beside.values())
    console.print(f"Beside busy processes {speed.threads} threads keep {worst:.0%} of one thread's speed or more.")
