"""Promises of the stage representation: its losses look at real steps alone, and its readouts are linear."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from toy_world import LENGTH, TOY_SCENARIOS, WINDOW, toy_config

from training.config import RepresentationLossWeights
from training.data.batch import Batch, make_batch
from training.data.dataset import Dataset
from training.engine.compute import seeded
from training.models.packing import new_training_model
from training.models.readouts import PrivilegedReadouts
from training.ranks import SampleGenerator
from training.stages.representation import losses, scenario_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, TOY_SCENARIOS)


@pytest.fixture(scope="module")
def config(toy: Path) -> Any:
    return toy_config("representation", toy, Path("unused"), 1)


def cut_short(data: Dataset) -> Batch:
    """Windows that reach beyond the end of their episodes."""
    return make_batch(data, np.array([LENGTH - 3, 2 * LENGTH - 2]), WINDOW, CPU)


def test_invalid_steps_have_no_influence_on_any_loss(data: Dataset, config: Any) -> None:
    """Whatever stands in the padding, the losses are the same (BatchNorm, which sees it, is in evaluation mode)."""
    model = new_training_model("tiny", data, 0, None).eval()
    batch = cut_short(data)
    assert batch.frames is not None
    with torch.no_grad():
        before, _ = losses(model, batch, config, SampleGenerator.alone(len(batch.rows), 0))
        padding = batch.valid == 0
        for name in ("rewards", "terminated", "variables", "next_variables", "object_maps", "actions"):
            values = getattr(batch, name)
            values[padding] = 1 - values[padding]
        batch.frames[padding] = 255 - batch.frames[padding]
        after, _ = losses(model, batch, config, SampleGenerator.alone(len(batch.rows), 0))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_every_term_of_the_loss_has_a_weight(data: Dataset, config: Any) -> None:
    batch = cut_short(data)
    terms, _ = losses(new_training_model("tiny", data, 0, None), batch, config, SampleGenerator.alone(len(batch.rows)))
    assert terms.keys() == dataclasses.asdict(RepresentationLossWeights()).keys()


def test_scenarios_in_which_little_changes_count_more() -> None:
    """By hand: changes of 1 and 4, on average 2.5; a third scenario is absent."""
    z = torch.stack([torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])])
    batch = SimpleNamespace(follows=torch.ones(2, 1), scenario=torch.tensor([0, 2]))
    weights = scenario_weights(z, batch, 3, (0.7, 3.0))  # type: ignore[arg-type]
    assert weights[:, 0].tolist() == pytest.approx([2.5, 0.7])  # 2.5 / 4 is below the least weight


# ---- privileged readouts ---------------------------------------------------------------------------------------------


def test_readouts_are_linear_and_learn_only_what_is_known(data: Dataset) -> None:
    """Two places with coordinates of their own: a linear head per place finds both; no offset teaches nothing."""
    torch.manual_seed(0)
    width = 12
    readouts = PrivilegedReadouts(width, 2)
    pose = np.random.default_rng(0).normal(0, 200, (100, 4))
    two_places = SimpleNamespace(
        places=["a", "b"], place=np.repeat([0, 1], 50), pose=pose, annotated=np.ones(100, bool)
    )
    readouts.calibrate(two_places)  # type: ignore[arg-type]
    x = torch.randn(64, 2, width, generator=seeded(3))
    place = torch.arange(64) % 2
    position = torch.where(place[:, None, None] == 0, 150 * x[..., :2], -150 * x[..., :2])
    angle = torch.atan2(x[..., 2], x[..., 3]).rad2deg()
    no_offset = torch.full((64, 2), math.nan)
    batch = dataclasses.replace(
        make_batch(data, np.arange(64) % len(data), 2, CPU),
        place=place,
        pose=torch.cat([position, 0 * position[..., :1], angle[..., None]], -1),
        sightings=torch.stack([no_offset, (x[..., 4] > 0).float(), (x[..., 5] > 0).float()], -1),
    )
    optimiser = torch.optim.Adam(readouts.parameters(), 0.02)
    found = []
    for _ in range(300):
        loss = readouts.loss(x[..., :8], x[..., 8:], batch, torch.ones(64, 2))
        found.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        gradient = readouts.sighting.weight.grad
        assert gradient is not None and (gradient[0] == 0).all(), "learned an offset of nothing"
        optimiser.step()
    assert found[-1] < 0.2 * found[0]
