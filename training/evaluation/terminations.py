"""Terminations: does the model know which steps end an episode, and is the probability that it gives them calibrated?

Legend: N rows of the data, B chosen rows, E trunk width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.evaluation.open_loop import Rows, Scores
from training.metrics import auc

FALSE_ALARMS = 0.005  # share of uneventful steps above the threshold of an alarm
GROUPS = 10  # of the calibration
AT_ONCE = 512  # rows

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


@torch.inference_mode()
def termination_risk(model: WorldModel, data: Dataset, h: Tensor, rows: Rows) -> Floats:
    """Predicted probability that the recorded action ends the episode, (B,).

    Args:
        model: who predicts.
        data: recorded steps.
        h: trunk features of all rows, (N, E).
        rows: which rows, (B,).
    """
    parts = [
        model.dynamics.termination_probability(
            h[part],
            torch.from_numpy(data.actions[part]).float(),
            torch.from_numpy(data.variables[part]),
            torch.from_numpy(data.scenario[part]),
        )
        for part in np.array_split(rows, len(rows) // AT_ONCE + 1)
    ]
    return torch.cat(parts).numpy()


def risk_calibration(risk: Floats, ended: Mask, groups: int = GROUPS) -> tuple[Floats, Floats]:
    """Predicted and observed terminations in groups of steps that share the predicted ones equally.

    Almost all steps have almost no risk, so groups of equally many steps would say nothing: from the safest step to the
    riskiest, a group ends when it holds its tenth of the total risk. Groups that stay empty (one step can hold several
    tenths) are left out.

    Args:
        risk: predicted probability that a step ends the episode, (B,).
        ended: did it, (B,).
        groups: how many.

    Returns:
        predicted and observed terminations, each (groups,) or shorter, from the safest group to the riskiest.
    """
    order = np.argsort(risk, kind="stable")
    sorted_risk = risk[order].astype(float)
    middle = (sorted_risk.cumsum() - sorted_risk / 2) / max(sorted_risk.sum(), 1e-12)
    group = np.minimum((middle * groups).astype(int), groups - 1)
    size = np.bincount(group, minlength=groups)
    predicted: Floats = np.bincount(group, sorted_risk, groups).astype(float)
    observed: Floats = np.bincount(group, ended[order].astype(float), groups).astype(float)
    return predicted[size > 0], observed[size > 0]


def termination_scores(model: WorldModel, data: Dataset, h: Tensor, rows: Rows) -> Scores:
    """How well the risk of `rows` (B,) finds the steps that end an episode, and how well it is calibrated.

    A termination is called a death in the figures' names, though a goal reached is one too. A ratio of predicted to
    observed terminations counts a group that has none as if it had one.
    """
    risk = termination_risk(model, data, h, rows)
    ended = data.terminated[rows]
    predicted, observed = risk_calibration(risk, ended)
    ratios = predicted / np.maximum(observed, 1)
    scores: Scores = {
        "deaths": int(ended.sum()),
        "death_auc": auc(torch.from_numpy(risk), torch.from_numpy(ended)),
        "predicted_over_observed_deaths": float(risk.sum() / max(ended.sum(), 1)),
        "risk_predicted": predicted.tolist(),
        "risk_observed": observed.tolist(),
        "risk_ratios": ratios.tolist(),
        "risk_ratio_min": float(ratios.min()),
        "risk_ratio_max": float(ratios.max()),
    }
    return scores | recall_scores(data, rows, risk)


def recall_scores(data: Dataset, rows: Rows, risk: Floats) -> Scores:
    """Share of terminations that were alarms, where `FALSE_ALARMS` of the uneventful steps are alarms too.

    `death_recall`: an alarm in the last step or the one before counts, because a blow lands a step early or late in a
    prediction without being wrong; `death_recall_exact_step`: only one in the last step.

    Args:
        data: recorded steps.
        rows: which rows, (B,).
        risk: of each, (B,).
    """
    deaths = rows[data.terminated[rows]]
    before = np.maximum(deaths - 1, data.first[deaths])
    quiet = np.setdiff1d(rows, np.r_[deaths, before])
    if not (len(deaths) and len(quiet)):
        return {}
    risk_of = np.zeros(len(data))
    risk_of[rows] = risk
    case = np.maximum(risk_of[deaths], risk_of[before])
    threshold = np.quantile(risk_of[quiet], 1 - FALSE_ALARMS)
    strict_threshold = np.quantile(risk_of[np.setdiff1d(rows, deaths)], 1 - FALSE_ALARMS)
    return {
        "death_recall": float((case > threshold).mean()),
        "death_recall_exact_step": float((risk_of[deaths] > strict_threshold).mean()),
    }
