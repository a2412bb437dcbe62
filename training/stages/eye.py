"""Stage eye: reads things, walls and pose off frames.

    python -m training collect --out data --things --steps 10000
    python -m training eye --data data --out runs/things

It names the kinds of things that the dynamics of the same run know, so the stage things comes first. A step of 48
frames takes 0.7 s of one core. Resumes like every other stage.

Legend: N frames, D things of a frame at most.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.world_model.things.eye import Eye
from doom_dream_env.world_model.things.state import FARTHEST_WALL, rotated
from training.config import EyeConfig
from training.data.dataset import Dataset
from training.data.things import Kinds, ThingsData, read_shard
from training.engine.checkpoint import finished_steps
from training.engine.compute import Compute, compute_init
from training.engine.fit import LOG_EVERY, Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.models.eye import EyeTargets, eye_loss, mirrored
from training.models.things import Averaged, load_dynamics
from training.stages import EYE_CHECKPOINT, THINGS_CHECKPOINT

STEP_STREAM = 43  # tells this stage's random numbers from those of others with the same seed
MOST = 24  # things of a frame
LEAST_PIXELS = 2  # of a box
MIRRORED = 0.3  # share of the batches with left and right exchanged


@dataclass(frozen=True)
class LookBatch:
    """Frames uint8 (N, 120, 160, 3), index of their scenario (N,), and what the game knew."""

    frames: Tensor
    scenario: Tensor
    targets: EyeTargets


class LookSampler:
    """Draws frames, every scenario alike."""

    def __init__(self, frames: Dataset, things: ThingsData, known_kinds: int, config: EyeConfig) -> None:
        self.frames = frames
        self.things = things
        self.known_kinds = known_kinds
        self.config = config
        scenario = things.columns["scenario"]
        self.running = np.cumsum(1.0 / np.maximum(np.bincount(scenario), 1)[scenario])

    def __call__(self, rng: np.random.Generator) -> LookBatch:
        """One batch."""
        drawn = np.searchsorted(self.running, rng.random(self.config.batch) * self.running[-1])
        rows = drawn.clip(max=len(self.running) - 1)
        scenario = torch.from_numpy(self.things.columns["scenario"][rows]).long()
        batch = LookBatch(torch.from_numpy(self.frames.frames(rows)), scenario, self.targets(rows))
        if rng.random() < MIRRORED:
            frames, targets = mirrored(batch.frames, batch.targets)
            return LookBatch(frames, scenario, targets)
        return batch

    def targets(self, rows: np.ndarray) -> EyeTargets:
        """What the game knew of frames: the nearest things in sight, walls, pose."""
        a = self.things.columns
        kind = np.zeros((len(rows), MOST), np.int64)
        box = np.zeros((len(rows), MOST, 4), np.int64)
        place = np.zeros((len(rows), MOST, 3), np.float32)
        pose = a["pose"][rows]
        for index, row in enumerate(rows):
            these = np.arange(self.things.start[row], self.things.start[row + 1])
            size = a["box"][these, 2].astype(int) * a["box"][these, 3]
            these = these[(size >= LEAST_PIXELS) & (a["kind"][these] < self.known_kinds)]
            gap = a["pos"][these] - pose[index, :3]
            order = np.argsort(np.hypot(gap[:, 0], gap[:, 1]), kind="stable")[:MOST]
            count = len(order)
            kind[index, :count] = a["kind"][these[order]]
            box[index, :count] = a["box"][these[order]]
            place[index, :count] = gap[order]
        angle = torch.from_numpy(pose[:, 3])
        x_y = torch.from_numpy(pose[:, :2]) / 512.0
        return EyeTargets(
            kind=torch.from_numpy(kind),
            box=torch.from_numpy(box),
            place=rotated(torch.from_numpy(place), -angle[:, None]),
            walls=torch.from_numpy(a["depth"][rows].astype(np.float32)).clamp(max=FARTHEST_WALL),
            pose=torch.cat([x_y, angle.sin()[:, None], angle.cos()[:, None]], 1),
            located=torch.from_numpy(a["located"][rows].astype(np.float32)),
        )


def train(config: EyeConfig) -> None:
    """Run the stage, or go on with it.

    Raises:
        FileNotFoundError: if the run has no dynamics of things yet.
        ValueError: if shards are missing, damaged or hold no things; the message says which.
    """
    compute = compute_init(config.device, config.threads)
    path = config.out / EYE_CHECKPOINT
    if finished_steps(path) >= config.steps:
        print(f"{path} is finished: {config.steps} steps")
        return
    before = config.out / THINGS_CHECKPOINT
    if not before.exists():
        raise FileNotFoundError(f"{before} is missing; make it with python -m training things --out {config.out}")
    known = load_dynamics(before).config
    frames = Dataset(config.data, config.scenarios, "train")
    if strangers := set(frames.names) - set(known.scenarios):
        raise UserError(
            f"the dynamics of {before} know {', '.join(known.scenarios)}, not {', '.join(sorted(strangers))}"
        )
    kinds = Kinds(list(known.kinds), list(known.groups))
    things = ThingsData(map(read_shard, frames.files), kinds, known.scenarios, known.mortal)
    torch.manual_seed(config.seed)
    eye = Eye(len(known.kinds), len(known.scenarios))
    module = Averaged(eye, config.ema_decay).to(
        compute.device,
        memory_format=torch.channels_last,  # type: ignore[call-overload]
    )
    sampler = LookSampler(frames, things, len(known.kinds), config)
    fit(
        name="eye",
        module=module,
        optimiser=Optimiser(module.model, "adamw", config.lr, config.steps),
        steps=config.steps,
        compute=compute,
        fetch=lambda step: sampler(np.random.default_rng((config.seed, STEP_STREAM, step))),
        step_loss=lambda step, batch: step_loss(module.model, batch, step, compute),
        path=path,
        about={"seed": config.seed, "kinds": known.kinds, "scenarios": known.scenarios},
        log=RunLog(config.out / "eye", compute),
        progress_keys=("heat", "depth"),
        after_step=module.update_average,
    )


def step_loss(eye: Eye, batch: LookBatch, step: int, compute: Compute) -> tuple[Tensor, Numbers]:
    """Loss of a step, and its parts for the log."""
    device = compute.device
    targets = dataclasses.replace(
        batch.targets,
        **{f.name: getattr(batch.targets, f.name).to(device) for f in dataclasses.fields(batch.targets)},
    )
    loss, parts = eye_loss(eye, batch.frames.to(device), batch.scenario.to(device), targets)
    return loss, parts if step % LOG_EVERY == 0 else {}
