"""Tiny random-weight models and helpers that every test file shares."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import fields
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from doom_dream_env.origins import FREEDOOM  # noqa: E402
from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS, VARIABLE_SCALES  # noqa: E402
from doom_dream_env.world_model import PRESETS, DreamState, WorldModel  # noqa: E402

TENSORS = ("world_model.safetensors", "decoder.safetensors", "starts.safetensors")  # files of weights
pytest_plugins = ("playroom", "toy_world", "held_out_world", "exported_world")  # their fixtures are everybody's

INITIAL_STATES = 12  # of each scenario
CLIP_STEPS = 4
torch.set_num_threads(1)


def make_model(seed: int = 0, survival: float = 2.0) -> WorldModel:
    """A tiny random world model with initial states of every scenario; `survival` is the logit of going on."""
    torch.manual_seed(seed)
    model = WorldModel(PRESETS["tiny"])
    model.origins = (FREEDOOM,)
    with torch.no_grad():
        for parameter in (
            model.dynamics.codes.chosen_in,
            *(block.attention.distance_bias for block in model.trunk.blocks),
        ):
            parameter.normal_(std=0.3)
        model.decoder.painter.palette.copy_(
            0.3 + 0.4 * torch.rand(64**2, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(25, 1)
        )
        for head in model.dynamics.codes.logits:
            head.weight.normal_(std=3.0)
        model.dynamics.end[-1].weight[0] = 0
        model.dynamics.end[-1].bias[0] = survival
        for scenario in SCENARIOS.values():
            mask = torch.from_numpy(scenario.variable_mask())
            variables = torch.tensor(VARIABLE_SCALES).where(mask, 0.0).expand(INITIAL_STATES, -1).clone()
            z = torch.randn(INITIAL_STATES, model.config.state_width)
            model.initial_states[scenario.place] = (z, variables)
            model.context_clips[scenario.place] = (
                torch.randn(INITIAL_STATES, CLIP_STEPS, model.config.state_width),
                torch.zeros(INITIAL_STATES, CLIP_STEPS - 1, 9),
                variables[:, None].repeat(1, CLIP_STEPS, 1),
                torch.arange(INITIAL_STATES).float(),
            )
    return model.eval().requires_grad_(False)


def random_frames(*lead: int, seed: int = 0) -> np.ndarray:
    """Frames of noise, uint8 (*lead, 120, 160, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*lead, *FRAME_SHAPE), np.uint8)


def states_equal(left: DreamState, right: DreamState) -> bool:
    """Are two dream states the same, bit for bit?"""
    return all(torch.equal(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))


def process_exists(pid: int) -> bool:
    """Is there such a process, and has it not ended?"""
    try:
        os.kill(pid, 0)
        return not Path("/proc").exists() or Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):  # it may go between the two looks
        return False


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own: what it writes there is in nobody's way."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny weights whose dreams last about nine steps."""
    folder = tmp_path_factory.mktemp("weights")
    make_model().save_pretrained(folder, "# tiny")
    return folder


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    """A copy of the tiny weights that a test may damage."""
    return Path(shutil.copytree(weights, tmp_path / "copy"))


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
    folder = tmp_path_factory.mktemp("mortal")
    model = make_model(seed=2, survival=-60.0)
    assert model.config.deltas[0][0] == -100
    model.dynamics.outcome.bias[0] = 60.0
    model.save_pretrained(folder)
    return WorldModel.from_pretrained(folder)
