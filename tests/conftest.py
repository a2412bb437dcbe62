"""Tiny random-weight models and helpers that every test file shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from playroom import make, open_window, shipped  # noqa: E402, F401
from toy_world import joint_run, toy  # noqa: E402, F401

from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS, VARIABLE_SCALES  # noqa: E402
from doom_dream_env.world_model import PRESETS, WorldModel  # noqa: E402

STARTS = 12
torch.set_num_threads(1)


def make_model(seed: int = 0, survival: float = 2.0) -> WorldModel:
    """A tiny random world model with beginnings of every scenario; `survival` is the logit of going on."""
    torch.manual_seed(seed)
    model = WorldModel(PRESETS["tiny"])
    with torch.no_grad():
        for parameter in (model.dynamics.codes.chosen_in, *(block.attention.distance_bias for block in model.trunk.blocks)):
            parameter.normal_(std=0.3)
        for head in model.dynamics.codes.logits:
            head.weight.normal_(std=3.0)
        model.dynamics.end[-1].weight[0] = 0
        model.dynamics.end[-1].bias[0] = survival
        for scenario in SCENARIOS.values():
            mask = torch.from_numpy(scenario.variable_mask())
            variables = torch.tensor(VARIABLE_SCALES).where(mask, 0.0).expand(STARTS, -1).clone()
            model.starts[scenario.starts] = (torch.randn(STARTS, model.config.state_width), variables)
            clip = (torch.randn(STARTS, 4, model.config.state_width), torch.zeros(STARTS, 3, 9), variables[:, None].repeat(1, 4, 1))
            clip = (*clip, torch.arange(STARTS).float())
            model.clips[scenario.starts] = clip
    return model.eval().requires_grad_(False)


def random_frames(*lead: int, seed: int = 0) -> np.ndarray:
    """Frames of noise, uint8 (*lead, 120, 160, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*lead, *FRAME_SHAPE), np.uint8)


def states_equal(left: Any, right: Any) -> bool:
    """Are two dream states the same, bit for bit?"""
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in left.__dataclass_fields__)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own: ViZDoom writes its settings where it is started."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny weights whose dreams last about nine steps."""
    folder = tmp_path_factory.mktemp("weights")
    make_model().save_pretrained(folder, "# tiny")
    return folder


@pytest.fixture(scope="session")
def model(weights: Path) -> WorldModel:
    """The model in `weights`. Not to be changed by a test."""
    return WorldModel.from_pretrained(weights)


@pytest.fixture(scope="session")
def immortal(tmp_path_factory: pytest.TempPathFactory) -> WorldModel:
    """A model (other weights) whose dreams never end by death."""
    folder = tmp_path_factory.mktemp("immortal")
    make_model(seed=1, survival=60.0).save_pretrained(folder)
    return WorldModel.from_pretrained(folder)


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> WorldModel:
    """A model whose dreams end at once: all health is lost in the first step, and with it the life."""
    folder, model = tmp_path_factory.mktemp("mortal"), make_model(seed=2, survival=-60.0)
    assert model.config.deltas[0][0] == -100
    model.dynamics.outcome.bias[0] = 60.0
    model.save_pretrained(folder)
    return WorldModel.from_pretrained(folder)
