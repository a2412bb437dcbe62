"""The scorecard: what the weights know, measured on seeds that training never saw.

    python -m training.collect --out data --split test --steps 10000
    python -m training.evaluate --data data --weights nano

Writes scorecard.json, the model card README.md and pictures into the weights' folder (or --out). Every open-loop figure dreams with the
true actions at temperature 0; the probes are linear, fitted on the validation split and scored on the test split.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import SCENARIOS, get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.files import find_weights, write_atomically
from training.dataset import Dataset
from training.decoder import object_mask
from training.losses import effective_rank
from training.probes import auc, probe_auc, probe_r2
from training.world_model import embed_window, make_batch

HORIZONS = (1, 4, 8, 16)
FALSE_ALARMS = 0.005


@torch.inference_mode()
def encode_all(model: WorldModel, data: Dataset) -> Tensor:
    """States of every row, (N, D)."""
    parts = []
    for first in tqdm(range(0, len(data), 256), desc="encode", leave=False):
        frames = data.frames(np.arange(first, min(first + 256, len(data))))
        parts.append(model.encode(frames[None])[0])
    return torch.cat(parts)


@torch.inference_mode()
def trunk_all(model: WorldModel, data: Dataset, z: Tensor) -> Tensor:
    """Trunk features of every row given its whole episode so far, (N, E)."""
    h = torch.zeros(len(data), model.config.trunk_width)
    for first in tqdm(np.unique(data.first), desc="trunk", leave=False):
        last = int(data.last[first])
        batch = make_batch(data, np.array([first]), last - int(first) + 1, torch.device("cpu"), frames=False)
        h[first : last + 1] = model.trunk(embed_window(model, z[first : last + 1][None], batch, batch.scenario))[0]
    return h


def context(model: WorldModel, data: Dataset, z: Tensor, rows: np.ndarray, length: int) -> DreamState:
    """Dreams that have seen `length` real steps up to and including `rows` (B,)."""
    begin = rows - length + 1
    batch = make_batch(data, begin, length, torch.device("cpu"), frames=False)
    history = z[torch.from_numpy(begin[:, None] + np.arange(length))]
    h, cache, steps = model.trunk.prefill(embed_window(model, history, batch, batch.scenario))
    return DreamState(history[:, -1], h[:, -1], batch.variables[:, -1], batch.scenario, cache, steps)


@torch.inference_mode()
def open_loop(model: WorldModel, data: Dataset, z: Tensor, world: int, rng: np.random.Generator) -> dict[str, Any]:
    """Latent skill by horizon with true and shuffled actions; also the dreamed features after 8 steps for the probes."""
    length, ahead = 12, max(HORIZONS)
    rows = np.flatnonzero(
        (data.scenario == world) & (np.arange(len(data)) - data.first >= length - 1) & (np.arange(len(data)) + ahead <= data.last)
    )
    rows = rng.choice(rows, min(1500, len(rows)), replace=False)
    truth, shuffled = context(model, data, z, rows, length), context(model, data, z, rows, length)
    permutation = rng.permutation(len(rows))
    scores: dict[str, Any] = {}
    for step in range(1, ahead + 1):
        action = torch.from_numpy(data.actions[rows + step - 1]).float()
        truth, _, _ = model.imagine(truth, action, 0.0)
        shuffled, _, _ = model.imagine(shuffled, action[permutation], 0.0)
        if step in HORIZONS:
            real, start = z[rows + step], z[rows]
            still = (real - start).square().mean()
            scores[f"skill_{step}"] = float(1 - (truth.z - real).square().mean() / still)
            scores[f"skill_{step}_shuffled"] = float(1 - (shuffled.z - real).square().mean() / still)
        if step == 8:
            scores["rows_8"], scores["features_8"] = rows + 8, model.features(truth)
    return scores


def probes(name: str, x: Tensor, data: Dataset, test_x: Tensor, test: Dataset, rows: np.ndarray, test_rows: np.ndarray) -> dict[str, float]:
    """Scores of the linear probes that make sense in a world."""

    def pick(values: np.ndarray, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[chosen])).float()

    scores = {}
    if name == "take_cover":
        offset, test_offset = data.projectile[:, 0], test.projectile[:, 0]
        scores["projectile_auc"] = probe_auc(x, pick(np.isfinite(offset), rows), test_x, pick(np.isfinite(test_offset), test_rows))
        seen, test_seen = np.isfinite(offset[rows]), np.isfinite(test_offset[test_rows])
        scores["projectile_offset_r2"] = probe_r2(
            x[seen], pick(offset, rows[seen]), test_x[test_seen], pick(test_offset, test_rows[test_seen])
        )
    elif name == "defend_the_center":
        scores["crosshair_auc"] = probe_auc(x, pick(data.crosshair, rows), test_x, pick(test.crosshair, test_rows))
    else:
        ahead, test_ahead = (np.asarray(d.heat[:, 2, :, 6:10].any((1, 2))) for d in (data, test))
        scores["item_ahead_auc"] = probe_auc(x, pick(ahead, rows), test_x, pick(test_ahead, test_rows))
    return scores


@torch.inference_mode()
def death_scores(model: WorldModel, data: Dataset, h: Tensor, world: int) -> dict[str, float]:
    """Recall of deaths at 0.5 % false alarms, and calibration.

    A step is an alarm when its risk, or that of the step before, is above the threshold; the last two steps of an episode
    that ends in death are one case, every other step may be a false alarm.
    """
    rows = np.flatnonzero(data.scenario == world)
    risk = torch.cat(
        [
            model.risk_from_features(
                h[part],
                torch.from_numpy(data.actions[part]).float(),
                torch.from_numpy(data.variables[part]),
                torch.from_numpy(data.scenario[part]),
            )
            for part in np.array_split(rows, max(1, len(rows) // 512))
        ]
    ).numpy()
    full = np.zeros(len(data))
    full[rows] = risk
    deaths = rows[data.terminated[rows]]
    near = np.unique(np.r_[deaths, np.maximum(deaths - 1, data.first[deaths])])
    quiet = np.setdiff1d(rows, near)
    threshold = np.quantile(full[quiet], 1 - FALSE_ALARMS)
    case = np.maximum(full[deaths], full[np.maximum(deaths - 1, data.first[deaths])])
    strict = np.quantile(np.delete(risk, np.searchsorted(rows, deaths)), 1 - FALSE_ALARMS)
    return {
        "deaths": len(deaths),
        "death_recall": float((case > threshold).mean()) if len(deaths) else float("nan"),
        "death_recall_exact_step": float((full[deaths] > strict).mean()) if len(deaths) else float("nan"),
        "death_auc": auc(torch.from_numpy(risk), torch.from_numpy(data.terminated[rows])),
        "predicted_over_observed_deaths": float(risk.sum() / max(len(deaths), 1)),
    }


@torch.inference_mode()
def decoder_scores(model: WorldModel, data: Dataset, z: Tensor, world: int, rng: np.random.Generator) -> tuple[dict[str, float], Tensor]:
    """PSNR over all pixels, and inside and outside the cells with objects; a strip of pictures, real above decoded."""
    rows = rng.choice(np.flatnonzero(data.scenario == world), 512)
    real = torch.from_numpy(data.frames(rows)).float()
    decoded = torch.cat([model.decode(part) for part in z[rows].split(64)]).float()
    error = ((real - decoded) / 255).square().mean(-1)
    mask = object_mask(torch.from_numpy(data.heat[rows]).float())[:, 0]

    def psnr(value: Tensor) -> float:
        return float(-10 * torch.log10(value))

    scores = {
        "psnr": psnr(error.mean()),
        "psnr_objects": psnr((error * mask).sum() / mask.sum().clamp(min=1)),
        "psnr_elsewhere": psnr((error * (1 - mask)).sum() / (1 - mask).sum().clamp(min=1)),
    }
    busy = torch.from_numpy(data.heat[rows]).sum((1, 2, 3)).float().argsort(descending=True)[:40:8]
    return scores, torch.cat([torch.cat(list(real[busy]), 1), torch.cat(list(decoded[busy]), 1)], 0).to(torch.uint8)


def speed(model: WorldModel, name: str, seconds: float = 4.0) -> dict[str, float]:
    """Dream steps/s at 1 and 256 lanes, and real ViZDoom's, in one run on the same cores."""
    scores = {}
    for lanes in (1, 256):
        dream, choices = DreamBatch(lanes, name, weights=model), len(get_scenario(name).action_table())
        dream.reset(seed=0)
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            dream.step(torch.randint(choices, (lanes,)))
            dream.reset(dream.done) if bool(dream.done.any()) else None
            steps += lanes
        scores[f"dream_steps_per_s_{lanes}"] = steps / (time.perf_counter() - started)
    game, table = Game(get_scenario(name)), get_scenario(name).action_table()
    game.reset(60_000)
    steps, started, rng = 0, time.perf_counter(), np.random.default_rng(0)
    while time.perf_counter() - started < seconds:
        _, terminated, truncated = game.step(table[rng.integers(len(table))])
        if terminated or truncated:
            game.reset(60_000 + steps)
        steps += 1
    scores["real_steps_per_s"] = steps / (time.perf_counter() - started)
    game.close()
    return scores


def agreement(model: WorldModel, data: Dataset, z: Tensor) -> float:
    """Largest difference between a full pass and cached stepping over 40 steps, float32."""
    row = int(data.first[np.argmax(data.last - data.first)])
    batch = make_batch(data, np.array([row]), 40, torch.device("cpu"), frames=False)
    with torch.inference_mode():
        window = z[row : row + 40][None]
        full = model.trunk(embed_window(model, window, batch, batch.scenario))
        start = bool(batch.start[0])
        state = model.begin(window[:, 0], batch.variables[:, 0], batch.scenario, start)
        known, worst = torch.tensor([[1.0, 0.0]]), 0.0
        for t in range(1, 40):
            state = model._advance(state, window[:, t], batch.variables[:, t], batch.actions[:, t - 1], known)
            worst = max(worst, float((state.h - full[:, t]).abs().max()))
    return worst


def evaluate(weights: str | Path | None, data: Path, scenarios: list[str], out: Path | None, limit: int | None) -> dict[str, Any]:
    """Measure everything and write the scorecard; returns it."""
    model = WorldModel.from_pretrained(weights)
    out = out or find_weights(weights)
    fit, test = Dataset(data, scenarios, "val", limit), Dataset(data, scenarios, "test", limit)
    z_fit, z_test = encode_all(model, fit), encode_all(model, test)
    h_fit, h_test = trunk_all(model, fit, z_fit), trunk_all(model, test, z_test)
    scales = model.scales
    x_fit = torch.cat([z_fit, h_fit, torch.from_numpy(fit.variables) / scales], -1)
    x_test = torch.cat([z_test, h_test, torch.from_numpy(test.variables) / scales], -1)
    card: dict[str, Any] = {
        "weights": model.fingerprint,
        "preset": model.config.name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "effective_rank": effective_rank(z_test),
        "state_width": model.config.state_width,
        "stepping_differs_by": agreement(model, test, z_test),
        "worlds": {},
    }
    for world, name in enumerate(scenarios):
        rng = np.random.default_rng(0)
        rows, test_rows = np.flatnonzero(fit.scenario == world), np.flatnonzero(test.scenario == world)
        scores = open_loop(model, test, z_test, world, rng)
        rows_8, x_8 = scores.pop("rows_8"), scores.pop("features_8")
        scores["drift"] = float(z_test[test_rows].square().mean() - 1)
        scores |= probes(name, x_fit[rows], fit, x_test[test_rows], test, rows, test_rows)
        after = probes(name, x_fit[rows], fit, x_8, test, rows, rows_8)
        scores |= {f"{key}_after_8": value for key, value in after.items()}
        scores |= death_scores(model, test, h_test, world)
        pictures, strip = decoder_scores(model, test, z_test, world, rng)
        scores |= pictures | speed(model, name)
        card["worlds"][name] = {key: round(value, 4) for key, value in scores.items()}
        save_png(strip.numpy(), out / f"decoded_{name}.png")
    write_atomically(out / "scorecard.json", (json.dumps(card, indent=2) + "\n").encode())
    write_atomically(out / "README.md", model_card(model, card).encode())
    return card


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write an RGB picture, three times enlarged."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(picture)
    image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


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

Weights {weights}, torch {torch}, {threads} threads, test seeds from 60,000 up; made by `python -m training.evaluate`. Open-loop
figures use the true actions at temperature 0; probes are linear.

Effective rank of z: {effective_rank:.1f} of {state_width}. Cached stepping differs from a full pass by {stepping_differs_by:.1e}.

"""


def model_card(model: WorldModel, card: dict[str, Any]) -> str:
    """The scorecard for people, with what the weights are."""
    worlds = card["worlds"]
    keys = list(dict.fromkeys(key for scores in worlds.values() for key in scores))
    lines = ["| | " + " | ".join(worlds) + " |", "|---|" + "---|" * len(worlds)]
    lines += [f"| {key} | " + " | ".join(f"{s[key]:g}" if key in s else "" for s in worlds.values()) + " |" for key in keys]
    return CARD.format(name=model.config.name, scenarios=", ".join(model.config.scenarios), **card) + "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=None, help="name or folder of the weights (default: the best shipped)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset, with splits val and test")
    parser.add_argument("--scenarios", nargs="+", choices=sorted(SCENARIOS), default=list(SCENARIOS), help="worlds, as in training")
    parser.add_argument("--out", type=Path, default=None, help="where the scorecard goes (default: the weights' folder)")
    parser.add_argument("--limit", type=int, default=None, help="use at most so many steps per world")
    args = parser.parse_args()
    card = evaluate(args.weights, args.data, args.scenarios, args.out, args.limit)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
