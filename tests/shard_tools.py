"""Helpers of the tests of recorded data: labels as ViZDoom gives them, rows, shards of noise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from conftest import random_frames

from doom_dream_env.recording import FREEDOOM, ShardWriter, compress_frame

BALL = ("DoomImpBall", "")
IMP = ("DoomImp", "Monster")
KIT = ("CustomMedikit", "Health")


def label(kind: tuple[str, str], x: int, y: int, width: int, height: int) -> SimpleNamespace:
    """A visible object as ViZDoom describes it."""
    return SimpleNamespace(
        object_name=kind[0],
        object_category=kind[1],
        x=x,
        y=y,
        width=width,
        height=height,
        object_position_x=1.5,
        object_position_y=-2.0,
        object_position_z=0.0,
    )


def row(frame: np.ndarray, episode: int, elapsed: int = 0, **changes: Any) -> dict[str, Any]:
    """The columns of one step."""
    columns = {
        "frame": compress_frame(frame),
        "action": np.zeros(9, np.uint8),
        "reward": np.float32(1),
        "terminated": False,
        "truncated": False,
        "variables": np.array([100, 0, 0, 0], np.float32),
        "next_variables": np.array([90, 0, 0, 0], np.float32),
        "pose": np.arange(4, dtype=np.float32),
        "episode": episode,
        "elapsed": elapsed,
        "behaviour": "random",
    }
    return columns | changes


def write_shard(path: Path, lengths: list[int], seed: int = 0) -> tuple[np.ndarray, ShardWriter]:
    """Write a shard of episodes of noise, in which each row has its number as reward; returns its frames."""
    frames = random_frames(sum(lengths), seed=seed)
    writer = ShardWriter()
    for episode, length in enumerate(lengths):
        for t in range(length):
            number = len(writer)
            columns = row(
                frames[number],
                10 * seed + episode,
                elapsed=t,
                action=(np.arange(9) == number % 9).astype(np.uint8),
                reward=np.float32(number),
                terminated=t == length - 1,
            )
            writer.add([], **columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path, path.parent.name, f"{path.parent.name}:MAP01", FREEDOOM)
    return frames, writer


def table_of(*labels: list[Any]) -> pa.Table:
    """A table in which each row sees some objects."""
    writer = ShardWriter()
    for seen in labels:
        writer.add(seen, **row(np.zeros((120, 160, 3), np.uint8), 0))
    return writer.table()
