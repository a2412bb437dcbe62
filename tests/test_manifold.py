"""Promises of the manifold: real states are left alone, others come back, each scenario to its own."""

from __future__ import annotations

import torch
from torch import Tensor

from doom_dream_env.world_model.manifold import Manifold


def plane(scenarios: int = 2, width: int = 6) -> tuple[Manifold, Tensor]:
    """Scenario 0: states on a plane with spread 3 and 0.5; scenario 1 is as before any fit."""
    directions = torch.linalg.qr(torch.randn(width, 2, generator=torch.Generator().manual_seed(0)))[0]
    manifold = Manifold(scenarios, width)
    along = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([3.0, 0.5])
    states = along @ directions.T + 1
    manifold.fit(0, states)
    return manifold, states


def test_real_states_are_left_alone_and_others_come_back() -> None:
    manifold, states = plane()
    moved = (manifold(states, torch.zeros(len(states), dtype=torch.long)) - states).abs().amax(1)
    assert (moved < 1e-4).float().mean() > 0.99
    away = states[:100] + 5 * torch.linalg.svd(states[:50] - states[:50].mean(0))[2][2:].sum(0)  # off the plane
    back = manifold(away, torch.zeros(100, dtype=torch.long))
    torch.testing.assert_close(back, states[:100], atol=0.05, rtol=0)
    torch.testing.assert_close(manifold(back, torch.zeros(100, dtype=torch.long)), back, atol=1e-4, rtol=0)


def test_states_of_several_scenarios_are_each_kept_in_their_own() -> None:
    manifold, states = plane()
    mixed = torch.tensor([0, 1, 0, 2])
    wild = 7 * torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(2))
    together = manifold(wild, mixed)
    for row, scenario in enumerate(mixed):
        torch.testing.assert_close(together[row], manifold(wild[row], scenario.expand(3)), atol=1e-5, rtol=0)
    assert together[1].abs().max() <= 4 and not torch.equal(together[0], together[2])
    wild.requires_grad_()
    manifold(wild, mixed).sum().backward()
    inside = (wild[1].abs() < 4).float()  # scenario 1 has an upright box, and a face of it passes no gradient
    torch.testing.assert_close(wild.grad[1], inside, atol=1e-5, rtol=0)


def test_noise_is_shaped_like_real_states() -> None:
    manifold, states = plane()
    scenario = torch.zeros(4000, dtype=torch.long)
    standard = torch.randn(4000, 1, 6, generator=torch.Generator().manual_seed(3))
    noise = manifold.noise(scenario, torch.full((4000, 1, 1), 0.5), standard)[:, 0]
    torch.testing.assert_close(torch.cov(noise.T), 0.25 * torch.cov(states.T), atol=0.15, rtol=0)
