"""Promises of the counts of objects: what fades is noticed, and painting them everywhere gains nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from doom_dream_env import WorldModel
from training.data.annotations import MONSTER, OBJECT_MAP_SHAPE
from training.data.dataset import Dataset
from training.data.latents import encode_all
from training.evaluation import objects
from training.evaluation.objects import ObjectFinders, cells_by_class, fit_reader, object_scores, recall_scores
from training.metrics import auc


class Brightness(nn.Module):
    """Finds whatever is bright: the mean of each cell, for every class alike."""

    def forward(self, pictures: Tensor) -> Tensor:
        cells = pictures.float().mean(-1).unflatten(2, (16, 10)).unflatten(1, (12, 10)).mean((2, 4))
        return cells[:, None].expand(-1, *OBJECT_MAP_SHAPE).flatten(1)


@pytest.fixture(autouse=True)
def few_cells_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LEAST_CELLS", 1)


def recall(held_out: Dataset, change: str) -> float:
    rows = np.arange(0, 40)
    frames = torch.from_numpy(held_out.frames(rows))
    pictures = {
        "the same": frames,
        "fainter": frames // 8,
        "empty": torch.zeros_like(frames),
        "bright all over": torch.full_like(frames, 255),
        "of other moments": frames.roll(7, 0),
    }[change]
    scores = recall_scores("", Brightness(), held_out, rows, pictures)  # type: ignore[arg-type]
    assert len(scores) == 1  # the toy has objects of one class
    return next(iter(scores.values()))


def test_what_is_there_is_found(held_out: Dataset) -> None:
    assert recall(held_out, "the same") == 1


@pytest.mark.parametrize("change", ["fainter", "empty", "bright all over", "of other moments"])
def test_what_fades_is_missing_or_elsewhere_is_not(held_out: Dataset, change: str) -> None:
    assert recall(held_out, change) < 0.4


def test_the_reader_finds_what_states_tell(held_out: Dataset) -> None:
    """States that hold the object maps are read without an error."""
    z = torch.from_numpy(held_out.object_maps).flatten(1).float()
    reader = fit_reader(held_out, z, 150)
    with torch.inference_mode():
        logits = reader(z)
    assert auc(logits.flatten(), z.flatten()) > 0.99
    assert sum(cells_by_class(logits)) == pytest.approx(float(z.sum()), rel=0.2)


class Monsters(nn.Module):
    """Sees monsters in every cell of every state."""

    def forward(self, z: Tensor) -> Tensor:
        logits = torch.full((len(z), *OBJECT_MAP_SHAPE), -1.0)
        logits[:, MONSTER] = 1.0
        return logits.flatten(1)


def test_dreams_and_pictures_are_counted_where_the_game_has_objects(held_out: Dataset, model: WorldModel) -> None:
    z = encode_all(model, held_out)
    finders = ObjectFinders(Monsters(), Brightness())  # type: ignore[arg-type]
    scores = object_scores(model, finders, held_out, z, 0, np.random.default_rng(0))
    steps = (8, 16, 26)
    counted = {f"{kind}_{step}" for kind in ("cells", "drawn") for step in steps}
    found = {"recall", "recall_drawn", "recall_8", "recall_8_drawn"}
    assert set(scores) == {f"monster_{key}" for key in counted | found} | {"flicker", "drawn_truth"}
    assert scores["monster_cells_26"] == 1
