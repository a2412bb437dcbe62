"""The scorecard: what the weights know, measured on seeds that training never saw.

    python -m training.collect --out data --split val --steps 10000
    python -m training.collect --out data --split test --steps 10000
    python -m training.evaluate --data data --weights nano

Writes scorecard.json, the model card README.md and pictures into the weights' folder (or --out). Every open-loop figure dreams with the
true actions at temperature 0; the probes are linear, fitted on the validation split and scored on the test split. What each
figure is: `training.measure` (from recorded data) and `training.survival` (from playing).
"""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from doom_dream_env.scoring import Score
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import find_weights, write_atomically
from training import measure, survival
from training.losses import effective_rank
from training.perceptual import perceptual_distance

LIMIT = 4000  # steps per world and split
EPISODES = 400
LANES = 100

Card = dict[str, Any]
Played = dict[str, dict[str, tuple[Score, Score]]]  # world → policy → episodes (dream, real)


def evaluate(
    weights: str | Path | None,
    data: Path,
    scenarios: list[str] | None = None,
    out: Path | None = None,
    limit: int | None = LIMIT,
    episodes: int = EPISODES,
    lanes: int = LANES,
) -> Card:
    """Measure everything and write the scorecard; returns it.

    Args:
        weights: as for `WorldModel.from_pretrained`.
        data: folder of the dataset, with splits val and test.
        scenarios: which worlds; None: all that the weights know.
        out: where the scorecard goes; None: the weights' folder.
        limit: use at most about so many steps per world and split; None: all.
        episodes: dreamed and real ones per fixed policy and world (fewer where they last long).
        lanes: dreams that share the steps without a reset.
    """
    model = WorldModel.from_pretrained(weights)
    out = out or find_weights(weights)
    out.mkdir(parents=True, exist_ok=True)
    names = scenarios or list(model.config.scenarios)
    fit, test = (measure.load_split(model, data, names, split, limit) for split in ("val", "test"))
    z_fit, z = measure.encode_all(model, fit), measure.encode_all(model, test)
    h_fit, h = measure.trunk_all(model, fit, z_fit), measure.trunk_all(model, test, z)
    x_fit, x = measure.features_all(model, fit, z_fit, h_fit), measure.features_all(model, test, z, h)
    perceptual = perceptual_distance()
    trunk, distance = perceptual or (None, None)
    card: Card = {
        "weights": model.fingerprint,
        "preset": model.config.name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "effective_rank": effective_rank(z),
        "state_width": model.config.state_width,
        "stepping_differs_by": measure.agreement(model, test, z),
        "perceptual_distance": trunk,
        "ends_of_all_worlds": {key: rounded(value) for key, value in measure.death_scores(model, test, h, np.arange(len(test))).items()},
        "worlds": {},
    }
    played: Played = {}
    long = survival.long_dream(model, names, lanes, survival.LONG_STEPS)
    for name in tqdm(names, desc="worlds"):
        world, rng = model.config.scenarios.index(name), np.random.default_rng(0)
        rows = np.flatnonzero(test.scenario == world)
        drift = z[rows].square().mean(1) - 1
        scores = {"test_steps": len(rows), "effective_rank": effective_rank(z[rows])}
        scores |= measure.skill_scores(model, test, z, world, rng)
        scores |= measure.probe_scores(model, fit, z_fit, x_fit, test, z, x, world, rng)
        scores |= measure.outcome_scores(model, test, z, world, rng)
        scores |= measure.death_scores(model, test, h, rows)
        pictures, strip = measure.picture_scores(model, test, z, world, distance, rng)
        lengths, played[name] = survival.survival_scores(model, name, episodes)
        scores |= pictures | lengths | {"drift_mean": float(drift.mean()), "drift_max": float(drift.max())} | long[name]
        scores |= survival.speed_scores(model, name)
        card["worlds"][name] = {key: rounded(value) for key, value in scores.items() if rounded(value) is not None}
        save_png(strip.numpy(), out / f"decoded_{name}.png")
    plot_survival(played, out / "survival.png")
    plot_calibration(card["worlds"], out / "calibration.png")
    plot_skill(card["worlds"], out / "skill.png")
    write_atomically(out / "scorecard.json", (json.dumps(card, indent=2, allow_nan=False) + "\n").encode())
    write_atomically(out / "README.md", model_card(model, card).encode())
    return card


def rounded(value: Any) -> Any:
    """Four significant digits, lists too; None for what is not a finite number."""
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


# ---- pictures ----------------------------------------------------------------------------------------------------------------


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write an RGB picture in 128 colours, a third of the bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(128).save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def panels(count: int, title: str, x: str, y: str) -> tuple[Any, list[Any]]:
    """A figure of small multiples with shared labels, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, 5)
    lines = -(-count // columns)
    figure = Figure(figsize=(1.2 + 2.3 * columns, 1.0 + 1.9 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(lines, columns, index + 1) for index in range(count)]
    for axis in axes:
        axis.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    write_atomically(path, buffer.getvalue())


def plot_survival(played: Played, path: Path) -> None:
    """Share of episodes still running by step, dreamed (solid) and real (dashed), one panel per world."""
    figure, axes = panels(len(played), "Survival of fixed policies: dream (solid), real (dashed)", "step", "share still alive")
    for axis, (name, policies) in zip(axes, played.items(), strict=True):
        axis.set_title(name, fontsize=8)
        for color, (policy, pair) in enumerate(policies.items()):
            for score, style in zip(pair, ("-", "--"), strict=True):
                at = np.r_[0, np.sort(score.lengths)]
                share = 1 - np.arange(len(at)) / len(score.lengths)
                axis.step(at, share, style, where="post", color=f"C{color}", linewidth=1, label=policy if style == "-" else None)
        axis.set_ylim(-0.02, 1.02)
    axes[0].legend(fontsize=6)
    save_figure(figure, path)


def plot_calibration(worlds: dict[str, Any], path: Path) -> None:
    """Predicted and observed deaths in groups of equal predicted deaths, one panel per world."""
    figure, axes = panels(len(worlds), "Deaths by risk, each group a tenth of those predicted", "group, safest to riskiest", "deaths")
    for axis, (name, scores) in zip(axes, worlds.items(), strict=True):
        axis.set_title(name, fontsize=8)
        at = np.arange(1, len(scores["risk_observed"]) + 1)
        axis.bar(at, scores["risk_observed"], color="C0", label="observed")
        axis.plot(at, scores["risk_predicted"], "k_", markersize=8, label="predicted")
    axes[0].legend(fontsize=6)
    save_figure(figure, path)


def plot_skill(worlds: dict[str, Any], path: Path) -> None:
    """Latent skill by horizon with true (solid) and shuffled (dashed) actions, one panel per world."""
    figure, axes = panels(len(worlds), "Latent skill: true actions (solid), shuffled (dashed)", "open-loop steps", "skill")
    for axis, (name, scores) in zip(axes, worlds.items(), strict=True):
        axis.set_title(name, fontsize=8)
        for suffix, style in (("", "o-"), ("_shuffled", "o--")):
            at = [step for step in measure.HORIZONS if f"skill_{step}{suffix}" in scores]
            axis.plot(at, [scores[f"skill_{step}{suffix}"] for step in at], style, color="C0", linewidth=1, markersize=3)
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_ylim(-0.5, 1)
    save_figure(figure, path)


# ---- the card ----------------------------------------------------------------------------------------------------------------

CARD = """---
license: mit
library_name: doom-dream-env
tags: [world-model, reinforcement-learning, vizdoom]
---

# DreamDoom `{name}`

A latent world model of DOOM: load it with `doom_dream_env.WorldModel.from_pretrained("{name}")`, step it with
`gym.make("DreamDoom-v0", weights="{name}")`. Worlds: {scenarios}.

Trained on frames that ViZDoom rendered from its own scenarios with Freedoom's assets (see NOTICE.md), played by random, blind,
scripted and noisy players on seeds below 50,000. Object heat maps from ViZDoom's labels helped in training; nothing privileged
is needed to use it. It knows these worlds and no others: other maps, textures or monsters are out of its distribution.

## Scorecard

Weights {weights}, torch {torch}, CPU threads: {threads}, test seeds from 60,000 up; made by `python -m training.evaluate`, which says what
every figure is. Open-loop figures use the true actions at temperature 0 after {context} real steps. All figures are in scorecard.json.

Effective rank of z over all worlds: {effective_rank:.1f} of {state_width}. Cached stepping differs from a full pass by
{stepping_differs_by:.1e}. Perceptual distance: {perceptual}. Risk of ends over all worlds together ({deaths} of them): predicted over
observed by tenths of the risk {risk_ratio_min:.2f} to {risk_ratio_max:.2f}.
"""

PICTURES = """
![Survival of fixed policies, dreamed and real](survival.png)

![Predicted and observed deaths by risk](calibration.png)

![Latent skill by horizon](skill.png)
"""


def groups(variables: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """Tables of the card: title → rows of a label and the keys whose values share a cell."""
    probes = {
        "position_x_r2": "player's x, R²",
        "position_y_r2": "player's y, R²",
        "angle_r2": "player's angle (sine and cosine), R²",
        "projectile_auc": "projectile in flight, AUC",
        "projectile_offset_r2": "its lateral offset, R²",
        "crosshair_auc": "monster under the crosshair, AUC",
        "item_ahead_auc": "item ahead, AUC",
    }
    after = f"_after_{measure.PROBE_HORIZON}"
    outcomes = [
        ("reward, 1 step: mean absolute error / of the mean / correlation", "reward_mae_1 reward_mae_1_mean reward_correlation_1"),
        ("rewards of 16 steps: the same", "reward_mae_16 reward_mae_16_mean reward_correlation_16"),
    ]
    for name in (variable.lower() for variable in variables):
        for steps, text in ((1, "1 step"), (16, "16 steps")):
            keys = [f"{name}_accuracy_{steps}", f"{name}_unchanged_{steps}", f"{name}_change_{steps}", f"{name}_change_{steps}_true"]
            outcomes.append((f"{name}, {text}: right / unchanged; mean change dreamed / real", " ".join(keys)))
    return {
        "Latent prediction": [
            ("test steps", "test_steps"),
            ("effective rank of z", "effective_rank"),
            *(
                (f"skill, {step} step{'s' * (step > 1)}: true / shuffled actions", f"skill_{step} skill_{step}_shuffled")
                for step in measure.HORIZONS
            ),
        ],
        "Linear probes: now / 8 open-loop steps on / the same, fitted on dreams": [
            (label, f"{key} {key}{after} {key}{after}_refit") for key, label in probes.items()
        ],
        "Pictures (PSNR in dB; perceptual distance, less is better)": [
            ("PSNR, reconstructed", "psnr"),
            ("PSNR where objects are / elsewhere", "psnr_objects psnr_elsewhere"),
            *(
                (f"PSNR, {step} step{'s' * (step > 1)} on: dream / nothing changes", f"psnr_{step} psnr_{step}_still")
                for step in measure.PICTURE_HORIZONS
            ),
            ("perceptual, reconstructed", "lpips"),
            *(
                (f"perceptual, {step} step{'s' * (step > 1)}: dream / nothing changes", f"lpips_{step} lpips_{step}_still")
                for step in measure.PICTURE_HORIZONS
            ),
        ],
        "Rewards and game variables": outcomes,
        "Ends (steps that terminate the episode)": [
            ("deaths", "deaths"),
            ("recall ±1 step / exact step, at 0.5 % false alarms", "death_recall death_recall_exact_step"),
            ("AUC of the risk", "death_auc"),
            ("predicted over observed", "predicted_over_observed_deaths"),
            ("the same by tenths of the risk: least / greatest", "risk_ratio_min risk_ratio_max"),
        ],
        "Fixed policies: dream / real, and Kolmogorov–Smirnov statistic of the lengths": [
            ("episodes each", "episodes"),
            *((f"{key}: steps", f"{key}_length_dream {key}_length_real {key}_ks") for key in ("noop", "random", "blind")),
            ("noop: dream's length over real", "noop_length_ratio"),
            *((f"{key}: return", f"{key}_return_dream {key}_return_real") for key in ("noop", "random", "blind")),
        ],
        "Drift |z|²/D − 1": [
            ("real data: mean / max", "drift_mean drift_max"),
            ("long dream: mean / max", "drift_long_mean drift_long_max"),
            ("its steps without a reset / all finite", "long_steps long_finite"),
        ],
        "Steps per second": [
            ("dream, 1 / 256 lanes", "dream_steps_per_s_1 dream_steps_per_s_256"),
            ("real", "real_steps_per_s"),
        ],
    }


def short(value: Any) -> str:
    """A number for people, three significant digits; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value if isinstance(value, int) else float(f'{value:.3g}'):,.0f}"
    return "0" if abs(value) < 5e-4 else f"{value:.2f}" if abs(value) < 1 else f"{value:.3g}"


def table(rows: list[tuple[str, str]], worlds: dict[str, Any]) -> str:
    """A Markdown table of the rows that some world has; "" if none has any."""
    lines = []
    for label, keys in rows:
        cells = [[scores.get(key) for key in keys.split()] for scores in worlds.values()]
        if any(value is not None for cell in cells for value in cell):
            joined = (" / ".join(map(short, cell)) if any(value is not None for value in cell) else "" for cell in cells)
            lines.append(f"| {label} | " + " | ".join(joined) + " |")
    return "\n".join(["| | " + " | ".join(worlds) + " |", "|---|" + "---|" * len(worlds), *lines]) + "\n" if lines else ""


def model_card(model: WorldModel, card: Card) -> str:
    """The scorecard for people, with what the weights are."""
    config, perceptual = model.config, card["perceptual_distance"] or "not measured"
    facts = card["ends_of_all_worlds"] | card | {"name": config.name, "perceptual": perceptual, "context": measure.CONTEXT}
    text = CARD.format(scenarios=", ".join(config.scenarios), **facts)
    tables = {title: table(rows, card["worlds"]) for title, rows in groups(config.variables).items()}
    return text + "".join(f"\n### {title}\n\n{lines}" for title, lines in tables.items() if lines) + PICTURES


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=None, help="name or folder of the weights (default: the best shipped)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset, with splits val and test")
    parser.add_argument("--scenarios", nargs="+", default=None, help="worlds (default: all the weights know)")
    parser.add_argument("--out", type=Path, default=None, help="where the scorecard goes (default: the weights' folder)")
    parser.add_argument("--limit", type=int, default=LIMIT, help="use at most about so many steps per world and split")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="episodes per fixed policy, dreamed and real")
    parser.add_argument("--lanes", type=int, default=LANES, help="dreams that share the 100,000 steps without a reset")
    args = parser.parse_args()
    card = evaluate(args.weights, args.data, args.scenarios, args.out, args.limit, args.episodes, args.lanes)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
