"""Open-loop prediction: dream on from real steps under the recorded actions, and compare with what really followed.

A dream begins after `CONTEXT` real steps in the middle of an episode. What cannot be had, because episodes are too
short, is left out.

Legend: N rows of the data, B chosen rows, D state width, E trunk width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from doom_dream_env.world_model import DreamState, WorldModel
from training.data.batch import make_batch
from training.data.dataset import Dataset
from training.metrics import skill

Scores = dict[str, Any]  # figure → value: a number, or a list of them
Rows = npt.NDArray[np.int64]

CONTEXT = 12  # real steps before a dream
HORIZONS = (1, 4, 8, 16)
DREAMS = 400  # per figure
ENOUGH = 8  # fewer dreams than this say nothing
COMPARED_STEPS = 40  # of cached stepping with a full pass


def open_loop_rows(data: Dataset, scenario: int, ahead: int, count: int, rng: np.random.Generator) -> Rows:
    """Last real rows of dreams: in order, with `CONTEXT` rows of the same episode before them and `ahead` after them.

    Args:
        data: recorded steps.
        scenario: index of the scenario.
        ahead: how many steps will be dreamed.
        count: at most so many rows.
        rng: draws them.
    """
    at = np.arange(len(data))
    rows = np.flatnonzero((data.scenario == scenario) & (at - data.first >= CONTEXT) & (at + ahead <= data.last))
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False))


def rows_of_longest_horizon(
    data: Dataset, scenario: int, horizons: Sequence[int], count: int, rng: np.random.Generator
) -> tuple[Rows, int]:
    """Rows (B,) for the longest horizon that episodes of this scenario have, and that horizon; 0 if none fits."""
    for ahead in sorted(horizons, reverse=True):
        rows = open_loop_rows(data, scenario, ahead, count, rng)
        if len(rows) >= ENOUGH:
            return rows, ahead
    return rows, 0


@torch.inference_mode()
def open_loop(
    model: WorldModel,
    data: Dataset,
    z: Tensor,
    rows: Rows,
    ahead: int,
    order: Rows | None = None,
    temperature: float = 0.0,
) -> Iterator[tuple[int, DreamState, Tensor]]:
    """Dream on from real steps up to and including `rows` (B,).

    Args:
        model: who dreams.
        data: where the rows are.
        z: states of all rows (N, D).
        rows: last real rows.
        ahead: how many steps to dream; 0: none.
        order: permutation (B,) of the actions among the dreams; None: every dream has its own.
        temperature: as for `WorldModel.imagine`.

    Yields:
        steps dreamed so far, the dreams, expected reward (B,) of the newest step.
    """
    if not ahead:
        return
    if order is None:
        order = np.arange(len(rows))
    window = (rows - CONTEXT + 1)[:, None] + np.arange(CONTEXT)  # B, CONTEXT
    state = model.prefill(
        z[torch.from_numpy(window)],
        torch.from_numpy(data.actions[window[:, :-1]]).float(),
        torch.from_numpy(data.variables[window]),
        torch.from_numpy(data.scenario[rows]),
        torch.from_numpy(data.elapsed[window[:, 0]]),
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(1, ahead + 1):
        action = torch.from_numpy(data.actions[rows + step - 1][order]).float()
        state, reward, _ = model.imagine(state, action, temperature, generator)
        yield step, state, reward


def skill_scores(model: WorldModel, data: Dataset, z: Tensor, scenario: int, rng: np.random.Generator) -> Scores:
    """Latent skill by horizon, with the true actions and (`…_shuffled`) with those of other dreams.

    Skill is 1 − |ẑ − z|² / |z₀ − z|²: 1 is a perfect prediction of the state, 0 no better than "nothing changes". What
    shuffled actions lose shows how much the prediction depends on the actions.
    """
    rows, ahead = rows_of_longest_horizon(data, scenario, HORIZONS, DREAMS, rng)
    scores: Scores = {}
    for suffix, order in (("", None), ("_shuffled", rng.permutation(len(rows)))):
        for step, state, _ in open_loop(model, data, z, rows, ahead, order):
            if step in HORIZONS:
                scores[f"skill_{step}{suffix}"] = skill(state.z, z[rows + step], z[rows])
    return scores


@torch.inference_mode()
def stepping_difference(model: WorldModel, data: Dataset, z: Tensor) -> float:
    """Largest difference of trunk features between a full pass and cached stepping, float32.

    Over `COMPARED_STEPS` steps of the longest episode. Both are to be the same computation: training sees whole
    windows, a dream goes step by step.
    """
    row = int(data.first[np.argmax(data.last - data.first)])
    length = min(COMPARED_STEPS, int(data.last[row]) - row + 1)
    batch = make_batch(data, np.array([row]), length, torch.device("cpu"), frames=False)
    states = z[row : row + length][None]
    begins = bool(batch.elapsed[0] == 0)
    # An episode that was not recorded from its beginning: stepping does not know how long it has lasted, so neither may
    # the full pass.
    elapsed = batch.elapsed if begins else torch.full_like(batch.elapsed, -1)
    tokens = model.tokens(states, batch.actions[:, :-1], batch.variables, batch.scenario, elapsed)
    full = model.trunk(tokens)  # 1, length, E
    state = model.begin(states[:, 0], batch.variables[:, 0], batch.scenario, begins)
    worst = 0.0
    for t in range(1, length):
        state = model.advance(state, states[:, t], batch.variables[:, t], batch.actions[:, t - 1])
        worst = max(worst, float((state.h - full[:, t]).abs().max()))
    return worst
