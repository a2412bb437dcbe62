"""Promises of the losses: each is checked against a value known from theory or counted by hand.

Legend: N samples, D width.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.losses import (
    EDGE,
    FARTHEST,
    effective_rank,
    masked_mean,
    motion_mismatch,
    nearest_index,
    relative_error,
    shift_profile,
    sigreg,
    two_hot,
)
from training.world_model import auc, heat_loss

N, D = 2000, 16


def gaussian(seed: int = 0, n: int = N) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floor(limit: float = 3.0) -> float:
    """Expectation for N true Gaussian samples: 2·∫ (1 − e^{−t²}) e^{−t²/2} dt over 0…limit, whatever N is."""
    first = math.sqrt(math.pi / 2) * math.erf(limit / math.sqrt(2))
    return 2 * (first - math.sqrt(math.pi / 6) * math.erf(limit * math.sqrt(1.5)))


@pytest.mark.parametrize("n", [200, N])
def test_sigreg_of_a_standard_gaussian_is_its_theoretical_floor(n: int) -> None:
    values = [float(sigreg(gaussian(seed, n), dice(seed))) for seed in range(12)]
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
    assert float(sigreg(spoilt, dice())) > 5 * floor()


def test_sigreg_of_a_collapse_is_known() -> None:
    t = torch.linspace(0, 3, 17)
    gauss = torch.exp(-0.5 * t**2)
    expected = 2 * N * float(torch.trapezoid((1 - gauss) ** 2 * gauss, t))
    assert float(sigreg(torch.zeros(N, D), dice())) == pytest.approx(expected, rel=1e-4)


def test_descending_sigreg_makes_a_gaussian_of_a_square() -> None:
    z = (torch.rand(512, 2, generator=dice()) * 0.5 + 1).requires_grad_()
    optimiser = torch.optim.Adam([z], 0.05)
    before = float(sigreg(z.detach(), dice()))
    for step in range(150):
        optimiser.zero_grad()
        sigreg(z, dice(step), directions=32).backward()
        optimiser.step()
    assert float(sigreg(z.detach(), dice())) < 0.05 * before
    torch.testing.assert_close(torch.cov(z.detach().T), torch.eye(2), atol=0.2, rtol=0)


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


def test_nearest_index() -> None:
    assert nearest_index(torch.tensor([[-99.0, -0.4], [2.1, 9.0]]), SUPPORT).tolist() == [[0, 2], [3, 4]]


def test_masked_mean_counts_the_masked_steps_only() -> None:
    values = torch.tensor([[[1.0, 3.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 9.0]]])  # 2, 2, 2
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert float(masked_mean(values, mask)) == pytest.approx((2 + 5 + 8) / 3)
    assert float(masked_mean(values[..., 0], mask)) == pytest.approx((1 + 5 + 7) / 3)
    assert float(masked_mean(values, mask * 0)) == 0


def test_effective_rank_counts_directions() -> None:
    z = gaussian(n=20_000)
    assert effective_rank(z) == pytest.approx(D, rel=0.01)
    assert effective_rank(z[:, :1] * torch.arange(1.0, D + 1)) == pytest.approx(1, abs=0.01)
    half = z * torch.tensor([1.0] * (D // 2) + [0.0] * (D // 2))
    assert effective_rank(half) == pytest.approx(D / 2, rel=0.01)
    assert effective_rank(z.view(200, 100, D)) == pytest.approx(effective_rank(z))


def test_auc_by_counting_pairs() -> None:
    scores, labels = torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1])
    assert auc(scores, labels) == pytest.approx(3.5 / 4)
    assert auc(-scores, labels) == pytest.approx(0.5 / 4)
    assert math.isnan(auc(scores, labels * 0))


def test_heat_loss_weighs_cells_with_something_in_them_six_times() -> None:
    heat = torch.zeros(1, 1, 3, 12, 16)
    heat[0, 0, 0, 0, 0] = 1
    logits, mask = torch.zeros(1, 1, heat.numel()), torch.ones(1, 1)
    assert float(heat_loss(logits, heat, mask)) == pytest.approx(math.log(2) * (heat.numel() + 5) / heat.numel(), rel=1e-5)
    assert float(heat_loss(logits + 40 * (2 * heat.flatten(2) - 1), heat, mask)) < 1e-6


def test_every_world_counts_alike_in_units_of_its_own_change() -> None:
    """By hand: errors of 1 and 4 per dimension, units of 2 and 8, a third world absent, masked steps ignored."""
    target, change = torch.zeros(3, 2, D), torch.tensor([[2.0, 4.0], [8.0, 8.0], [1.0, 1.0]])
    guess = torch.stack([torch.ones(2, D), 2 * torch.ones(2, D), 100 * torch.ones(2, D)])
    mask, world = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1, 1])
    expected = ((1 / 2 + 1 / 4) / 2 + 4 / 8) / 2
    assert float(relative_error(guess, target, change, mask, world, 3)) == pytest.approx(expected)
    assert float(relative_error(guess, target, change, 0 * mask, world, 3)) == 0


def film(shift: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A wall of random bricks and the same `shift` pixels farther to the right, (2, 3, 120, 160) each."""
    bricks = torch.rand(2, 1, 30, 60, generator=dice(seed)).repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)
    return bricks[..., 40:200], bricks[..., 40 - shift : 200 - shift]


@pytest.mark.parametrize("shift", [-12, 0, 4])
def test_a_picture_is_found_where_it_went(shift: int) -> None:
    profile = shift_profile(*film(shift))
    torch.testing.assert_close(profile.exp().sum(-1), torch.ones(profile.shape[:-1]))
    assert bool((profile.argmax(-1) - FARTHEST == shift // EDGE).float().mean() > 0.9), profile.argmax(-1) - FARTHEST


def test_pictures_must_move_as_the_real_ones_whatever_is_on_them() -> None:
    real, other, still = film(8), film(8, seed=1), film(0, seed=1)
    same, moving, standing = (float(motion_mismatch(*pictures, *real)) for pictures in (real, other, still))
    assert same == pytest.approx(0, abs=1e-5) and moving < 0.5 * standing, (moving, standing)


def test_a_wall_learns_to_move() -> None:
    """Descending the loss, the second of two unlike walls becomes the first, moved on."""
    before, after = film(0)[0], film(0, seed=1)[0].clone().requires_grad_(True)
    optimiser = torch.optim.Adam([after], 0.05)
    for _ in range(30):
        optimiser.zero_grad()
        motion_mismatch(before, after, *film(8, seed=2)).backward()
        optimiser.step()
    moved = shift_profile(before, after.detach()).argmax(-1) - FARTHEST
    assert float((moved == 8 // EDGE).float().mean()) > 0.9, moved
