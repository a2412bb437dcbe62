"""Promises of the losses: each is checked against a value known from theory or counted by hand.

Legend: N samples, D width.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import make_model
from torch import Tensor

from doom_dream_env.scenarios import SCENARIOS, VARIABLES
from doom_dream_env.world_model.outcomes import observed, two_hot
from training.models.losses import (
    OBJECT_WEIGHT,
    masked_mean,
    object_map_loss,
    outcome_loss,
    outcome_targets,
    relative_error,
    sigreg,
)

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


def test_descending_sigreg_makes_a_gaussian_of_a_square() -> None:
    z = (torch.rand(512, 2, generator=generator()) * 0.5 + 1).requires_grad_()
    optimiser = torch.optim.Adam([z], 0.05)
    before = float(sigreg_of_one_group(z.detach(), generator()))
    for step in range(150):
        optimiser.zero_grad()
        sigreg_of_one_group(z, generator(step), directions=32).backward()
        optimiser.step()
    assert float(sigreg_of_one_group(z.detach(), generator())) < 0.05 * before
    torch.testing.assert_close(torch.cov(z.detach().T), torch.eye(2), atol=0.2, rtol=0)


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


@pytest.mark.parametrize("value", [-100.0, -37.25, -1.0, -0.5, 0.0, 3.0, 4.0, 4.25, 4.5])
def test_two_hot_has_the_values_mean_on_two_neighbours(value: float) -> None:
    target = two_hot(torch.tensor([[value]]), SUPPORT)
    assert target.shape == (1, 1, len(SUPPORT))
    assert float(target.sum()) == pytest.approx(1) and bool((target >= 0).all())
    assert float((target * SUPPORT).sum()) == pytest.approx(value, abs=1e-5)
    hot = target[0, 0].nonzero()[:, 0]
    assert len(hot) <= 2 and hot.max() - hot.min() <= 1


@pytest.mark.parametrize(("value", "clamped"), [(-1e6, -100.0), (7.0, 4.5)])
def test_two_hot_clamps_to_its_support(value: float, clamped: float) -> None:
    assert float((two_hot(torch.tensor([value]), SUPPORT) * SUPPORT).sum()) == clamped


def test_masked_mean_counts_the_masked_steps_only() -> None:
    values = torch.tensor([[[1.0, 3.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 9.0]]])  # 2, 2, 2
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert float(masked_mean(values, mask)) == pytest.approx((2 + 5 + 8) / 3)
    assert float(masked_mean(values[..., 0], mask)) == pytest.approx((1 + 5 + 7) / 3)
    assert float(masked_mean(values, mask * 0)) == 0


def test_the_object_map_loss_weighs_cells_with_something_in_them_six_times() -> None:
    maps = torch.zeros(1, 1, 3, 12, 16)
    maps[0, 0, 0, 0, 0] = 1
    logits = torch.zeros(1, 1, maps.numel())
    mask = torch.ones(1, 1)
    expected = math.log(2) * (maps.numel() + 5) / maps.numel()
    assert OBJECT_WEIGHT == 6 and float(object_map_loss(logits, maps, mask)) == pytest.approx(expected, rel=1e-5)
    assert float(object_map_loss(logits + 40 * (2 * maps.flatten(2) - 1), maps, mask)) < 1e-6


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


def test_variables_that_a_scenario_lacks_do_not_count() -> None:
    """take_cover has no ammunition: its masked logits, −inf, bring neither loss nor gradient nor NaN."""
    model = make_model().requires_grad_(True)
    dynamics = model.dynamics
    index = VARIABLES.index("AMMO2")
    take_cover = model.config.scenarios.index("take_cover")
    assert "AMMO2" not in SCENARIOS["take_cover"].variables
    batch = SimpleNamespace(
        variables=torch.zeros(2, 3, 4),
        next_variables=torch.zeros(2, 3, 4),
        scenario=torch.tensor([take_cover, take_cover]),
        valid=torch.ones(2, 3),
        variables_confidence=torch.ones(2, 3, 4),
        outcome_confidence=torch.ones(2, 3),
        terminated=torch.zeros(2, 3),
        rewards=torch.ones(2, 3),
    )
    outcome = outcome_targets(model, batch)  # type: ignore[arg-type]
    h = torch.randn(2, 3, model.config.trunk_width)
    told, unknown = (
        dynamics.transition(h, torch.zeros(2, 3, 9), scenario[:, None], observed(outcome))
        for scenario in (batch.scenario, torch.full_like(batch.scenario, len(model.config.scenarios)))
    )
    size = dynamics.sizes[index]
    assert told.outcome_logits[..., index, :size].isinf().any()
    assert not unknown.outcome_logits[..., index, :size].isinf().any()
    loss = outcome_loss(model, told, batch)  # type: ignore[arg-type]
    assert torch.equal(loss, outcome_loss(model, unknown, batch))  # type: ignore[arg-type]
    loss.backward()
    gradient = dynamics.outcome.weight.grad
    assert gradient is not None and bool(gradient.isfinite().all())
    by_variable = gradient.split(dynamics.sizes)
    assert not by_variable[index].any() and by_variable[VARIABLES.index("HEALTH")].any()
