"""A toy for the training stages: a bright square on a dark floor that the two MOVE buttons push sideways."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from doom_dream_env.recording import FREEDOOM, ShardWriter, compress_frame
from doom_dream_env.scenarios import get_scenario
from training.engine.launch import STAGES

TOY_SCENARIOS = ("take_cover", "defend_the_center")
EPISODES = 6  # of each scenario
LENGTH = 14  # steps of each episode
SPEED = 12  # pixels per step
SIDE = 30  # of the square, pixels

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


def square_at(x: int) -> tuple[np.ndarray, SimpleNamespace]:
    """A frame with a bright square whose left edge is at column x, and ViZDoom's label of it: a monster."""
    frame = np.full((120, 160, 3), 30, np.uint8)
    frame[50:80, x : x + SIDE] = (220, 180, 40)
    label = SimpleNamespace(
        object_name="DoomImp",
        object_category="Monster",
        x=x,
        y=50,
        width=SIDE,
        height=30,
        object_position_x=0.0,
        object_position_y=0.0,
        object_position_z=0.0,
    )
    return frame, label


def write_toy(root: Path, split: str, seed: int) -> None:
    """One shard per scenario: SPEED pixels left, right or not at all per step, −10 health each third step."""
    rng = np.random.default_rng(seed)
    for name in TOY_SCENARIOS:
        table = get_scenario(name).action_table()
        shard = ShardWriter()
        for episode in range(EPISODES):
            x = int(rng.integers(0, 160 - SIDE))
            health = 100.0
            ammunition = 26.0 if name == "defend_the_center" else 0.0
            for t in range(LENGTH):
                frame, square = square_at(x)
                index = int(rng.integers(len(table)))
                hurt = 10.0 if t % 3 == 2 else 0.0
                shard.add(
                    [square],
                    frame=compress_frame(frame),
                    action=table[index],
                    reward=np.float32(4),
                    terminated=t == LENGTH - 1,
                    truncated=False,
                    variables=np.array([health, ammunition, 0, 0], np.float32),
                    next_variables=np.array([health - hurt, ammunition, 0, 0], np.float32),
                    pose=np.zeros(4, np.float32),
                    episode=1000 * seed + episode,
                    elapsed=t,
                    behaviour="random",
                )
                health -= hurt
                shift = SPEED * ((index == 1) - (index == 2))
                x = int(np.clip(x + shift, 0, 160 - SIDE))
        (root / name).mkdir(parents=True, exist_ok=True)
        shard.write(root / name / f"{split}-00000.parquet", name, name, FREEDOOM)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's dataset. Not to be changed by a test."""
    root = tmp_path_factory.mktemp("toy")
    write_toy(root, "train", 0)
    write_toy(root, "val", 1)
    return root


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


@pytest.fixture(scope="session")
def representation_run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short stage representation. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("representation")
    run("representation", toy, out, 4)
    return out
