"""Data of toys: shards of noise; a square that the two MOVE buttons push; and one that wanders, held out for scores."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import random_frames

from doom_dream_env.game.recording import FREEDOOM, ShardWriter, compress_frame
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from training.data.batch import Batch
from training.data.dataset import Dataset
from training.engine import fit as loop
from training.engine.checkpoint import save_checkpoint
from training.engine.launch import STAGES
from training.evaluation.held_out import load_split

BALL = ("DoomImpBall", "")
IMP = ("DoomImp", "Monster")
KIT = ("CustomMedikit", "Health")

TOY_SCENARIOS = ("take_cover", "defend_the_center")
EPISODES = 6  # of each scenario
LENGTH = 14  # steps of each episode
SPEED = 12  # pixels per step
SIDE = 30  # of the square, pixels

HELD_OUT_SCENARIOS = ("take_cover", "health_gathering")
HELD_OUT_EPISODES = 5
HELD_OUT_LENGTH = 46

# Settings of the stages at toy size.
BATCH = 8
WINDOW = 6
TOY_SETTINGS: dict[str, dict[str, Any]] = {
    "representation": {"preset": "tiny"},
    "dynamics": {"rollout": 3},
    "tokenizer": {"palette_frames": 60},
    "decoder": {},
}
# Constants of the training at toy size.
TOY_CONSTANTS: dict[str, Any] = {
    "training.engine.fit.CHECKPOINT_EVERY": 2,
    "training.stages.dynamics.WINDOW": WINDOW,
    "training.stages.tokenizer.PERCEPTUAL_BATCH": 2,
    "training.data.pictures.DREAMS": 12,
    "training.data.pictures.DREAM_CONTEXT": 4,
    "training.data.pictures.DREAM_STEPS": 6,
}


def label(kind: tuple[str, str], x: int, y: int, width: int, height: int) -> SimpleNamespace:
    """A visible object as ViZDoom describes it."""
    position = {"object_position_x": 1.5, "object_position_y": -2.0, "object_position_z": 0.0}
    place = {"x": x, "y": y, "width": width, "height": height}
    return SimpleNamespace(object_name=kind[0], object_category=kind[1], **place, **position)


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
            action = (np.arange(9) == number % 9).astype(np.uint8)
            step = {"action": action, "reward": np.float32(number), "terminated": t == length - 1}
            writer.add([], **row(frames[number], 10 * seed + episode, t, **step))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path, path.parent.name, f"{path.parent.name}:MAP01", FREEDOOM)
    return frames, writer


def table_of(*labels: list[Any]) -> pa.Table:
    """A table in which each row sees some objects."""
    writer = ShardWriter()
    for seen in labels:
        writer.add(seen, **row(np.zeros((120, 160, 3), np.uint8), 0))
    return writer.table()


def plain_batch(windows: int, steps: int, scenario: torch.Tensor, **changes: Any) -> Batch:
    """Windows in which nothing is in doubt and nothing happens, but for `changes`."""
    one = torch.ones(windows, steps)
    zero = torch.zeros(windows, dtype=torch.long)
    columns: dict[str, Any] = {
        **dict.fromkeys(("actions", "rewards", "terminated", "object_maps", "pose", "sightings"), 0 * one),
        **dict.fromkeys(("valid", "rows", "confidence", "outcome_confidence", "annotated"), one),
        **dict.fromkeys(("variables", "next_variables"), torch.zeros(windows, steps, 4)),
        **dict.fromkeys(("elapsed", "place"), zero),
        "frames": None,
        "scenario": scenario,
        "follows": one[:, 1:],
        "variables_confidence": torch.ones(windows, steps, 4),
    }
    return Batch(**(columns | changes))


def square_at(x: int) -> tuple[np.ndarray, SimpleNamespace]:
    """A frame with a bright square whose left edge is at column x, and ViZDoom's label of it: a monster."""
    frame = np.full((120, 160, 3), 30, np.uint8)
    frame[50:80, x : x + SIDE] = (220, 180, 40)
    return frame, label(IMP, x, 50, SIDE, 30)


def write_toy(root: Path, split: str, seed: int) -> None:
    """One shard per scenario: SPEED pixels left, right or not at all per step, −10 health each third step."""
    rng = np.random.default_rng(seed)
    for name in TOY_SCENARIOS:
        table = get_scenario(name).action_table()
        shard = ShardWriter()
        for episode in range(EPISODES):
            x = int(rng.integers(0, 160 - SIDE))
            values = np.array([100, 26 if name == "defend_the_center" else 0, 0, 0], np.float32)
            for t in range(LENGTH):
                frame, square = square_at(x)
                index = int(rng.integers(len(table)))
                after = values - np.float32([10, 0, 0, 0]) * (t % 3 == 2)
                step = {"action": table[index], "reward": np.float32(4), "terminated": t == LENGTH - 1}
                step |= {"variables": values, "next_variables": after, "pose": np.zeros(4, np.float32)}
                shard.add([square], **row(frame, 1000 * seed + episode, t, **step))
                values = after
                x = int(np.clip(x + SPEED * ((index == 1) - (index == 2)), 0, 160 - SIDE))
        (root / name).mkdir(parents=True, exist_ok=True)
        shard.write(root / name / f"{split}-00000.parquet", name, name, FREEDOOM)


def write_held_out(root: Path, split: str, seed: int, length: int = HELD_OUT_LENGTH) -> None:
    """A square that wanders, which is where the player is.

    −10 health each third step; +1 reward a step, and one more with each loss of health.
    """
    rng = np.random.default_rng(seed)
    for name in HELD_OUT_SCENARIOS:
        table = get_scenario(name).action_table()
        shard = ShardWriter()
        for episode in range(HELD_OUT_EPISODES):
            values = np.array([100, 0, 0, 0], np.float32)
            for t in range(length):
                x = int(rng.integers(0, 130))
                frame, square = square_at(x)
                hit = t % 3 == 2
                after = values - np.float32([10, 0, 0, 0]) * hit
                step = {"action": table[rng.integers(len(table))], "reward": np.float32(1 + hit)}
                step |= {"terminated": t == length - 1, "variables": values, "next_variables": after}
                pose = np.array([7.0, 5.0 * x, 0.0, 0.0], np.float32)
                shard.add([square], **row(frame, 1000 * seed + episode, t, **step, pose=pose))
                values = after
        (root / name).mkdir(parents=True, exist_ok=True)
        shard.write(root / name / f"{split}-00000.parquet", name, name, FREEDOOM)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's dataset. Not to be changed by a test."""
    root = tmp_path_factory.mktemp("toy")
    write_toy(root, "train", 0)
    write_toy(root, "val", 1)
    return root


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    write_held_out(root, "val", 1)
    write_held_out(root, "test", 2)
    return root


@pytest.fixture(scope="session")
def held_out(recorded: Path, model: WorldModel) -> Dataset:
    return load_split(model, recorded, HELD_OUT_SCENARIOS, "test")


def toy_config(stage: str, data: Path, out: Path, steps: int, **settings: Any) -> Any:
    """Settings of a stage at toy size; `settings` are other ones than the toy's."""
    chosen: dict[str, Any] = {
        "data": data,
        "out": out,
        "scenarios": TOY_SCENARIOS,
        "steps": steps,
        "batch": BATCH,
        "device": "cpu",
        "threads": 1,
    }
    return STAGES[stage].config(**(chosen | TOY_SETTINGS[stage] | settings))


@contextmanager
def toy_constants(others: dict[str, Any] | None = None) -> Iterator[None]:
    """Give the constants of the training their toy size; `others` are others of them."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (TOY_CONSTANTS | (others or {})).items():
            patched.setattr(name, value)
        yield


def run(
    stage: str, data: Path, out: Path, steps: int, constants: dict[str, Any] | None = None, **settings: Any
) -> None:
    """Run a stage at toy size, with some constants as in `toy_constants`."""
    module = importlib.import_module(f"training.stages.{stage}")
    with toy_constants(constants):
        module.train(toy_config(stage, data, out, steps, **settings))


@contextmanager
def killed_after(finished: int) -> Iterator[None]:
    """What runs here is killed once a checkpoint of so many steps is written."""

    def save(path: Path, *arguments: Any) -> None:
        save_checkpoint(path, *arguments)
        if arguments[2] == finished:
            raise KeyboardInterrupt

    with mock.patch.object(loop, "save_checkpoint", save), pytest.raises(KeyboardInterrupt):
        yield


@pytest.fixture(scope="session")
def representation_run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short stage representation. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("representation")
    run("representation", toy, out, 4)
    return out
