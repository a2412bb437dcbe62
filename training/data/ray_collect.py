"""Collecting on a Ray cluster: each shard is a task on one core of whichever node is free.

    ray start --head                                        # on one machine
    ray start --address=HEAD:6379                           # on the others
    python -m training collect --out /shared/data --ray auto

A shard depends on its job alone, so it is the same bytes wherever it is made. Ray gives the shards of a lost node to
the others. A node that was only cut off may finish its own meanwhile: each attempt is written in a folder of its own
and renamed when it is whole, so the two cannot meet in one file. This clone, the dataset and whatever WADs or agents
are named must lie where all nodes see them.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from doom_dream_env.errors import install_command

ATTEMPTS = ".attempts"  # in a scenario's folder: shards that are being written, each attempt in a folder of its own
PATIENCE = 5.0  # seconds in which a cluster must answer; Ray itself would ask for minutes
RETRIES = 20  # of a shard whose node or process was lost; what the collector itself raises is not tried again


def shards_on_ray(jobs: Sequence[Any], address: str, make: Callable[[Any], int]) -> Iterator[int]:
    """Make shards on a cluster; gives the number of steps of each one that is finished.

    Args:
        jobs: the shards: dataclasses with a `path`, absolute.
        address: of the cluster: `auto` for the one that this machine is a node of, or `HOST:PORT`.
        make: makes a shard and returns its number of steps.

    Raises:
        ConnectionError: if there is no such cluster.
        FileNotFoundError: if a node writes to a disk of its own.
        ValueError, OSError: what the collector raised on a node.
    """
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(f"--ray needs the extra 'ray': {install_command('ray')}") from error
    root = Path(__file__).resolve().parents[2]
    environment = {"env_vars": {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}}
    ours = not ray.is_initialized()
    try:
        _knock(address)
        ray.init(address, runtime_env=environment, log_to_driver=False, ignore_reinit_error=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"there is no Ray cluster at {address!r} ({error}); begin one with `ray start --head`, and give its address"
        ) from error
    try:
        yield from _finished(ray, jobs, make)
    finally:
        for folder in {job.path.parent for job in jobs}:
            shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """Does anybody listen at HOST:PORT? Raises OSError if not; other addresses are left to Ray."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def _finished(ray: Any, jobs: Sequence[Any], make: Callable[[Any], int]) -> Iterator[int]:
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(attempt)
    pending = {task.remote(job, make): job for job in jobs}
    while pending:
        (finished,), _ = ray.wait(list(pending), num_returns=1)
        job = pending.pop(finished)
        try:
            steps, node = ray.get(finished)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ValueError | OSError):
                raise error.cause from error
            raise
        if not job.path.exists():
            raise FileNotFoundError(
                f"node {node} has written {job.path}, which is not seen here: --out must be a folder that all share"
            )
        yield steps


def attempt(job: Any, make: Callable[[Any], int]) -> tuple[int, str]:
    """Make one shard on a node, and only then give it its name.

    Returns:
        its number of steps, and the node's name.
    """
    folder = job.path.parent / ATTEMPTS / f"{os.uname().nodename}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    own = dataclasses.replace(job, path=folder / job.path.name)
    steps = make(own)
    os.replace(own.path, job.path)
    return steps, os.uname().nodename
