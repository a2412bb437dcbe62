"""What the weights know, measured on recorded data: prediction, probes, outcomes, deaths, pictures.

Every open-loop figure starts from `CONTEXT` real steps in the middle of an episode and dreams on with the actions that were
pressed, at temperature 0 unless it says otherwise. A figure that cannot be had (episodes too short, nothing to see) is left out.

Legend: N rows of the data, B chosen rows, D state width, E trunk width, F features, V variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from training.dataset import Dataset, item_ahead
from training.decoder import object_mask
from training.perceptual import Distance
from training.probes import LinearProbe, auc, fit_logistic, fit_ridge, r2
from training.world_model import embed_window, make_batch

HORIZONS = (1, 4, 8, 16)
PICTURE_HORIZONS = (1, 8, 16, 26)  # 26 steps are three seconds
PROBE_HORIZON = 8
CONTEXT = 12  # real steps before a dream
ROWS = 400  # dreams per figure
PICTURES = 96  # dreams that are decoded
PERCEPTUAL = 48  # pictures whose perceptual distance is taken: it costs more than all else
ENOUGH = 8  # fewer dreams than this say nothing
FALSE_ALARMS = 0.005

Scores = dict[str, Any]


def load_split(model: WorldModel, root: Path, scenarios: Sequence[str], split: str, limit: int | None) -> Dataset:
    """A split of the data whose `scenario` counts worlds as the model does."""
    data = Dataset(root, scenarios, split, limit)
    data.scenario = np.array([model.config.scenarios.index(name) for name in data.names])[data.scenario]
    return data


@torch.inference_mode()
def encode_all(model: WorldModel, data: Dataset) -> Tensor:
    """States of every row, (N, D)."""
    parts = []
    with tqdm(total=len(data), desc="encode", unit="frame", leave=False) as bar:
        for rows in np.array_split(np.arange(len(data)), len(data) // 256 + 1):
            parts.append(model.encode(data.frames(rows)[None])[0])
            bar.update(len(rows))
    return torch.cat(parts)


@torch.inference_mode()
def trunk_all(model: WorldModel, data: Dataset, z: Tensor) -> Tensor:
    """Trunk features of every row given its whole episode so far, (N, E)."""
    h = torch.zeros(len(data), model.config.trunk_width)
    for first in tqdm(np.unique(data.first), desc="trunk", unit="episode", leave=False):
        last = int(data.last[first])
        batch = make_batch(data, np.array([first]), last - int(first) + 1, torch.device("cpu"), frames=False)
        h[first : last + 1] = model.trunk(embed_window(model, z[first : last + 1][None], batch, batch.scenario))[0]
    return h


def features_all(model: WorldModel, data: Dataset, z: Tensor, h: Tensor) -> Tensor:
    """What an agent sees at every row, (N, F)."""
    none = z.new_zeros(len(z), 0)
    return model.features(DreamState(z, h, torch.from_numpy(data.variables), torch.from_numpy(data.scenario), none, none, none))


# ---- open loop -----------------------------------------------------------------------------------------------------------


def open_loop_rows(data: Dataset, world: int, ahead: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` rows of a world, in order, with `CONTEXT` rows of the same episode before them and `ahead` after them."""
    at = np.arange(len(data))
    rows = np.flatnonzero((data.scenario == world) & (at - data.first >= CONTEXT) & (at + ahead <= data.last))
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False))


def longest(data: Dataset, world: int, horizons: Sequence[int], count: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Rows (B,) for the longest horizon that episodes of this world have, and that horizon; 0 if none fits."""
    for ahead in sorted(horizons, reverse=True):
        rows = open_loop_rows(data, world, ahead, count, rng)
        if len(rows) >= ENOUGH:
            return rows, ahead
    return rows, 0


@torch.inference_mode()
def open_loop(
    model: WorldModel, data: Dataset, z: Tensor, rows: np.ndarray, ahead: int, order: np.ndarray | None = None, temperature: float = 0.0
) -> Iterator[tuple[int, DreamState, Tensor]]:
    """Dream on from real steps up to and including `rows` (B,).

    Args:
        model: who dreams.
        data: where the rows are.
        z: states of all rows (N, D).
        rows: last real rows.
        ahead: how many steps to dream.
        order: permutation (B,) of the actions among the dreams; None: every dream has its own.
        temperature: as for `WorldModel.imagine`.

    Yields:
        steps dreamed so far, the dreams, expected reward (B,) of the newest step.
    """
    if not ahead:
        return
    order = np.arange(len(rows)) if order is None else order
    window = (rows - CONTEXT + 1)[:, None] + np.arange(CONTEXT)
    pressed, values = torch.from_numpy(data.actions[window[:, :-1]]).float(), torch.from_numpy(data.variables[window])
    age = torch.from_numpy(data.age[window[:, 0]])
    state = model.recall(z[torch.from_numpy(window)], pressed, values, torch.from_numpy(data.scenario[rows]), age)
    dice = torch.Generator().manual_seed(0)
    for step in range(1, ahead + 1):
        action = torch.from_numpy(data.actions[rows + step - 1][order]).float()
        state, reward, _ = model.imagine(state, action, temperature, dice)
        yield step, state, reward


def skill_scores(model: WorldModel, data: Dataset, z: Tensor, world: int, rng: np.random.Generator) -> Scores:
    """Latent skill 1 − |ẑ − z|² / |z₀ − z|² by horizon, with the true actions and with those of other dreams."""
    rows, ahead = longest(data, world, HORIZONS, ROWS, rng)
    scores: Scores = {}
    for suffix, order in (("", None), ("_shuffled", rng.permutation(len(rows)))):
        for step, state, _ in open_loop(model, data, z, rows, ahead, order):
            if step in HORIZONS:
                real = z[rows + step]
                scores[f"skill_{step}{suffix}"] = float(1 - (state.z - real).square().mean() / (z[rows] - real).square().mean())
    return scores


# ---- probes --------------------------------------------------------------------------------------------------------------

# A target counts in a world when at least this share and number of rows have it, and others have not.
LEAST_SHARE, LEAST_COUNT = 0.01, 30
# Least standard deviation of what is regressed: one player's radius (map units), 6° of sine and cosine, 1/40 of the picture.
LEAST_SPREAD = {"position_x_r2": 16.0, "position_y_r2": 16.0, "angle_r2": 0.1, "projectile_offset_r2": 0.05}


def probe_targets(data: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the probes look for at `rows` (B,): arrays (B, K), NaN where undefined; names in `_auc` are 0/1 labels."""
    angle = np.deg2rad(data.pose[rows, 3])
    offset = data.projectile[rows, :1]  # −1 left edge … 1 right edge
    return {
        "position_x_r2": data.pose[rows, :1],
        "position_y_r2": data.pose[rows, 1:2],
        "angle_r2": np.stack([np.sin(angle), np.cos(angle)], 1),
        "projectile_auc": np.isfinite(offset).astype(float),
        "projectile_offset_r2": offset,
        "crosshair_auc": data.crosshair[rows, None].astype(float),
        "item_ahead_auc": item_ahead(data.heat[rows])[:, None].astype(float),
    }


def varies(name: str, values: np.ndarray) -> bool:
    """Does a target (B, K) vary enough to fit or score a probe?"""
    known = values[np.isfinite(values).all(1)]
    least = max(LEAST_COUNT, LEAST_SHARE * len(values))
    if len(known) < least:
        return False
    if name.endswith("_auc"):
        return bool(least <= known.sum() <= len(known) - least)
    return bool(known.var(0).sum() ** 0.5 >= LEAST_SPREAD[name])


# Each map has its own coordinates, so free play has a probe of the pose for each.
PER_PLACE = ("position_x_r2", "position_y_r2", "angle_r2")

Probes = dict[str, dict[str, LinearProbe]]  # target → place ("" for all) → probe


def known_rows(name: str, values: np.ndarray, places: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Per place that a target (B, K) has a probe for, the rows where it is known; only where it varies enough."""
    known = np.isfinite(values).all(1)
    for place in np.unique(places) if name in PER_PLACE else [""]:
        here = np.ones(len(values), bool) if place == "" else places == place
        if varies(name, values[here]):
            yield str(place), np.flatnonzero(here & known)


def fit_probes(x: Tensor, targets: dict[str, np.ndarray], places: np.ndarray) -> Probes:
    """Probes on features x (B, F), rows at `places` (B,), for every target that varies."""
    return {
        name: {
            place: (fit_logistic if name.endswith("_auc") else fit_ridge)(x[torch.from_numpy(rows)], torch.from_numpy(values[rows]))
            for place, rows in known_rows(name, values, places)
        }
        for name, values in targets.items()
    }


def score_probes(probes: Probes, x: Tensor, targets: dict[str, np.ndarray], places: np.ndarray) -> dict[str, float]:
    """AUC or R² (within places, pooled over them) of fitted probes on features x (B, F), where the target varies there too."""
    scores = {}
    for name, values in targets.items():
        read, true = [], []
        for place, rows in known_rows(name, values, places):
            if place in probes[name]:
                centre = 0.0 if name.endswith("_auc") else values[rows].mean(0)
                read.append(probes[name][place](x[torch.from_numpy(rows)]) - torch.as_tensor(centre))
                true.append(torch.from_numpy(values[rows] - centre).double())
        if read:
            both = torch.cat(read), torch.cat(true)
            scores[name] = auc(both[0][:, 0], both[1][:, 0]) if name.endswith("_auc") else r2(*both)
    return scores


def probe_scores(
    model: WorldModel, fit: Dataset, fit_z: Tensor, fit_x: Tensor, test: Dataset, z: Tensor, x: Tensor, world: int, rng: np.random.Generator
) -> Scores:
    """Probes fitted on the split `fit` and scored on `test`, now and `PROBE_HORIZON` steps into the dream.

    `_after_8` reads dreamed features with the probe of real ones; `_after_8_refit` with a probe that was fitted on dreamed features.
    """

    def dreamed(data: Dataset, states: Tensor) -> tuple[Tensor, dict[str, np.ndarray], np.ndarray] | None:
        rows = open_loop_rows(data, world, PROBE_HORIZON, 2 * ROWS, rng)
        if len(rows) < ENOUGH:
            return None
        *_, (_, state, _) = open_loop(model, data, states, rows, PROBE_HORIZON)
        return model.features(state), probe_targets(data, rows + PROBE_HORIZON), data.starts[rows]

    fit_rows, rows = np.flatnonzero(fit.scenario == world), np.flatnonzero(test.scenario == world)
    probes = fit_probes(fit_x[fit_rows], probe_targets(fit, fit_rows), fit.starts[fit_rows])
    scores: Scores = score_probes(probes, x[rows], probe_targets(test, rows), test.starts[rows])
    fit_dream, dream = dreamed(fit, fit_z), dreamed(test, z)
    if fit_dream and dream:
        suffix = f"_after_{PROBE_HORIZON}"
        scores |= {f"{name}{suffix}": value for name, value in score_probes(probes, *dream).items()}
        scores |= {f"{name}{suffix}_refit": value for name, value in score_probes(fit_probes(*fit_dream), *dream).items()}
    return scores


# ---- rewards and game variables --------------------------------------------------------------------------------------------


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; NaN when one does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > 1e-6 else float("nan")


def outcome_scores(model: WorldModel, data: Dataset, z: Tensor, world: int, rng: np.random.Generator) -> Scores:
    """Rewards and game variables, after 1 and after 16 open-loop steps (last steps of episodes included).

    `reward_…`: of the sum of expected rewards over the horizon: mean absolute error, that of always saying the mean, correlation.
    For each variable that the world has and that changes: `…_accuracy`, share of dreams with exactly the true change (temperature 0);
    `…_unchanged`, share in which nothing changed, which saying "no change" would score; `…_change` and `…_change_true`, mean change
    dreamed at temperature 1 and real.
    """
    mask, scores = get_scenario(model.config.scenarios[world]).variable_mask(), {}
    for ahead in (1, 16):
        rows = open_loop_rows(data, world, ahead - 1, 2 * ROWS if ahead == 1 else ROWS, rng)
        if len(rows) < ENOUGH:
            continue
        reward, true_reward = np.zeros(len(rows)), data.rewards[rows[:, None] + np.arange(ahead)].sum(1)
        for _, state, expected in open_loop(model, data, z, rows, ahead):
            reward, likely = reward + expected.numpy(), state.variables.numpy() - data.variables[rows]
        *_, (_, sampled, _) = open_loop(model, data, z, rows, ahead, temperature=1.0)
        scores[f"reward_mae_{ahead}"] = float(np.abs(reward - true_reward).mean())
        scores[f"reward_mae_{ahead}_mean"] = float(np.abs(true_reward - true_reward.mean()).mean())
        scores[f"reward_correlation_{ahead}"] = correlation(reward, true_reward)
        true = data.next_variables[rows + ahead - 1] - data.variables[rows]
        drawn = sampled.variables.numpy() - data.variables[rows]
        for index, name in enumerate(variable.lower() for variable in model.config.variables):
            if mask[index] and np.ptp(true[:, index]):
                scores[f"{name}_accuracy_{ahead}"] = float((np.abs(likely - true)[:, index] < 0.5).mean())
                scores[f"{name}_unchanged_{ahead}"] = float((np.abs(true[:, index]) < 0.5).mean())
                scores[f"{name}_change_{ahead}"] = float(drawn[:, index].mean())
                scores[f"{name}_change_{ahead}_true"] = float(true[:, index].mean())
    return scores


# ---- deaths ----------------------------------------------------------------------------------------------------------------


def risk_calibration(risk: np.ndarray, ended: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and observed deaths in groups of steps that share the predicted deaths equally.

    Almost all steps have almost no risk, so groups of equally many steps would say nothing: from the safest step to the riskiest,
    a group ends when it holds its tenth of the total risk. Groups that stay empty (one step can hold several tenths) are left out.

    Args:
        risk: predicted probability that a step ends the episode, (N,).
        ended: did it, (N,).
        bins: number of groups.

    Returns:
        predicted and observed deaths, each (bins,) or shorter, from the safest group to the riskiest.
    """
    order = np.argsort(risk, kind="stable")
    sorted_risk = risk[order].astype(float)
    middle = (sorted_risk.cumsum() - sorted_risk / 2) / max(sorted_risk.sum(), 1e-12)
    group = np.minimum((middle * bins).astype(int), bins - 1)
    size, predicted, observed = (np.bincount(group, w, bins) for w in (None, sorted_risk, ended[order].astype(float)))
    return predicted[size > 0], observed[size > 0]


@torch.inference_mode()
def death_scores(model: WorldModel, data: Dataset, h: Tensor, rows: np.ndarray) -> Scores:
    """Recall of deaths (steps that terminate the episode) among `rows` (B,) at 0.5 % false alarms, and calibration.

    A step is an alarm when its risk, or that of the step before, is above the threshold; the last two steps of an episode
    that ends in death are one case, every other step may be a false alarm. A ratio of predicted to observed deaths counts a
    group without deaths as one death.
    """
    risk = torch.cat(
        [
            model.risk_from_features(
                h[part],
                torch.from_numpy(data.actions[part]).float(),
                torch.from_numpy(data.variables[part]),
                torch.from_numpy(data.scenario[part]),
            )
            for part in np.array_split(rows, len(rows) // 512 + 1)
        ]
    ).numpy()
    predicted, observed = risk_calibration(risk, data.terminated[rows])
    ratios = predicted / np.maximum(observed, 1)
    deaths = rows[data.terminated[rows]]
    scores: Scores = {
        "deaths": len(deaths),
        "death_auc": auc(torch.from_numpy(risk), torch.from_numpy(data.terminated[rows])),
        "predicted_over_observed_deaths": float(risk.sum() / max(len(deaths), 1)),
        "risk_predicted": predicted.tolist(),
        "risk_observed": observed.tolist(),
        "risk_ratios": ratios.tolist(),
        "risk_ratio_min": float(ratios.min()),
        "risk_ratio_max": float(ratios.max()),
    }
    before = np.maximum(deaths - 1, data.first[deaths])
    quiet = np.setdiff1d(rows, np.r_[deaths, before])
    if len(deaths) and len(quiet):
        full = np.zeros(len(data))
        full[rows] = risk
        case = np.maximum(full[deaths], full[before])
        scores["death_recall"] = float((case > np.quantile(full[quiet], 1 - FALSE_ALARMS)).mean())
        strict = np.quantile(full[np.setdiff1d(rows, deaths)], 1 - FALSE_ALARMS)
        scores["death_recall_exact_step"] = float((full[deaths] > strict).mean())
    return scores


# ---- pictures --------------------------------------------------------------------------------------------------------------


def psnr(error: Tensor) -> float:
    """Peak signal-to-noise ratio (dB) of a mean squared error in units of the full scale."""
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


@torch.inference_mode()
def picture_scores(
    model: WorldModel, data: Dataset, z: Tensor, world: int, distance: Distance | None, rng: np.random.Generator
) -> tuple[Scores, Tensor]:
    """PSNR and perceptual distance, decoded from real and from dreamed states, and a strip of pictures, real above decoded.

    `psnr_objects` and `psnr_elsewhere`: inside and outside the cells with objects. `…_8`: 8 open-loop steps on; `…_8_still`: what
    the last real frame, unchanged, would score.
    """

    def frames(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(data.frames(rows))

    def error(real: Tensor, picture: Tensor) -> Tensor:
        return ((real.float() - picture.float()) / 255).square().mean(-1)

    def compare(suffix: str, real: Tensor, picture: Tensor) -> None:
        scores[f"psnr{suffix}"] = psnr(error(real, picture).mean())
        if distance:
            scores[f"lpips{suffix}"] = distance(real[:PERCEPTUAL], picture[:PERCEPTUAL])

    scores: Scores = {}
    rows = np.flatnonzero(data.scenario == world)
    rows = rng.choice(rows, min(256, len(rows)), replace=False)
    real, decoded = frames(rows), torch.cat([model.decode(part) for part in z[rows].split(64)])
    compare("", real, decoded)
    mask, missed = object_mask(torch.from_numpy(data.heat[rows]).float())[:, 0], error(real, decoded)
    if mask.any():
        scores["psnr_objects"] = psnr((missed * mask).sum() / mask.sum())
    scores["psnr_elsewhere"] = psnr((missed * (1 - mask)).sum() / (1 - mask).sum().clamp(min=1))
    busy = torch.from_numpy(data.heat[rows]).sum((1, 2, 3)).float().argsort(descending=True)[:32:8]
    strip = torch.cat([torch.cat(list(real[busy]), 1), torch.cat(list(decoded[busy]), 1)], 0)

    rows, ahead = longest(data, world, PICTURE_HORIZONS, PICTURES, rng)
    for step, state, _ in open_loop(model, data, z, rows, ahead):
        if step in PICTURE_HORIZONS:
            later = frames(rows + step)
            compare(f"_{step}", later, model.decode(state))
            compare(f"_{step}_still", later, frames(rows))
    return scores, strip


# ---- the model itself --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def agreement(model: WorldModel, data: Dataset, z: Tensor) -> float:
    """Largest difference between a full pass and cached stepping over 40 steps, float32."""
    row = int(data.first[np.argmax(data.last - data.first)])
    length = min(40, int(data.last[row]) - row + 1)
    batch = make_batch(data, np.array([row]), length, torch.device("cpu"), frames=False)
    window = z[row : row + length][None]
    full = model.trunk(embed_window(model, window, batch, batch.scenario))
    state = model.begin(window[:, 0], batch.variables[:, 0], batch.scenario, bool(batch.age[0] == 0))
    known, worst = torch.tensor([[1.0, 0.0]]), 0.0
    for t in range(1, length):
        state = model._advance(state, window[:, t], batch.variables[:, t], batch.actions[:, t - 1], known)
        worst = max(worst, float((state.h - full[:, t]).abs().max()))
    return worst
