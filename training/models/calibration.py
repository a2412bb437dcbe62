"""At which temperature do dreams hold as many objects as the game?

A prior that is a little too wide makes fireballs from nothing, step after step; one that is too sure forgets those that
fly. Likelihood does not notice: cells with objects are few. So the temperature of each scenario is set by counting.

Legend: B dreams, D state width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from training.data.annotations import OBJECT_MAP_SHAPE
from training.data.batch import Batch, make_batch
from training.data.dataset import Dataset
from training.models.training_model import TrainingModel

TEMPERATURES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
CONTEXT = 12  # real steps before a dream
COUNTED_AFTER = (4, 8, 16, 26)  # dreamed steps
DREAMS = 300
LEAST_CELLS = 30  # with an object; fewer say nothing


@torch.inference_mode()
def calibrated_temperatures(model: TrainingModel, data: Dataset, states: Tensor, seed: int) -> tuple[float, ...]:
    """The temperature of each scenario at which counts of objects are nearest to the game's.

    Args:
        model: who dreams, and the head that reads object maps off states.
        data: recorded steps.
        states: of all rows, (N, D).
        seed: of the windows and of the dreams.
    """
    longest = CONTEXT + COUNTED_AFTER[-1]
    windows = data.windows(longest)
    found = []
    for scenario in range(len(data.names)):
        rows = windows[data.scenario[windows] == scenario]
        if not len(rows):
            found.append(1.0)
            continue
        some = np.random.default_rng((seed, scenario)).permutation(rows)[:DREAMS]
        batch = make_batch(data, some, longest, torch.device("cpu"), frames=False)
        found.append(best_temperature(model, batch, states[batch.rows].float(), seed))
    return tuple(found)


def best_temperature(model: TrainingModel, batch: Batch, z: Tensor, seed: int) -> float:
    """The temperature at which dreams hold as many objects as the windows (B, T, D) from which they begin."""
    real = object_counts(model, (z[:, CONTEXT - 1 + steps] for steps in COUNTED_AFTER))
    errors = [miscount(object_counts(model, dreams(model, batch, z, each, seed)), real) for each in TEMPERATURES]
    best = int(np.argmin(errors))
    return TEMPERATURES[best] if math.isfinite(errors[best]) else 1.0


def dreams(model: TrainingModel, batch: Batch, z: Tensor, temperature: float, seed: int) -> Iterator[Tensor]:
    """States (B, D) of dreams after each of `COUNTED_AFTER` steps, with equal chances at every temperature."""
    world_model = model.world_model
    generator = torch.Generator().manual_seed(seed)
    state = world_model.prefill(
        z[:, :CONTEXT], batch.actions[:, : CONTEXT - 1], batch.variables[:, :CONTEXT], batch.scenario, batch.elapsed
    )
    state = world_model.with_dropout(state, generator)
    # The temperature is that of the codes themselves, whatever the configuration says so far.
    unit = world_model.dynamics.temperatures[batch.scenario[0]].item()
    for step in range(1, COUNTED_AFTER[-1] + 1):
        action = batch.actions[:, CONTEXT + step - 2]
        state, _, _ = world_model.imagine(state, action, temperature / unit, generator)
        if step in COUNTED_AFTER:
            yield state.z


def object_counts(model: TrainingModel, states: Iterator[Tensor]) -> list[list[int]]:
    """Cells with objects of each class in each of some batches of states (B, D)."""
    return [cells_by_class(model.object_head(z)) for z in states]


def cells_by_class(logits: Tensor) -> list[int]:
    """How many cells of all states hold objects of each class, from logits (B, 576)."""
    return (logits.unflatten(1, OBJECT_MAP_SHAPE) > 0).sum((0, 2, 3)).tolist()


def miscount(dreamed: list[list[int]], real: list[list[int]]) -> float:
    """Mean |log ratio| of counts over horizons and classes; infinite where the game shows too little to count."""
    pairs = [
        (in_dream, in_game)
        for of_dream, of_game in zip(dreamed, real, strict=True)
        for in_dream, in_game in zip(of_dream, of_game, strict=True)
        if in_game >= LEAST_CELLS
    ]
    if not pairs:
        return math.inf
    return float(np.mean([abs(math.log((in_dream + 1) / (in_game + 1))) for in_dream, in_game in pairs]))
