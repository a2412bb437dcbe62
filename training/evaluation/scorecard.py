"""The scorecard: what the weights know, measured on seeds that training never saw.

    python -m training collect --out data --split val --steps 10000
    python -m training collect --out data --split test --steps 10000
    python -m training scorecard --data data --weights nano

Writes scorecard.json, the model card README.md and pictures into the weights' folder (or --out). Every open-loop figure
dreams with the true actions at temperature 0; the probes are linear, fitted on the validation split and scored on the
test split. With --pictures it also measures what a player sees: do keys move the picture, does the gun flash, does it
look like DOOM after half a minute, and on its own pictures? docs/metrics.md defines every figure.

To add a figure: measure it in the module of its topic in this folder, in a function that returns a dict of keys and
values; merge that into `scenario_scores` (or `model_scores`, if it is one for all scenarios) below; and show it in a
row of `training.evaluation.card.card_tables`. Formulas are in `training.metrics`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.commands.benchmark import speed_scores
from doom_dream_env.errors import UserError, install_command
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import SCORECARD, find_weights, write_atomically
from doom_dream_env.world_model.flops import parameters_and_flops
from training.config import ScorecardConfig, record_config
from training.evaluation import open_loop
from training.evaluation.card import model_card
from training.evaluation.figures import draw_survival, panels, save_figure, save_png
from training.evaluation.held_out import HeldOut
from training.evaluation.objects import ObjectFinders, object_scores
from training.evaluation.open_loop import Scores, skill_scores, stepping_difference
from training.evaluation.outcomes import outcome_scores
from training.evaluation.picture_scores import picture_scores
from training.evaluation.probes import probe_scores
from training.evaluation.realism import playing_scores, told_apart
from training.evaluation.survival import Played, long_dream, survival_scores
from training.evaluation.terminations import termination_scores
from training.metrics import effective_rank
from training.models.perceptual import Distance, perceptual_distance, perceptual_network

LONG_STEPS = 100_000  # dreamed without a reset, all dreams together
LONG_DREAMS = 100  # that share them
SPEED_SECONDS = 1.5  # for which each speed is measured


def run(config: ScorecardConfig) -> dict[str, Any]:
    """Measure everything, write the scorecard and print it; returns it.

    Raises:
        ValueError: if pictures are asked for and no perceptual network is installed.
    """
    found = perceptual_network() if config.pictures else None
    if config.pictures and not found:
        raise UserError(f"--pictures needs a perceptual network: {install_command('train')}")
    model = WorldModel.from_pretrained(config.weights)
    out = config.out or find_weights(config.weights)
    out.mkdir(parents=True, exist_ok=True)
    if config.out:
        record_config(config, out / "scorecard.config.json")
    names = config.scenarios or model.config.scenarios
    fit = HeldOut.load(model, config.data, names, "val", config.limit)
    test = HeldOut.load(model, config.data, names, "test", config.limit)
    finders = ObjectFinders.fitted(fit.data, fit.z)
    perceptual_name, distance = perceptual_distance() or (None, None)
    endless = long_dream(model, names, LONG_DREAMS, LONG_STEPS)
    apart = told_apart(model, test.data, test.z, names) if found else {}
    scorecard = model_scores(model, test) | {"perceptual_distance": perceptual_name, "worlds": {}}
    episodes: dict[str, Played] = {}
    for name in progress(names, desc="scenarios"):
        scores, episodes[name], strip = scenario_scores(model, name, fit, test, distance, finders, config)
        scores |= endless[name]
        if found:
            scores["told_apart"] = apart.get(name, math.nan)
            scores |= playing_scores(model, get_scenario(name), test.data, found[1], out)
        scorecard["worlds"][name] = {key: rounded(value) for key, value in scores.items() if rounded(value) is not None}
        save_png(strip.numpy(), out / f"decoded_{name}.png")
    plot_survival(episodes, out / "survival.png")
    plot_calibration(scorecard["worlds"], out / "calibration.png")
    plot_skill(scorecard["worlds"], out / "skill.png")
    text = json.dumps(scorecard, indent=2, allow_nan=False)
    write_atomically(out / SCORECARD, (text + "\n").encode())
    write_atomically(out / "README.md", model_card(model.config, model.origins, scorecard).encode())
    print(text)
    return scorecard


def model_scores(model: WorldModel, test: HeldOut) -> Scores:
    """Figures of the weights as a whole."""
    every_row = np.arange(len(test.data))
    terminations = termination_scores(model, test.data, test.h, every_row)
    return {
        "weights": model.fingerprint,
        "preset": model.config.name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "effective_rank": effective_rank(test.z),
        "state_width": model.config.state_width,
        "parts": {name: list(counted) for name, counted in parameters_and_flops(model).items()},
        "stepping_differs_by": stepping_difference(model, test.data, test.z),
        "ends_of_all_worlds": {key: rounded(value) for key, value in terminations.items()},
    }


def scenario_scores(
    model: WorldModel,
    name: str,
    fit: HeldOut,
    test: HeldOut,
    distance: Distance | None,
    finders: ObjectFinders,
    config: ScorecardConfig,
) -> tuple[Scores, Played, Tensor]:
    """Figures of one scenario, the episodes that were played for them, and a strip of pictures.

    Args:
        model: the weights.
        name: of the scenario.
        fit: the split that probes are fitted on.
        test: the split that everything is measured on.
        distance: the perceptual distance; None: it is left out.
        finders: of objects, fitted on the split `fit`.
        config: how much is measured.
    """
    scenario = model.config.scenarios.index(name)
    data = test.data
    rows = np.flatnonzero(data.scenario == scenario)
    drift = test.z[rows].square().mean(1) - 1
    # One generator draws what all of these are measured on: what is added in between changes the figures after it.
    rng = np.random.default_rng(0)
    scores: Scores = {"test_steps": len(rows), "effective_rank": effective_rank(test.z[rows])}
    scores |= skill_scores(model, data, test.z, scenario, rng)
    scores |= probe_scores(model, fit, test, scenario, rng)
    scores |= outcome_scores(model, data, test.z, scenario, rng)
    scores |= termination_scores(model, data, test.h, rows)
    pictures, strip = picture_scores(model, data, test.z, scenario, distance, rng)
    survival, played = survival_scores(model, name, config.episodes)
    scores |= pictures
    scores |= object_scores(model, finders, data, test.z, scenario, rng)
    scores |= survival
    scores |= {"drift_mean": float(drift.mean()), "drift_max": float(drift.max())}
    scores |= speed_scores(model, name, SPEED_SECONDS)
    return scores, played, strip


def rounded(value: Any) -> Any:
    """Four significant digits, lists too; None for what is not a finite number."""
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


# ---- figures, a panel for each scenario ------------------------------------------------------------------------------


def plot_survival(episodes: dict[str, Played], path: Path) -> None:
    """Share of episodes still running by step, dreamed (solid) and real (dashed)."""
    title = "Survival of fixed policies: dream (solid), real (dashed)"
    figure, axes = panels(len(episodes), title=title, x="step", y="share still alive")
    for axis, (name, policies) in zip(axes, episodes.items(), strict=True):
        axis.set_title(name, fontsize=8)
        for number, (policy, both) in enumerate(policies.items()):
            style = {"color": f"C{number}", "linewidth": 1}
            draw_survival(axis, both["dream"].lengths, label=policy, **style)
            draw_survival(axis, both["real"].lengths, linestyle="--", **style)
    axes[0].legend(fontsize=6)
    save_figure(figure, path)


def plot_calibration(scores: dict[str, Scores], path: Path) -> None:
    """Predicted and observed terminations in groups of equal predicted ones."""
    title = "Terminations by risk, each group a tenth of those predicted"
    figure, axes = panels(len(scores), title=title, x="group, safest to riskiest", y="terminations")
    for axis, (name, figures) in zip(axes, scores.items(), strict=True):
        axis.set_title(name, fontsize=8)
        groups = np.arange(1, len(figures["risk_observed"]) + 1)
        axis.bar(groups, figures["risk_observed"], color="C0", label="observed")
        axis.plot(groups, figures["risk_predicted"], "k_", markersize=8, label="predicted")
    axes[0].legend(fontsize=6)
    save_figure(figure, path)


def plot_skill(scores: dict[str, Scores], path: Path) -> None:
    """Latent skill by horizon with true (solid) and shuffled (dashed) actions."""
    title = "Latent skill: true actions (solid), shuffled (dashed)"
    figure, axes = panels(len(scores), title=title, x="open-loop steps", y="skill")
    for axis, (name, figures) in zip(axes, scores.items(), strict=True):
        axis.set_title(name, fontsize=8)
        for suffix, style in (("", "o-"), ("_shuffled", "o--")):
            steps = [step for step in open_loop.HORIZONS if f"skill_{step}{suffix}" in figures]
            skills = [figures[f"skill_{step}{suffix}"] for step in steps]
            axis.plot(steps, skills, style, color="C0", linewidth=1, markersize=3)
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_ylim(-0.5, 1)
    save_figure(figure, path)
