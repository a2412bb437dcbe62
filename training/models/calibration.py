"""At which temperature do dreams hold as many objects as the game, and at which odds do they hurt as much?

A prior that is a little too wide makes fireballs from nothing, step after step; one that is too sure forgets those that
fly, and nobody is hit any more. Likelihood does not notice: cells with objects are few. So the temperature of each
scenario is set by counting, under the actions that were recorded: objects after some steps, health lost, episodes that
ended. What is then still too harmless, because what flies goes astray in dreams, is made up for by the odds of a hit.

Legend: B dreams, D state width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.scenarios import VARIABLES
from doom_dream_env.world_model import DreamState
from training.data.annotations import OBJECT_MAP_SHAPE
from training.data.batch import Batch, make_batch
from training.data.dataset import SCRIPTED, Dataset
from training.models.training_model import TrainingModel

TEMPERATURES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
HARMS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)
CONTEXT = 12  # real steps before a dream
COUNTED_AFTER = (4, 8, 16, 26)  # dreamed steps
DREAMS = 600
LEAST_CELLS = 30  # with an object; fewer say nothing
LEAST_ENDS = 10  # episodes
LEAST_LOST = 500.0  # points of health
HEALTH = VARIABLES.index("HEALTH")


@dataclass(frozen=True)
class Counts:
    """What some dreams hold, or the game itself.

    Attributes:
        cells: with objects of each class, after each of `COUNTED_AFTER` steps.
        ends: episodes that ended; in dreams, that are expected to.
        lost: points of health that were lost.
    """

    cells: list[list[int]]
    ends: float
    lost: float


@dataclass(frozen=True)
class Dials:
    """What a scenario's dreams are set to, as in `WorldModelConfig`."""

    temperature: float = 1.0
    harm: float = 1.0


@torch.inference_mode()
def calibrated_dials(model: TrainingModel, data: Dataset, states: Tensor, seed: int) -> list[Dials]:
    """The dials of each scenario with which dreams are most like the game.

    Args:
        model: who dreams, and the head that reads object maps off states.
        data: recorded steps.
        states: of all rows, (N, D).
        seed: of the windows and of the dreams.
    """
    # Windows that whole episodes fill would be those in which nobody dies. Scripted players see what no frame shows and
    # are not hit: they say nothing of what happens to others.
    begins = data.windows(CONTEXT)
    begins = begins[~np.isin(data.behaviour[begins], SCRIPTED)]
    found = []
    for scenario in range(len(data.names)):
        rows = begins[data.scenario[begins] == scenario]
        if not len(rows):
            found.append(Dials())
            continue
        some = np.random.default_rng((seed, scenario)).permutation(rows)[:DREAMS]
        batch = make_batch(data, some, CONTEXT + COUNTED_AFTER[-1], torch.device("cpu"), frames=False)
        found.append(best_dials(model, batch, states[batch.rows].float(), seed))
    return found


def best_dials(model: TrainingModel, batch: Batch, z: Tensor, seed: int) -> Dials:
    """The temperature at which dreams hold what the windows (B, T, D) hold that they begin from, and then the harm."""
    real = recorded(model, batch, z)
    errors = [miscount(dreamed(model, batch, z, Dials(each), seed), real) for each in TEMPERATURES]
    best = int(np.argmin(errors))
    temperature = TEMPERATURES[best] if math.isfinite(errors[best]) else 1.0
    if real.lost < LEAST_LOST:
        return Dials(temperature)
    lost = [dreamed(model, batch, z, Dials(temperature, each), seed).lost for each in HARMS]
    return Dials(temperature, HARMS[int(np.argmin([log_ratio(each, real.lost) for each in lost]))])


def recorded(model: TrainingModel, batch: Batch, z: Tensor) -> Counts:
    """What the windows hold after their context."""
    at = [CONTEXT - 1 + steps for steps in COUNTED_AFTER]
    valid = batch.valid[:, CONTEXT - 1 : CONTEXT - 1 + COUNTED_AFTER[-1]]
    after = slice(CONTEXT - 1, CONTEXT - 1 + COUNTED_AFTER[-1])
    fallen = (batch.variables[:, after, HEALTH] - batch.next_variables[:, after, HEALTH]).clamp(min=0)
    return Counts(
        cells=[cells_by_class(model.object_head(z[:, step]), batch.valid[:, step]) for step in at],
        ends=float((batch.terminated[:, after] * valid).sum()),
        lost=float((fallen * valid).sum()),
    )


def dreamed(model: TrainingModel, batch: Batch, z: Tensor, dials: Dials, seed: int) -> Counts:
    """What dreams hold that begin from windows (B, T, D), with equal chances whatever the dials.

    Counted is where the window has steps: both then see the same actions.
    """
    cells = []
    ends = lost = 0.0
    alive = torch.ones(len(z))
    health = batch.variables[:, CONTEXT - 1, HEALTH]
    for step, (state, continues) in enumerate(dreams(model, batch, z, dials, seed), 1):
        here = CONTEXT - 1 + step
        counts = alive * batch.valid[:, here - 1]
        ends += float((counts * (1 - continues)).sum())
        lost += float((counts * (health - state.variables[:, HEALTH]).clamp(min=0)).sum())
        health = state.variables[:, HEALTH]
        alive = alive * continues
        if step in COUNTED_AFTER:
            cells.append(cells_by_class(model.object_head(state.z), batch.valid[:, here]))
    return Counts(cells, ends, lost)


def dreams(
    model: TrainingModel, batch: Batch, z: Tensor, dials: Dials, seed: int
) -> Iterator[tuple[DreamState, Tensor]]:
    """Dreams after each of their steps, and the probabilities (B,) that they go on."""
    world_model = model.world_model
    dynamics = world_model.dynamics
    # Dials are those of the model itself, whatever its configuration says so far.
    known = len(world_model.config.scenarios)
    dynamics.set_dials((dials.temperature,) * known, (dials.harm,) * known, ())
    generator = torch.Generator().manual_seed(seed)
    state = world_model.prefill(
        z[:, :CONTEXT], batch.actions[:, : CONTEXT - 1], batch.variables[:, :CONTEXT], batch.scenario, batch.elapsed
    )
    state = world_model.with_dropout(state, generator)
    for step in range(1, COUNTED_AFTER[-1] + 1):
        action = batch.actions[:, CONTEXT + step - 2]
        state, _, continues = world_model.imagine(state, action, generator=generator)
        yield state, continues


def cells_by_class(logits: Tensor, valid: Tensor | None = None) -> list[int]:
    """How many cells of all states hold objects of each class.

    Args:
        logits: (B, 576).
        valid: which states count, 0/1 (B,); None: all.
    """
    cells = logits.unflatten(1, OBJECT_MAP_SHAPE) > 0
    if valid is not None:
        cells = cells[valid > 0]
    return cells.sum((0, 2, 3)).tolist()


def miscount(dream: Counts, real: Counts) -> float:
    """Mean |log ratio| of objects (over horizons and classes), endings and lost health.

    What the game shows too little of is left out; infinite where that is all.
    """
    pairs = [
        (in_dream, in_game)
        for of_dream, of_game in zip(dream.cells, real.cells, strict=True)
        for in_dream, in_game in zip(of_dream, of_game, strict=True)
        if in_game >= LEAST_CELLS
    ]
    errors = [float(np.mean([log_ratio(*pair) for pair in pairs]))] if pairs else []
    errors += [log_ratio(dream.ends, real.ends)] if real.ends >= LEAST_ENDS else []
    errors += [log_ratio(dream.lost, real.lost)] if real.lost >= LEAST_LOST else []
    return float(np.mean(errors)) if errors else math.inf


def log_ratio(found: float, expected: float) -> float:
    """|log ratio| of two counts."""
    return abs(math.log((found + 1) / (expected + 1)))
