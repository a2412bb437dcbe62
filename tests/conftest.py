"""Tiny random-weight models, what is exported of them, dreams of them, and helpers that every test file shares."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import gymnasium as gym  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from doom_dream_env.agents import Agent  # noqa: E402
from doom_dream_env.agents import agent as agents  # noqa: E402
from doom_dream_env.agents.agent import AgentCard, make_network  # noqa: E402
from doom_dream_env.envs import DreamDoomEnv, DreamDoomVectorEnv  # noqa: E402
from doom_dream_env.scenarios import FRAME_SHAPE, SCENARIOS, VARIABLE_SCALES, get_scenario  # noqa: E402
from doom_dream_env.world_model import PRESETS, DreamState, WorldModel  # noqa: E402
from doom_dream_env.world_model.origins import FREEDOOM  # noqa: E402

TENSORS = ("world_model.safetensors", "decoder.safetensors", "starts.safetensors")  # files of weights
pytest_plugins = ("playroom", "toy_world")  # their fixtures are everybody's

EXPORTED = ("take_cover", "defend_the_center")
NUM_ENVS = 4  # of a vector environment
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


def make_agent(
    model: WorldModel, scenario: str = "take_cover", widths: tuple[int, ...] = (32,), bias: list[float] | None = None
) -> Agent:
    """A random agent of a model; with a bias it looks at nothing, and its actions have these logits."""
    torch.manual_seed(0)
    actions = len(get_scenario(scenario).action_table())
    network = make_network([model.config.feature_width, *widths, actions], "Tanh")
    if bias is not None:
        torch.nn.init.zeros_(network[-1].weight)
        network[-1].bias.data = torch.tensor(bias)
    return Agent(AgentCard(scenario, model.fingerprint, model.source, "Tanh"), network)


def dream(weights: Path | WorldModel, **kwargs: Any) -> DreamDoomEnv:
    """`DreamDoom-v0` without wrappers."""
    return gym.make("DreamDoom-v0", weights=weights, **kwargs).unwrapped  # type: ignore[return-value]


def play(env: gym.Env, seed: int | None, steps: int = 12) -> list[tuple[np.ndarray, float, bool, bool]]:
    """What a fixed sequence of actions brings; begins anew when an episode ends."""
    observation, _ = env.reset(seed=seed)
    seen: list[tuple[np.ndarray, float, bool, bool]] = [(observation, 0.0, False, False)]
    for t in range(steps):
        observation, reward, terminated, truncated, _ = env.step(t % env.action_space.n)
        seen.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            env.reset()
    return seen


def same(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    """Do two sequences of steps agree exactly?"""
    return all(np.array_equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def dreams(weights: Path | WorldModel, num_envs: int = NUM_ENVS, **kwargs: Any) -> DreamDoomVectorEnv:
    """The vector environment through Gymnasium's door."""
    env = gym.make_vec("DreamDoom-v0", num_envs=num_envs, weights=weights, **kwargs)
    assert isinstance(env, DreamDoomVectorEnv)
    return env


def actions(t: int) -> np.ndarray:
    """A fixed sequence of actions that differ between environments."""
    return (np.arange(NUM_ENVS) + t) % 3


def is_start(model: WorldModel, observation: np.ndarray) -> bool:
    """Is this the sight of an episode's first moment?"""
    z = torch.from_numpy(observation[: model.config.state_width])
    return bool((z == model.initial_states["take_cover"][0]).all(1).any())


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


@pytest.fixture(scope="session")
def exported(weights: Path, model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and its manifest. Not to be changed by a test."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from doom_dream_env.export.bundle import ExportConfig, write_export

    shipped = tmp_path_factory.mktemp("agents")
    make_agent(model).save(shipped / "take_cover")
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents, "SHIPPED", shipped)
        manifest = write_export(ExportConfig(folder, weights, EXPORTED))
    return folder, manifest
