"""The model card: the scorecard for people, as Markdown that stands beside the weights.

A figure that `training.evaluation.scorecard` measures is shown by a row in `card_tables`; a test fails when one is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doom_dream_env.world_model import WorldModelConfig
from doom_dream_env.world_model.origins import FREEDOOM, Origin
from training.data.annotations import OBJECT_CLASSES
from training.evaluation import objects, open_loop, outcomes, picture_scores, probes, realism
from training.evaluation.tables import markdown_table, short_number

Row = tuple[str, str]  # label, and the keys whose values share a cell, separated by spaces

HEAD = """---
license: {license}
library_name: doom-dream-env
tags: [world-model, reinforcement-learning, vizdoom]
---

# DreamDoom `{name}`

A latent world model of DOOM: load it with `doom_dream_env.WorldModel.from_pretrained("{name}")`, step it with
`gym.make("DreamDoom-v0", weights="{name}")`. Scenarios: {scenarios}.

Trained on {origins}. What was collected was played by random, alternating, scripted
and perturbed players on seeds below 50,000. Object maps from ViZDoom's labels helped in training; nothing privileged is
needed to use it. It knows these scenarios and no others: other maps, textures or monsters are out
of its distribution.

## Scorecard

Weights {weights}, torch {torch}, CPU threads: {threads}, test seeds from 60,000 up; made by
`python -m training scorecard`. What every figure is: docs/metrics.md. Open-loop figures use the true actions at
temperature 0 after {context} real steps. All figures are in scorecard.json.

Effective rank of z over all scenarios: {effective_rank:.1f} of {state_width}. Cached stepping differs from a full pass
by {stepping_differs_by:.1e}. Perceptual distance: {perceptual}. Risk of terminations over all scenarios together
({deaths} of them): predicted over observed by tenths of the risk {risk_ratio_min:.2f} to {risk_ratio_max:.2f}.
"""

FIGURES = """
![Survival of fixed policies, dreamed and real](survival.png)

![Predicted and observed terminations by risk](calibration.png)

![Latent skill by horizon](skill.png)
"""

PROBES = {
    "position_x_r2": "player's x, R²",
    "position_y_r2": "player's y, R²",
    "angle_r2": "player's angle (sine and cosine), R²",
    "projectile_auc": "projectile in flight, AUC",
    "projectile_offset_r2": "its lateral offset, R²",
    "crosshair_auc": "monster under the crosshair, AUC",
    "item_ahead_auc": "item ahead, AUC",
}
POLICIES = ("noop", "random", "routine")


def steps_in_words(count: int) -> str:
    """A number of steps."""
    return f"{count} step{'s' * (count > 1)}"


def outcome_rows(variables: Sequence[str]) -> list[Row]:
    """Rows of the table of rewards and game variables."""
    rows = []
    for ahead in outcomes.HORIZONS:
        label = f"reward, {steps_in_words(ahead)}: mean absolute error / of the mean / correlation"
        rows.append((label, f"reward_mae_{ahead} reward_mae_{ahead}_mean reward_correlation_{ahead}"))
    for name in variables:
        key = name.lower()
        for ahead in outcomes.HORIZONS:
            label = f"{key}, {steps_in_words(ahead)}: right / unchanged; mean change dreamed / real"
            keys = f"{key}_accuracy_{ahead} {key}_unchanged_{ahead} {key}_change_{ahead} {key}_change_{ahead}_true"
            rows.append((label, keys))
    return rows


def picture_rows() -> list[Row]:
    """Rows of the table of pictures."""
    rows = [
        ("PSNR, reconstructed: surest / drawn", "psnr psnr_drawn"),
        ("PSNR where objects are / elsewhere", "psnr_objects psnr_elsewhere"),
    ]
    for step in picture_scores.HORIZONS:
        label = f"PSNR, {steps_in_words(step)} on: surest / drawn / nothing changes"
        rows.append((label, f"psnr_{step} psnr_{step}_drawn psnr_{step}_still"))
    rows.append(("perceptual, reconstructed: surest / drawn", "lpips lpips_drawn"))
    for step in picture_scores.HORIZONS:
        label = f"perceptual, {steps_in_words(step)} on: surest / drawn / nothing changes"
        rows.append((label, f"lpips_{step} lpips_{step}_drawn lpips_{step}_still"))
    return rows


def object_rows() -> list[Row]:
    """Rows of the table of objects."""
    rows = []
    for name in OBJECT_CLASSES:
        keys = [f"{name}_cells_{step}" for step in objects.COUNTED_AFTER]
        steps = ", ".join(map(str, objects.COUNTED_AFTER))
        rows.append((f"{name}s in dreams at temperature 1, {steps} steps on", " ".join(keys)))
    for name in OBJECT_CLASSES:
        label = f"{name}s found in pictures: of real states / {steps_in_words(objects.SHOWN_AFTER)} on; the same, drawn"
        surest = [f"{name}_recall", f"{name}_recall_{objects.SHOWN_AFTER}"]
        rows.append((label, " ".join(surest + [f"{key}_drawn" for key in surest])))
    for name in OBJECT_CLASSES:
        keys = [f"{name}_drawn_{step}" for step in objects.COUNTED_AFTER]
        rows.append((f"{name}s in drawn pictures, {steps} steps on", " ".join(keys)))
    rows.append(("flicker of drawn objects; share of them that the state holds", "flicker drawn_truth"))
    return rows


def playing_rows() -> list[Row]:
    """Rows of the table of what a player sees."""
    rows = [
        (f"{what}: dream / game, encoded and decoded / game", f"{key} {key}_seen {key}_game")
        for key, what in (("turn", "turns move the picture the right way"), ("move", "strafes do"))
    ]
    rows.append(("ATTACK brightens the gun: dream / game", "flash flash_game"))
    rows.append(("drawn pictures are told from the game's", "told_apart"))
    rows.append(("Fréchet distance after 2 s / 30 s / their ratio", "frechet_2s frechet_30s frechet_ratio"))
    for step in realism.FED_STEPS:
        for key, what in (("frechet", "Fréchet distance"), ("drift", "drift")):
            label = f"{what} {steps_in_words(step)} on: by itself / on its own pictures"
            rows.append((label, f"plain_{key}_{step} fed_{key}_{step}"))
    return rows


def card_tables(variables: Sequence[str]) -> dict[str, list[Row]]:
    """Title → rows of every table of the card."""
    after = f"_after_{probes.HORIZON}"
    return {
        "Latent prediction": [
            ("test steps", "test_steps"),
            ("effective rank of z", "effective_rank"),
            *(
                (f"skill, {steps_in_words(step)}: true / shuffled actions", f"skill_{step} skill_{step}_shuffled")
                for step in open_loop.HORIZONS
            ),
        ],
        f"Linear probes: now / {probes.HORIZON} open-loop steps on / the same, fitted on dreams": [
            (label, f"{key} {key}{after} {key}{after}_refit") for key, label in PROBES.items()
        ],
        "Pictures (PSNR in dB; perceptual distance, less is better)": picture_rows(),
        "What a player sees": playing_rows(),
        "Objects in dreams and pictures, over those in the game": object_rows(),
        "Rewards and game variables": outcome_rows(variables),
        "Terminations (steps that end the episode)": [
            ("terminations", "deaths"),
            ("recall ±1 step / exact step, at 0.5 % false alarms", "death_recall death_recall_exact_step"),
            ("AUC of the risk", "death_auc"),
            ("predicted over observed", "predicted_over_observed_deaths"),
            ("the same by tenths of the risk: least / greatest", "risk_ratio_min risk_ratio_max"),
        ],
        "Fixed policies: dream / real, and Kolmogorov–Smirnov statistic of the lengths": [
            ("episodes each", "episodes"),
            *((f"{key}: steps", f"{key}_length_dream {key}_length_real {key}_ks") for key in POLICIES),
            ("noop: dream's length over real", "noop_length_ratio"),
            *((f"{key}: return", f"{key}_return_dream {key}_return_real") for key in POLICIES),
        ],
        "Drift |z|²/D − 1": [
            ("real data: mean / max", "drift_mean drift_max"),
            ("long dream: mean / max", "drift_long_mean drift_long_max"),
            ("its steps without a reset / all finite", "long_steps long_finite"),
        ],
        "Steps per second": [
            ("dream, 1 / 256 environments", "dream_steps_per_s_1 dream_steps_per_s_256"),
            ("real", "real_steps_per_s"),
        ],
    }


def card_table(rows: Sequence[Row], scores: dict[str, dict[str, Any]]) -> str:
    """The rows that some scenario has figures for, a column for each scenario; "" if there are none."""

    def cell(figures: dict[str, Any], keys: list[str]) -> str:
        found = [figures.get(key) for key in keys]
        return "" if all(value is None for value in found) else " / ".join(map(short_number, found))

    lines = [[label, *(cell(figures, keys.split()) for figures in scores.values())] for label, keys in rows]
    filled = [line for line in lines if any(line[1:])]
    return markdown_table(["", *scores], filled) if filled else ""


def model_card(config: WorldModelConfig, origins: Sequence[Origin], scorecard: dict[str, Any]) -> str:
    """What the weights are, whose pictures they learned from, and their scorecard, in Markdown."""
    facts = scorecard["ends_of_all_worlds"] | scorecard
    head = HEAD.format(
        **facts,
        name=config.name,
        scenarios=", ".join(config.scenarios),
        license="mit" if set(origins) == {FREEDOOM} else "other",
        origins=" and ".join(
            f"{each.source or 'unknown pictures'} ({each.licence or 'licence unknown'})" for each in origins
        ),
        perceptual=scorecard["perceptual_distance"] or "not measured",
        context=open_loop.CONTEXT,
    )
    tables = {title: card_table(rows, scorecard["worlds"]) for title, rows in card_tables(config.variables).items()}
    return head + "".join(f"\n### {title}\n\n{table}" for title, table in tables.items() if table) + FIGURES
