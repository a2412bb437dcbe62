"""Promises of the stage representation and its losses, checked against theory or counted by hand.

Legend: N samples, D width."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_model
from torch import Tensor
from toy_world import LENGTH, TOY_SCENARIOS, WINDOW

from doom_dream_env.scenarios import VARIABLES
from doom_dream_env.world_model.outcomes import two_hot
from training.data.batch import Batch, make_batch
from training.data.dataset import Dataset
from training.models.losses import (
    outcome_targets,
    relative_error,
    sigreg,
)
from training.models.packing import new_training_model
from training.ranks import SampleGenerator
from training.stages.representation import LOSS_WEIGHTS, losses

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, TOY_SCENARIOS)


def cut_short(data: Dataset) -> Batch:
    """Windows that reach beyond the end of their episodes."""
    return make_batch(data, np.array([LENGTH - 3, 2 * LENGTH - 2]), WINDOW, CPU)


def test_invalid_steps_have_no_influence_on_any_loss(data: Dataset) -> None:
    """Whatever stands in the padding, the losses are the same (BatchNorm, which sees it, is in evaluation mode)."""
    model = new_training_model("tiny", data, 0, None).eval()
    batch = cut_short(data)
    assert batch.frames is not None
    with torch.no_grad():
        before, _ = losses(model, batch, SampleGenerator.alone(len(batch.rows), 0))
        padding = batch.valid == 0
        for name in ("rewards", "terminated", "variables", "next_variables", "object_maps", "actions"):
            values = getattr(batch, name)
            values[padding] = 1 - values[padding]
        batch.frames[padding] = 255 - batch.frames[padding]
        after, _ = losses(model, batch, SampleGenerator.alone(len(batch.rows), 0))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_every_term_of_the_loss_has_a_weight(data: Dataset) -> None:
    batch = cut_short(data)
    terms, _ = losses(new_training_model("tiny", data, 0, None), batch, SampleGenerator.alone(len(batch.rows)))
    assert terms.keys() == LOSS_WEIGHTS.keys()


N = 2000
D = 16


def gaussian(seed: int = 0, n: int = N) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sigreg_of_one_group(z: Tensor, generator: torch.Generator, **options: int) -> Tensor:
    return sigreg(z, torch.zeros(len(z), dtype=torch.long), 1, generator, **options)


def floor(limit: float = 3.0) -> float:
    """Expectation for N true Gaussian samples: 2·∫ (1 − e^{−t²}) e^{−t²/2} dt over 0…limit, whatever N is."""
    first = math.sqrt(math.pi / 2) * math.erf(limit / math.sqrt(2))
    return 2 * (first - math.sqrt(math.pi / 6) * math.erf(limit * math.sqrt(1.5)))


@pytest.mark.parametrize("n", [200, N])
def test_sigreg_of_a_standard_gaussian_is_its_theoretical_floor(n: int) -> None:
    values = [float(sigreg_of_one_group(gaussian(seed, n), generator(seed))) for seed in range(12)]
    assert sum(values) / len(values) == pytest.approx(floor(), rel=0.15)


@pytest.mark.parametrize(
    "spoilt",
    [
        gaussian() * 0,
        gaussian() * 0.5,
        gaussian() * 2,
        gaussian() + 1,
        gaussian()[:, :1].expand(N, D).clone(),
        gaussian() * torch.tensor([1.0] * (D // 2) + [0.0] * (D // 2)),
        gaussian().sign() * torch.eye(D)[torch.arange(N) % D] * math.sqrt(D),
    ],
    ids=["collapsed", "small", "large", "shifted", "rank one", "half the dimensions", "corners"],
)
def test_sigreg_of_anything_else_is_far_above_the_floor(spoilt: Tensor) -> None:
    assert float(sigreg_of_one_group(spoilt, generator())) > 5 * floor()


def test_sigreg_asks_every_group_for_itself_to_fill_the_gaussian() -> None:
    """Two halves of a Gaussian make one together, but neither half is one."""
    z = gaussian()
    sides = (z[:, 0] > 0).long()
    lots = torch.arange(N) % 2
    assert float(sigreg(z, lots, 2, generator())) < 2.5 * floor()
    assert float(sigreg(z, sides, 2, generator())) > 10 * floor()
    apart = [float(sigreg_of_one_group(z[lots == group], generator())) for group in (0, 1)]
    assert float(sigreg(z, lots, 3, generator())) == pytest.approx(sum(apart), rel=1e-4)  # the third one has no states


SUPPORT = torch.tensor([-100.0, -1.0, 0.0, 4.0, 4.5])


@pytest.mark.parametrize("value", [-1e6, -100.0, -37.25, -1.0, -0.5, 0.0, 3.0, 4.0, 4.25, 4.5, 7.0])
def test_two_hot_has_the_values_mean_on_two_neighbours(value: float) -> None:
    target = two_hot(torch.tensor([[value]]), SUPPORT)
    assert target.shape == (1, 1, len(SUPPORT))
    assert float(target.sum()) == pytest.approx(1) and bool((target >= 0).all())
    clamped = min(max(value, -100.0), 4.5)
    assert float((target * SUPPORT).sum()) == pytest.approx(clamped, abs=1e-5)
    hot = target[0, 0].nonzero()[:, 0]
    assert len(hot) <= 2 and hot.max() - hot.min() <= 1


def test_every_scenario_counts_alike_in_units_of_its_own_change() -> None:
    """By hand: errors of 1 and 4 per dimension, units of 2 and 8, a third scenario absent, masked steps ignored."""
    target = torch.zeros(3, 2, D)
    change = torch.tensor([[2.0, 4.0], [8.0, 8.0], [1.0, 1.0]])
    predicted = torch.stack([torch.ones(2, D), 2 * torch.ones(2, D), 100 * torch.ones(2, D)])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    scenario = torch.tensor([0, 1, 1])
    expected = ((1 / 2 + 1 / 4) / 2 + 4 / 8) / 2
    assert float(relative_error(predicted, target, change, mask, scenario)) == pytest.approx(expected)
    assert float(relative_error(predicted, target, change, 0 * mask, scenario)) == 0


def test_a_change_that_the_weights_hold_for_impossible_counts_as_the_nearest_possible_one() -> None:
    """Otherwise data that show more than those the weights began with would make the loss infinite."""
    model = make_model()
    health = VARIABLES.index("HEALTH")
    none, hit = (model.dynamics.changes[health].tolist().index(change) for change in (0.0, -100.0))
    model.dynamics.possible_changes[:, health, hit] = False
    next_variables = torch.zeros(1, 2, 4)
    next_variables[0, 1, health] = -100.0
    batch = SimpleNamespace(variables=torch.zeros(1, 2, 4), next_variables=next_variables, scenario=torch.tensor([0]))
    assert outcome_targets(model, batch)[..., health].tolist() == [[none, none]]  # type: ignore[arg-type]
    model.dynamics.possible_changes[:, health, hit] = True
    assert outcome_targets(model, batch)[..., health].tolist() == [[none, hit]]  # type: ignore[arg-type]
