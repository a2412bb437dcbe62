"""Rewards and game variables of open-loop dreams against the recorded ones.

Legend: N rows of the data, B dreams, D state width, V variables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.evaluation.open_loop import DREAMS, ENOUGH, Rows, Scores, open_loop, open_loop_rows
from training.metrics import correlation

HORIZONS = (1, 16)
SAME = 0.5  # variables are whole numbers: two that differ by less are the same

Floats = npt.NDArray[np.floating]


def outcome_scores(model: WorldModel, data: Dataset, z: Tensor, scenario: int, rng: np.random.Generator) -> Scores:
    """Rewards and game variables, after 1 and after 16 open-loop steps (last steps of episodes included).

    Which figures there are: `reward_scores` and, for every variable that the scenario has and that changes,
    `change_scores`.
    """
    mask = get_scenario(model.config.scenarios[scenario]).variable_mask()
    scores: Scores = {}
    for ahead in HORIZONS:
        count = 2 * DREAMS if ahead == 1 else DREAMS  # of single steps there are enough
        rows = open_loop_rows(data, scenario, ahead - 1, count, rng)
        if len(rows) < ENOUGH:
            continue
        reward, likely = dreamed_outcome(model, data, z, rows, ahead)
        _, sampled = dreamed_outcome(model, data, z, rows, ahead, temperature=1.0)
        true = data.next_variables[rows + ahead - 1] - data.variables[rows]
        scores |= reward_scores(ahead, reward, data.rewards[rows[:, None] + np.arange(ahead)].sum(1))
        for index, name in enumerate(model.config.variables):
            if mask[index] and np.ptp(true[:, index]):
                scores |= change_scores(name.lower(), ahead, likely[:, index], sampled[:, index], true[:, index])
    return scores


def dreamed_outcome(
    model: WorldModel, data: Dataset, z: Tensor, rows: Rows, ahead: int, temperature: float = 0.0
) -> tuple[Floats, Floats]:
    """Sum of expected rewards (B,) and change of the variables (B, V) over `ahead` dreamed steps from `rows` (B,)."""
    reward = np.zeros(len(rows))
    change = np.zeros_like(data.variables[rows])
    for _, state, expected in open_loop(model, data, z, rows, ahead, temperature=temperature):
        reward = reward + expected.numpy()
        change = state.variables.numpy() - data.variables[rows]
    return reward, change


def reward_scores(ahead: int, dreamed: Floats, true: Floats) -> Scores:
    """Of sums of rewards (B,) over `ahead` steps: mean absolute error, that of always saying the mean, correlation."""
    return {
        f"reward_mae_{ahead}": float(np.abs(dreamed - true).mean()),
        f"reward_mae_{ahead}_mean": float(np.abs(true - true.mean()).mean()),
        f"reward_correlation_{ahead}": correlation(dreamed, true),
    }


def change_scores(name: str, ahead: int, likely: Floats, sampled: Floats, true: Floats) -> Scores:
    """Of the changes (B,) of one variable over `ahead` steps.

    `…_accuracy`: share of dreams with exactly the true change (temperature 0); `…_unchanged`: share in which nothing
    changed, which saying "no change" would score; `…_change` and `…_true`: mean change, dreamed at temperature 1 and
    real.
    """
    return {
        f"{name}_accuracy_{ahead}": float((np.abs(likely - true) < SAME).mean()),
        f"{name}_unchanged_{ahead}": float((np.abs(true) < SAME).mean()),
        f"{name}_change_{ahead}": float(sampled.mean()),
        f"{name}_change_{ahead}_true": float(true.mean()),
    }
