"""Runs stages of the training on several ranks of this machine, each a process.

As a script it is one of the ranks: `python tests/rank_tools.py '[[stage, data, out, steps, settings], ...]'`.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

Run = tuple[str, Path, Path, int, dict[str, Any]]
"""Stage, dataset, folder of the run, steps, and settings other than the toy's."""

TESTS = Path(__file__).resolve().parent
PATIENCE = 1200  # seconds


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def start_ranks(ranks: int, command: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start a command as each of some ranks, with the variables that torchrun sets."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
    shared["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]


def run_on_ranks(ranks: int, runs: Sequence[Run]) -> None:
    """Run stages one after the other on some ranks."""
    plan = json.dumps([[stage, str(data), str(out), steps, settings] for stage, data, out, steps, settings in runs])
    processes = start_ranks(ranks, [sys.executable, str(TESTS / "rank_tools.py"), plan])
    try:
        said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for rank, process in enumerate(processes):
        assert process.returncode == 0, f"rank {rank} of {ranks}: {said[rank][-3000:]}"


@contextmanager
def exact_and_logged(stage: str) -> Iterator[None]:
    """Compute in float32, and log every step."""
    from training.engine import compute

    module = importlib.import_module(f"training.stages.{stage}")
    with (
        mock.patch.object(compute, "bfloat16_pays", lambda: False),
        mock.patch.object(module, "fit", functools.partial(module.fit, log_every=1)),
    ):
        yield


def run_exactly(stage: str, data: Path, out: Path, steps: int, settings: dict[str, Any]) -> None:
    """Run a stage at toy size as all ranks do, in this process."""
    from toy_world import run

    with exact_and_logged(stage):
        run(stage, data, out, steps, **settings)


def losses_of(out: Path, stage: str) -> list[dict[str, float]]:
    """What each step logged."""
    lines = (out / stage / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "loss" in line]


if __name__ == "__main__":
    for stage, data, out, steps, settings in json.loads(sys.argv[1]):
        run_exactly(stage, Path(data), Path(out), steps, settings)
