"""Stage things: how things move, learned from single steps of play that the game itself describes.

    python -m training collect --out data --things --no-frames --steps 180000
    python -m training things --data data --out runs/things

A step of 16 slots takes 12 ms of one core, so an hour makes 15,000 updates. Resumes like every other stage.

Legend: B steps, K slots.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from doom_dream_env.scenarios import VARIABLES, get_scenario
from doom_dream_env.world_model.things.dynamics import ThingsConfig, ThingsDynamics
from doom_dream_env.world_model.things.state import Things
from training.config import ThingsTrainingConfig
from training.data.things import SLOTS, Kinds, Targets, ThingsData, read_shard, shards_of
from training.engine.checkpoint import finished_steps
from training.engine.compute import Compute, compute_init, seeded
from training.engine.fit import LOG_EVERY, Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.models.things import Averaged, mirrored, things_loss
from training.stages import THINGS_CHECKPOINT

STEP_STREAM = 41  # tells this stage's random numbers from those of others with the same seed
# Steps with few things go into batches of their own, with fewer slots: a step of take_cover has seven.
SLOT_COUNTS = (6, 10, SLOTS)
MIRRORED = 0.25  # share of the batches with left and right exchanged
NOWHERE = 0.1  # share of the batches in which nobody says where in the level this is
DISTURBED = 0.3  # share of the steps whose things are misplaced a little, as a dream or an eye misplaces them
MISPLACED = 4.0  # map units, at most, the standard deviation


@dataclass(frozen=True)
class StepBatch:
    """Steps and what followed them."""

    things: Things
    targets: Targets
    action: Tensor


class StepSampler:
    """Draws steps, every scenario alike, those of a batch with about as many things each."""

    def __init__(self, data: ThingsData, config: ThingsTrainingConfig) -> None:
        self.data = data
        self.config = config
        scenario = data.columns["scenario"]
        weight = 1.0 / np.maximum(np.bincount(scenario), 1)[scenario]
        self.pools: list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
        fewest = -1
        for slots in SLOT_COUNTS:
            rows = np.flatnonzero((data.used > fewest) & (data.used <= slots))
            fewest = slots
            if len(rows):
                self.pools.append((slots, rows, np.cumsum(weight[rows])))
        shares = np.array([running[-1] for _, _, running in self.pools])
        self.shares = shares / shares.sum()

    def __call__(self, rng: np.random.Generator) -> StepBatch:
        """One batch."""
        slots, rows, running = self.pools[rng.choice(len(self.pools), p=self.shares)]
        drawn = np.searchsorted(running, rng.random(self.config.batch) * running[-1])
        chosen = rows[drawn.clip(max=len(rows) - 1)]
        things, targets = self.data.state(chosen, slots), self.data.targets(chosen, slots)
        action = torch.from_numpy(self.data.columns["action"][chosen]).float()
        if rng.random() < MIRRORED:
            things, targets, action = mirrored(things, targets, action)
        if rng.random() < NOWHERE:
            things = dataclasses.replace(things, located=torch.zeros_like(things.located))
        return StepBatch(disturbed(things, rng), targets, action)


def disturbed(things: Things, rng: np.random.Generator) -> Things:
    """Some of the steps with their things misplaced."""
    batch, slots = things.kind.shape
    size = rng.uniform(0, MISPLACED, (batch, 1, 1)) * (rng.random((batch, 1, 1)) < DISTURBED)
    place = torch.from_numpy((rng.normal(size=(batch, slots, 3)) * size * (1.0, 1.0, 0.3)).astype(np.float32))
    moved = torch.from_numpy((rng.normal(size=things.moved.shape) * size[..., None] * 0.5).astype(np.float32))
    return dataclasses.replace(things, place=things.place + place, moved=things.moved + moved)


def things_config(data: ThingsData, config: ThingsTrainingConfig) -> ThingsConfig:
    """Sizes, kinds and supports, by what the data hold."""
    a = data.columns
    changes = a["nvar"] - a["var"]
    return ThingsConfig(
        kinds=tuple(data.kinds.names),
        becomes=tuple(data.kinds.becomes()),
        groups=tuple(data.kinds.groups),
        scenarios=tuple(data.scenarios),
        mortal=tuple(bool(one) for one in data.mortal),
        deltas=tuple(support(changes[:, index]) for index in range(len(VARIABLES))),
        rewards=support(a["reward"]),
        width=config.width,
        depth=config.depth,
    )


MOST_VALUES = 64  # of a support


def support(values: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """The values that a quantity takes, ascending, at least two; where there are too many, its quantiles."""
    found = np.unique(np.append(values.round(2), 0.0))
    if len(found) > MOST_VALUES:
        found = np.unique(np.quantile(np.unique(values.round(2)), np.linspace(0, 1, MOST_VALUES)).round(2))
        found = np.union1d(found, [0.0])
    if len(found) < 2:
        found = np.array([found[0], found[0] + 1.0])
    return tuple(float(value) for value in found)


def train(config: ThingsTrainingConfig) -> None:
    """Run the stage, or go on with it.

    Raises:
        ValueError: if there are no shards of things; the message gives the command that makes them.
    """
    compute = compute_init(config.device, config.threads)
    path = config.out / THINGS_CHECKPOINT
    if finished_steps(path) >= config.steps:
        print(f"{path} is finished: {config.steps} steps")
        return
    scenarios = [get_scenario(name) for name in config.scenarios]
    names = [scenario.name for scenario in scenarios]
    mortal = ["HEALTH" in scenario.variables for scenario in scenarios]
    data = ThingsData(map(read_shard, shards_of(config.data, names, "train")), Kinds(), names, mortal)
    torch.manual_seed(config.seed)
    about = things_config(data, config)
    module = Averaged(ThingsDynamics(about), config.ema_decay).to(compute.device)
    sampler = StepSampler(data, config)
    fit(
        name="things",
        module=module,
        optimiser=Optimiser(module.model, "adamw", config.lr, config.steps),
        steps=config.steps,
        compute=compute,
        fetch=lambda step: sampler(np.random.default_rng((config.seed, STEP_STREAM, step))),
        step_loss=lambda step, batch: step_loss(module.model, batch, step, compute, config.seed),
        path=path,
        about={"seed": config.seed, "config": dataclasses.asdict(about)},
        log=RunLog(config.out / "things", compute),
        progress_keys=("move", "variables"),
        after_step=module.update_average,
    )


def step_loss(
    dynamics: ThingsDynamics, batch: StepBatch, step: int, compute: Compute, seed: int
) -> tuple[Tensor, Numbers]:
    """Loss of a step, and its parts for the log."""
    device = compute.device
    targets = dataclasses.replace(
        batch.targets,
        **{f.name: getattr(batch.targets, f.name).to(device) for f in dataclasses.fields(batch.targets)},
    )
    loss, parts = things_loss(
        dynamics,
        batch.things.map(lambda tensor: tensor.to(device)),
        batch.action.to(device),
        targets,
        seeded(seed, STEP_STREAM, step),
    )
    return loss, parts if step % LOG_EVERY == 0 else {}
