"""Held-out data of a toy: a bright square that wanders, which is where the player is; −10 health each third step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_world import square_at

from doom_dream_env.recording import FREEDOOM, ShardWriter, compress_frame
from doom_dream_env.scenarios import VARIABLES, get_scenario
from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.evaluation.held_out import load_split

SCENARIOS = ("take_cover", "health_gathering")
EPISODES = 5
LENGTH = 46


def write_data(root: Path, split: str, seed: int, length: int = LENGTH) -> None:
    """One shard per scenario; +1 reward a step, and one more with each loss of health."""
    rng = np.random.default_rng(seed)
    for name in SCENARIOS:
        table = get_scenario(name).action_table()
        shard = ShardWriter()
        for episode in range(EPISODES):
            health = 100.0
            for t in range(length):
                x = int(rng.integers(0, 130))
                frame, square = square_at(x)
                values = np.zeros((2, len(VARIABLES)), np.float32)
                values[0, 0] = health
                health -= 10.0 * (t % 3 == 2)
                values[1, 0] = health
                shard.add(
                    [square],
                    frame=compress_frame(frame),
                    action=table[rng.integers(len(table))],
                    reward=np.float32(1 + (t % 3 == 2)),
                    terminated=t == length - 1,
                    truncated=False,
                    variables=values[0],
                    next_variables=values[1],
                    pose=np.array([7.0, 5.0 * x, 0.0, 0.0], np.float32),
                    episode=1000 * seed + episode,
                    elapsed=t,
                    behaviour="random",
                )
        (root / name).mkdir(parents=True, exist_ok=True)
        shard.write(root / name / f"{split}-00000.parquet", name, name, FREEDOOM)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    write_data(root, "val", 1)
    write_data(root, "test", 2)
    return root


@pytest.fixture(scope="session")
def held_out(recorded: Path, model: WorldModel) -> Dataset:
    return load_split(model, recorded, SCENARIOS, "test")
