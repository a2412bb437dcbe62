"""A toy world for the training stages: a bright square on a dark floor that the two MOVE buttons push sideways."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.shards import ShardWriter, compress_frame

WORLDS = ("take_cover", "defend_the_center")
EPISODES, LENGTH, SPEED, SIDE = 6, 14, 12, 30
BATCH, WINDOW = 8, 6


def square_at(x: int) -> tuple[np.ndarray, SimpleNamespace]:
    """A frame with a bright square whose left edge is at column x, and ViZDoom's label of it: a monster."""
    frame = np.full((120, 160, 3), 30, np.uint8)
    frame[50:80, x : x + SIDE] = (220, 180, 40)
    return frame, SimpleNamespace(
        object_name="DoomImp", object_category="Monster", x=x, y=50, width=SIDE, height=30,
        object_position_x=0.0, object_position_y=0.0, object_position_z=0.0,
    )  # fmt: skip


def write_toy(root: Path, split: str, seed: int) -> None:
    """One shard per world of the toy: SPEED pixels left, right or not at all per step, −10 health each third step."""
    rng = np.random.default_rng(seed)
    for name in WORLDS:
        table, shard = get_scenario(name).action_table(), ShardWriter()
        for episode in range(EPISODES):
            x, health, ammunition = int(rng.integers(0, 160 - SIDE)), 100.0, 26.0 if name == "defend_the_center" else 0.0
            for t in range(LENGTH):
                frame, square = square_at(x)
                index = int(rng.integers(len(table)))
                shift, hurt = SPEED * ((index == 1) - (index == 2)), 10.0 * (t % 3 == 2)
                variables, health = np.array([health, ammunition, 0, 0], np.float32), health - hurt
                shard.add(
                    [square], frame=compress_frame(frame), action=table[index], reward=np.float32(4), terminated=t == LENGTH - 1,
                    truncated=False, variables=variables, next_variables=np.array([health, ammunition, 0, 0], np.float32),
                    pose=np.zeros(4, np.float32), episode=1000 * seed + episode, behaviour="random",
                )  # fmt: skip
                x = int(np.clip(x + shift, 0, 160 - SIDE))
        (root / name).mkdir(parents=True, exist_ok=True)
        shard.write(root / name / f"{split}-00000.parquet", name, name)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy(root, "train", 0)
    write_toy(root, "val", 1)
    return root


def run(stage: str, toy: Path, out: Path, steps: int, every: int = 2, switches: tuple[str, ...] = (), **flags: Any) -> None:
    """Run a stage as its command line would."""
    module = importlib.import_module(f"training.{stage}")
    windows = {"window": WINDOW, "rollout": 3} if stage == "dynamics" else {"window": WINDOW} if stage == "world_model" else {}
    sizes = {"batch": BATCH} | windows | ({"preset": "tiny"} if stage == "world_model" else {})
    options = sizes | {"device": "cpu", "threads": 1, "steps": steps, "every": every} | flags
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", "--data", str(toy), "--out", str(out), "--scenarios", *WORLDS, *words, *switches])
        module.main()


@pytest.fixture(scope="session")
def joint_run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short joint stage. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("joint")
    run("world_model", toy, out, 4)
    return out
