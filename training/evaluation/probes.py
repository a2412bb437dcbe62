"""Linear probes: what can be read off the features at a glance, now and after some dreamed steps.

A probe is fitted on one split and scored on another. What the probes look for (where the player stands, whether a
projectile flies, …) is known from the recorded data alone; the model was never told at play.

Legend: N rows of the data, B chosen rows, F features, K values of a target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.world_model import WorldModel
from training.data.annotations import item_ahead
from training.data.dataset import Dataset
from training.evaluation.held_out import HeldOut
from training.evaluation.open_loop import DREAMS, ENOUGH, Rows, Scores, open_loop, open_loop_rows
from training.metrics import auc, r2

HORIZON = 8  # dreamed steps
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

# A target counts in a scenario when at least this share and number of rows have it, and others have not.
LEAST_SHARE = 0.01
LEAST_COUNT = 30
# Least standard deviation of what is regressed: one player's radius (map units), 6° of sine and cosine, 1/40 of the
# picture.
LEAST_SPREAD = {"position_x_r2": 16.0, "position_y_r2": 16.0, "angle_r2": 0.1, "projectile_offset_r2": 0.05}
# Each map has its own coordinates, so free play has a probe of the pose for each.
PER_PLACE = ("position_x_r2", "position_y_r2", "angle_r2")

Floats = npt.NDArray[np.floating]
Targets = dict[str, Floats]  # name → values (B, K), NaN where undefined; names in `_auc` are 0/1 labels
Places = npt.NDArray[np.str_]  # place of every row (B,)


# ---- a probe ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearProbe:
    """A linear map of standardised features: x (B, F) → ((x − mean) / sd) · weight (F, K) + bias (K,)."""

    mean: Tensor
    sd: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Read x (B, F); returns (B, K)."""
        return ((x.double() - self.mean) / self.sd) @ self.weight + self.bias


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.std(0).clamp(min=1e-4)


def _ridge(x: Tensor, y: Tensor, strength: float) -> LinearProbe:
    mean, sd = _moments(x)
    scaled = (x - mean) / sd
    bias = y.mean(0)
    gram = scaled.T @ scaled / len(x) + strength * torch.eye(x.shape[1], dtype=torch.float64)
    return LinearProbe(mean, sd, torch.linalg.solve(gram, scaled.T @ (y - bias) / len(x)), bias)


def fit_ridge(x: Tensor, y: Tensor) -> LinearProbe:
    """Ridge regression of y (B, K) on x (B, F).

    The strength is the one of `RIDGES` that does best on the last fifth of the rows.
    """
    x = x.double()
    y = y.double()
    kept = len(x) * 4 // 5
    held_out = {strength: r2(_ridge(x[:kept], y[:kept], strength)(x[kept:]), y[kept:]) for strength in RIDGES}
    return _ridge(x, y, max(RIDGES, key=lambda strength: held_out[strength]))


def fit_logistic(x: Tensor, y: Tensor, ridge: float = 1e-3) -> LinearProbe:
    """Logistic regression of labels y (B, 1), 0/1, on x (B, F) by L-BFGS with a small ridge."""
    mean, sd = _moments(x.double())
    scaled = ((x.double() - mean) / sd).float()
    labels = y[:, 0].float()
    weight = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = scaled @ weight[:-1] + weight[-1]
        value = F.binary_cross_entropy_with_logits(logits, labels) + ridge * weight[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    found = weight.detach().double()
    return LinearProbe(mean, sd, found[:-1, None], found[-1:])


# ---- what is looked for ----------------------------------------------------------------------------------------------


def probe_targets(data: Dataset, rows: Rows) -> Targets:
    """What the probes look for at `rows` (B,)."""
    angle = np.deg2rad(data.pose[rows, 3])
    offset = data.projectile[rows, :1]  # −1 left edge … 1 right edge
    return {
        "position_x_r2": data.pose[rows, :1],
        "position_y_r2": data.pose[rows, 1:2],
        "angle_r2": np.stack([np.sin(angle), np.cos(angle)], 1),
        "projectile_auc": np.isfinite(offset).astype(float),
        "projectile_offset_r2": offset,
        "crosshair_auc": data.crosshair[rows, None].astype(float),
        "item_ahead_auc": item_ahead(data.object_maps[rows])[:, None].astype(float),
    }


def varies(name: str, values: Floats) -> bool:
    """Does a target (B, K) vary enough to fit or score a probe?"""
    known = values[np.isfinite(values).all(1)]
    least = max(LEAST_COUNT, LEAST_SHARE * len(values))
    if len(known) < least:
        return False
    if name.endswith("_auc"):
        return bool(least <= known.sum() <= len(known) - least)
    return bool(known.var(0).sum() ** 0.5 >= LEAST_SPREAD[name])


def known_rows(name: str, values: Floats, places: Places) -> Iterator[tuple[str, Rows]]:
    """For each place that has a probe of its own for a target (B, K), the rows where the target is known.

    Only where it varies enough; the place is "" if one probe serves all.
    """
    known = np.isfinite(values).all(1)
    for place in np.unique(places) if name in PER_PLACE else [""]:
        here = np.ones(len(values), bool) if place == "" else places == place
        if varies(name, values[here]):
            yield str(place), np.flatnonzero(here & known)


# ---- fitting and scoring ---------------------------------------------------------------------------------------------

Probes = dict[str, dict[str, LinearProbe]]  # target → place ("" for all) → probe


def fit_probes(x: Tensor, targets: Targets, places: Places) -> Probes:
    """Probes on features x (B, F) for every target that varies."""
    probes: Probes = {}
    for name, values in targets.items():
        fit = fit_logistic if name.endswith("_auc") else fit_ridge
        probes[name] = {
            place: fit(x[torch.from_numpy(rows)], torch.from_numpy(values[rows]))
            for place, rows in known_rows(name, values, places)
        }
    return probes


def score_probes(probes: Probes, x: Tensor, targets: Targets, places: Places) -> Scores:
    """AUC or R² of fitted probes on features x (B, F), where the target varies there too.

    Within places, pooled over them: what counts is where on a map the player is, not which map it is.
    """
    scores: Scores = {}
    for name, values in targets.items():
        is_label = name.endswith("_auc")
        read = []
        true = []
        for place, rows in known_rows(name, values, places):
            if place not in probes[name]:
                continue
            centre = 0.0 if is_label else values[rows].mean(0)
            read.append(probes[name][place](x[torch.from_numpy(rows)]) - torch.as_tensor(centre))
            true.append(torch.from_numpy(values[rows] - centre).double())
        if not read:
            continue
        if is_label:
            scores[name] = auc(torch.cat(read)[:, 0], torch.cat(true)[:, 0])
        else:
            scores[name] = r2(torch.cat(read), torch.cat(true))
    return scores


@dataclass(frozen=True)
class ProbedRows:
    """Features of some rows, real or dreamed, and what probes are to read off them."""

    x: Tensor  # (B, F)
    targets: Targets
    places: Places

    def fit(self) -> Probes:
        """Probes fitted here."""
        return fit_probes(self.x, self.targets, self.places)

    def score(self, probes: Probes) -> Scores:
        """What probes score here."""
        return score_probes(probes, self.x, self.targets, self.places)


def real_rows(split: HeldOut, scenario: int) -> ProbedRows:
    """All rows of a scenario."""
    data = split.data
    rows = np.flatnonzero(data.scenario == scenario)
    return ProbedRows(split.features[rows], probe_targets(data, rows), data.place_names[rows])


def dreamed_rows(model: WorldModel, split: HeldOut, scenario: int, rng: np.random.Generator) -> ProbedRows | None:
    """Dreams `HORIZON` open-loop steps on, with what was really there; None where too few episodes are that long."""
    data = split.data
    rows = open_loop_rows(data, scenario, HORIZON, 2 * DREAMS, rng)
    if len(rows) < ENOUGH:
        return None
    *_, (_, state, _) = open_loop(model, data, split.z, rows, HORIZON)
    return ProbedRows(model.features(state), probe_targets(data, rows + HORIZON), data.place_names[rows])


def probe_scores(model: WorldModel, fit: HeldOut, test: HeldOut, scenario: int, rng: np.random.Generator) -> Scores:
    """Probes fitted on the split `fit` and scored on `test`, now and `HORIZON` steps into the dream.

    `_after_8` reads dreamed features with the probe of real ones; `_after_8_refit` with a probe that was fitted on
    dreamed features.
    """
    probes = real_rows(fit, scenario).fit()
    scores = real_rows(test, scenario).score(probes)
    fit_dreams = dreamed_rows(model, fit, scenario, rng)
    test_dreams = dreamed_rows(model, test, scenario, rng)
    if fit_dreams is None or test_dreams is None:
        return scores
    suffix = f"_after_{HORIZON}"
    scores |= {f"{name}{suffix}": value for name, value in test_dreams.score(probes).items()}
    scores |= {f"{name}{suffix}_refit": value for name, value in test_dreams.score(fit_dreams.fit()).items()}
    return scores
