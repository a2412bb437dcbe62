"""The report on what a player sees.

Do keys move the picture, does the gun flash, does it look like DOOM after half a minute, and on its own pictures?

    python -m training pictures --weights nano --data data --out runs/pictures
    python -m training pictures --weights runs/nano/weights --out runs/nano/pictures

Writes pictures.json, pictures.md and film strips. Dreams begin where real episodes do and run at temperature 1, as a
person plays them; frames of the split `test` are the reference. Reconstruction and open-loop figures are in the
scorecard too. docs/metrics.md defines every figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from doom_dream_env.envs.game import Game
from doom_dream_env.mistakes import UserError, install_command
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import write_atomically
from training.config import PicturesConfig, record_config
from training.data.dataset import Dataset
from training.data.latents import encode_all
from training.evaluation.controls import WITH_WEAPON, flash_scores, key_scores
from training.evaluation.figures import save_png
from training.evaluation.held_out import load_split
from training.evaluation.open_loop import Scores
from training.evaluation.picture_scores import picture_scores
from training.evaluation.realism import (
    LASTING,
    dreamed_strip,
    lasting_scores,
    loop_scores,
    recorded_frames,
    side_by_side,
    told_apart,
)
from training.evaluation.tables import markdown_table
from training.models.perceptual import perceptual_distance, perceptual_network


def run(config: PicturesConfig) -> dict[str, Scores]:
    """Measure every scenario, write the report and print it; returns scenario → scores.

    Raises:
        ValueError: if no perceptual network is installed, or a checkpoint holds another kind of model.
    """
    record_config(config, config.out / "pictures.config.json")
    model = WorldModel.from_pretrained(config.weights)
    names = config.scenarios or model.config.scenarios
    named_distance = perceptual_distance()
    named_network = perceptual_network()
    if named_distance is None or named_network is None:
        raise UserError(f"this report needs a perceptual network: {install_command('train')}")
    perceptual_name, distance = named_distance
    _, network = named_network
    data = load_split(model, config.data, names, "test", config.limit)
    z = encode_all(model, data)
    scores: dict[str, Scores] = {}
    apart = told_apart(model, data, z, names)
    for name in progress(names, desc="pictures"):
        index = model.config.scenarios.index(name)
        scores[name], _ = picture_scores(model, data, z, index, distance, np.random.default_rng(0))
        scores[name] |= {"told_apart": apart[name]} | playing_scores(model, name, data, network, config.out)
        save_png(dreamed_strip(model, get_scenario(name)), config.out / f"dreamed_{name}.png")
    about = {
        "weights": model.fingerprint,
        "perceptual_distance": perceptual_name,
        "worlds": scores,
    }
    tables = figures_table(scores)
    write_atomically(config.out / "pictures.json", (json.dumps(about, indent=2) + "\n").encode())
    write_atomically(config.out / "pictures.md", tables.encode())
    print(tables)
    return scores


def playing_scores(model: WorldModel, name: str, data: Dataset, network: nn.Module, out: Path) -> Scores:
    """What shows while somebody plays: keys, flashes, and in scenarios whose episodes last, long dreams.

    Args:
        model: whose dreams.
        name: of the scenario.
        data: recorded steps, whose frames are the reference of dreams on their own pictures.
        network: the perceptual network.
        out: folder in which a strip of dream and game is left.
    """
    scenario = get_scenario(name)
    game = Game(scenario)
    try:
        scores = key_scores(model, scenario, game)
        save_png(side_by_side(model, scenario, game), out / f"beside_{name}.png")
        if name in WITH_WEAPON:
            scores |= flash_scores(model, scenario, game)
        if name in LASTING:
            frames = recorded_frames(data, model.config.scenarios.index(name))
            scores |= lasting_scores(model, scenario, game, network)
            scores |= loop_scores(model, scenario, network, frames)
    finally:
        game.close()
    return scores


def figures_table(scores: Mapping[str, Scores]) -> str:
    """All figures as a Markdown table, a row for each and a column for each scenario."""
    keys = dict.fromkeys(key for found in scores.values() for key in found)
    rows = [[key, *(f"{found[key]:.3g}" if key in found else "" for found in scores.values())] for key in keys]
    return markdown_table(["", *scores], rows)
