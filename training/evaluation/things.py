"""What dreams of things keep: objects found after some steps, what is lost, who dies.

    python -m training things-score --weights runs/things/things.safetensors --data data

Dreams begin at what the game knew after `CONTEXT` steps of an episode and follow the recorded actions. Found is the
share of the cells of 10x10 pixels with an object that are among the surest at 0.5 % false alarms, in the mean of
`DRAWS` drawn dreams. Health and ends are counted over all steps up to the real episode's end: windows that the player
survives would say that nobody dies.

Legend: B dreams, K slots.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model.things.dynamics import ThingsDynamics
from doom_dream_env.world_model.things.screen import GROUPS, horizon_row, object_maps
from doom_dream_env.world_model.things.state import Things
from training.config import ThingsScoreConfig
from training.data.annotations import CELL, COLUMNS, OBJECT_CLASSES, ROWS
from training.data.things import Kinds, ThingsData, read_shard, shards_of
from training.evaluation.open_loop import Scores
from training.evaluation.tables import markdown_table, short_number
from training.models.things import load_dynamics

CONTEXT = 8  # steps before a dream
HORIZONS = (1, 4, 8, 16, 26)
SHORT_HORIZONS = (1, 4, 8)  # where episodes are short
DRAWS = 16
FALSE_ALARMS = 0.005
LEAST_CELLS = 30
COUNTED = ("found", "cells")
ENOUGH = 20  # fewer windows than this say nothing
SMOOTHED = 0.15  # share of the neighbourhood's mean in a cell's score: the middle of an object counts before its rim
BOXES_FROM = 20  # boxes of a kind from which its size is told

Rows = npt.NDArray[np.int64]


def sizes_of_kinds(data: ThingsData, status_bar: bool) -> Tensor:
    """How large kinds of things are, for `screen.boxes`, from their boxes in the game, (Q, 4)."""
    a = data.columns
    step = a["step"]
    pose = a["pose"][step]
    gap = a["pos"] - pose[:, :3]
    ahead = np.cos(pose[:, 3]) * gap[:, 0] + np.sin(pose[:, 3]) * gap[:, 1]
    left = -np.sin(pose[:, 3]) * gap[:, 0] + np.cos(pose[:, 3]) * gap[:, 1]
    box = a["box"].astype(np.float32)
    horizon = horizon_row(status_bar)
    bottom = box[:, 1] + box[:, 3]
    whole = (box[:, 2] > 0) & (ahead > 40) & (box[:, 0] > 0) & (box[:, 0] + box[:, 2] < 159)
    whole &= (box[:, 1] > 0) & (bottom < 2 * horizon - 2)
    axis = 79.5 - 80 * left / np.maximum(ahead, 1)
    sizes = np.tile(np.array([16.0, 16.0, -41.0, 0.0], np.float32), (len(data.kinds.names), 1))
    for kind in range(1, len(sizes)):
        these = whole & (a["kind"] == kind)
        if these.sum() < BOXES_FROM:
            continue
        per_unit = ahead[these] / 80
        above = gap[these, 2]
        sizes[kind] = [
            np.median((axis - box[:, 0])[these] * per_unit),
            np.median((box[:, 0] + box[:, 2] - axis)[these] * per_unit),
            np.median((horizon - bottom[these]) * per_unit / 1.2 - above),
            np.median((horizon - box[these, 1]) * per_unit / 1.2 - above),
        ]
    return torch.from_numpy(sizes)


def true_maps(data: ThingsData, rows: Rows) -> Tensor:
    """Cells that the boxes of things in sight cover at some steps, (B, 3, 12, 16)."""
    a = data.columns
    maps = torch.zeros(len(rows), GROUPS, ROWS, COLUMNS)
    groups = np.array(data.kinds.groups)[a["kind"]]
    groups[a["kind"] == 1] = 0
    for index, row in enumerate(rows):
        for thing in range(data.start[row], data.start[row + 1]):
            left, top, width, height = a["box"][thing]
            if width > 0 and groups[thing] < GROUPS:
                down = slice(max(top // CELL, 0), (top + height - 1) // CELL + 1)
                across = slice(max(left // CELL, 0), (left + width - 1) // CELL + 1)
                maps[index, groups[thing], down, across] = 1
    return maps


def found(score: Tensor, truth: Tensor) -> float:
    """Share of the true cells (B, 12, 16) whose score is above what `FALSE_ALARMS` of the others have."""
    score = score + SMOOTHED * F.avg_pool2d(score[:, None], 3, 1, 1)[:, 0]
    others = score[truth == 0]
    bar = others.kthvalue(max(1, int(len(others) * (1 - FALSE_ALARMS)))).values
    return float((score[truth > 0] > bar).float().mean())


def dreams(
    model: ThingsDynamics, data: ThingsData, rows: Rows, steps: int, generator: torch.Generator
) -> Iterator[tuple[int, Things, Tensor, Tensor]]:
    """Draw dreams that go on from rows (B,) under the recorded actions.

    Yields:
        steps dreamed so far, the things, reward (B,), whether the episode has ended in this step (B,).
    """
    things = data.state(rows)
    last = rows + data.goes_on[rows]
    for step in range(steps):
        action = torch.from_numpy(data.columns["action"][np.minimum(rows + step, last)]).float()
        things, reward, ended = model.step(things, action, generator)
        yield step + 1, things, reward, ended


@torch.inference_mode()
def found_scores(model: ThingsDynamics, data: ThingsData, sizes: Tensor, name: str, count: int) -> Scores:
    """`CLASS_found_H`, and `CLASS_cells_H`: cells in dreams over the game's."""
    for horizons in (HORIZONS, SHORT_HORIZONS):
        context = CONTEXT if horizons is HORIZONS else CONTEXT // 2
        rows = np.flatnonzero((data.since >= context) & (data.goes_on > horizons[-1]))
        if len(rows) >= ENOUGH:
            break
    else:
        return {}
    rows = np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)
    horizon = horizon_row(get_scenario(name).map is not None)
    repeated = rows.repeat(DRAWS)
    scores: Scores = {"windows": len(rows)}
    for step, things, _, _ in dreams(model, data, repeated, horizons[-1], torch.Generator().manual_seed(0)):
        if step not in horizons:
            continue
        maps = object_maps(things, sizes, model.groups, horizon).unflatten(0, (len(rows), DRAWS)).mean(1)
        truth = true_maps(data, rows + step)
        for group, label in enumerate(OBJECT_CLASSES):
            cells = float(truth[:, group].sum())
            if cells >= LEAST_CELLS:
                scores[f"{label}_cells_{step}"] = float(maps[:, group].sum()) / cells
                scores[f"{label}_found_{step}"] = found(maps[:, group], truth[:, group])
    return scores


@torch.inference_mode()
def outcome_scores(model: ThingsDynamics, data: ThingsData, count: int) -> Scores:
    """A step's loss of the first variable, reward and ends, dreamed and real, under the same actions."""
    a = data.columns
    rows = np.flatnonzero(data.since >= CONTEXT // 2)
    rows = np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)
    last = rows + data.goes_on[rows]
    dead = torch.zeros(len(rows), dtype=torch.bool)
    before = torch.from_numpy(a["var"][rows, 0])
    totals = {kind: np.zeros(4) for kind in ("dream", "game")}  # steps, lost, reward, ends
    for step, things, reward, ended in dreams(model, data, rows, HORIZONS[-1], torch.Generator().manual_seed(0)):
        at = np.minimum(rows + step - 1, last)
        real = rows + step - 1 <= last
        now = torch.from_numpy(real) & ~dead
        lost = (before - things.variables[:, 0])[now].sum()
        totals["dream"] += [int(now.sum()), float(lost), float(reward[now].sum()), int(ended[now].sum())]
        real_lost = (a["var"][at, 0] - a["nvar"][at, 0])[real].sum()
        totals["game"] += [real.sum(), real_lost, a["reward"][at][real].sum(), a["term"][at][real].sum()]
        before = things.variables[:, 0]
        dead = dead | ended
    scores: Scores = {}
    for index, label in enumerate(("lost", "reward", "ends"), start=1):
        for kind, total in totals.items():
            scores[f"{label}_{kind}"] = float(total[index] / total[0])
    return scores


def held_out(model: ThingsDynamics, folder: Path, scenario: str, split: str) -> ThingsData:
    """Recorded things of one scenario, in the indices of a model.

    Raises:
        ValueError: if the model does not know the scenario, or there are no shards of it.
    """
    c = model.config
    if scenario not in c.scenarios:
        raise UserError(f"these dynamics know {', '.join(c.scenarios)}, not {scenario!r}")
    shards = map(read_shard, shards_of(folder, [scenario], split))
    return ThingsData(shards, Kinds(list(c.kinds), list(c.groups)), c.scenarios, c.mortal)


def run(config: ThingsScoreConfig) -> None:
    """Print a table for people, and write all figures beside the weights.

    Raises:
        ValueError: if weights or shards are missing or damaged.
    """
    model = load_dynamics(config.weights)
    names = [get_scenario(name).name for name in config.scenarios]
    scores: dict[str, Scores] = {}
    for name in names:
        data = held_out(model, config.data, name, config.split)
        sizes = sizes_of_kinds(data, get_scenario(name).map is not None)
        scores[name] = found_scores(model, data, sizes, name, config.count) | outcome_scores(model, data, config.steps)
    print(table(scores))
    path = config.weights.with_suffix(".scores.json")
    path.write_text(json.dumps(scores, indent=1))


def table(scores: dict[str, Scores]) -> str:
    """One row for each class of objects in each scenario, and outcomes beside the first."""
    rows = []
    for name, one in scores.items():
        outcome = [
            f"{short_number(one[f'{label}_dream'])} / {short_number(one[f'{label}_game'])}"
            for label in ("lost", "reward", "ends")
        ]
        for label in OBJECT_CLASSES:
            steps = [step for step in HORIZONS if f"{label}_found_{step}" in one]
            if steps:
                cells = [" ".join(short_number(one[f"{label}_{kind}_{step}"]) for step in steps) for kind in COUNTED]
                rows.append([name, label, *cells, *outcome])
                outcome = [""] * 3
    header = ["scenario", "objects", "found after 1, 4, 8, 16, 26", "cells over the game's", "lost", "reward", "ends"]
    return markdown_table(header, rows)
