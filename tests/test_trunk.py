"""Promises of the trunk and the manifold: stepping with a cache is the full pass; states stay where real ones are.

Legend: B batch, T time, D state width, E trunk width, V variables, W context, L layers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from doom_dream_env.world_model import PRESETS
from doom_dream_env.world_model.manifold import Manifold
from doom_dream_env.world_model.trunk import Trunk, step_flags

B = 3
E, W, L = 24, 5, 2
LONG = 4 * W  # windows longer than the context
TOLERANCE = 1e-4
CONFIG = dataclasses.replace(
    PRESETS["tiny"],
    state_width=16,
    trunk_width=E,
    trunk_depth=L,
    trunk_heads=2,
    context=W,
    variables=("HEALTH", "AMMO2"),
)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    torch.manual_seed(0)
    trunk = Trunk(CONFIG).eval().requires_grad_(False)
    for block in trunk.blocks:
        block.attention.distance_bias.normal_()
    return trunk


def tokens(steps: int, seed: int = 0) -> Tensor:
    return torch.randn(B, steps, E, generator=torch.Generator().manual_seed(seed))


def stepped(trunk: Trunk, window: Tensor, cache: Tensor | None = None, length: Tensor | None = None) -> Tensor:
    """Features (B, T, E) of a window, one step at a time."""
    cache = torch.zeros(len(window), L, 2, W, E) if cache is None else cache
    length = torch.zeros(len(window), dtype=torch.long) if length is None else length
    out = []
    for token in window.unbind(1):
        h, cache = trunk.step(token, cache, length)
        length = (length + 1).clamp(max=W - 1)
        out.append(h)
    return torch.stack(out, 1)


@pytest.mark.parametrize("steps", [1, W - 1, W, W + 1, LONG])
def test_stepping_with_a_cache_is_the_full_pass(trunk: Trunk, steps: int) -> None:
    window = tokens(steps)
    torch.testing.assert_close(stepped(trunk, window), trunk(window), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("prefix", [1, W - 1, W, W + 3])
def test_prefill_then_stepping_is_the_full_pass(trunk: Trunk, prefix: int) -> None:
    window = tokens(LONG)
    h, cache, length = trunk.prefill(window[:, :prefix])
    whole = trunk(window)
    rest = stepped(trunk, window[:, prefix:], cache, length)
    torch.testing.assert_close(h, whole[:, :prefix], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(rest, whole[:, prefix:], atol=TOLERANCE, rtol=0)


def test_dreams_that_began_at_different_times_step_together(trunk: Trunk) -> None:
    old = tokens(W + 2, seed=1)
    young = tokens(2, seed=2)
    _, old_cache, old_length = trunk.prefill(old[:, :-1])
    _, young_cache, young_length = trunk.prefill(young[:, :-1])
    newest = torch.cat([old[:, -1], young[:, -1]])
    h, _ = trunk.step(newest, torch.cat([old_cache, young_cache]), torch.cat([old_length, young_length]))
    expected = torch.cat([trunk(old)[:, -1], trunk(young)[:, -1]])
    torch.testing.assert_close(h, expected, atol=TOLERANCE, rtol=0)


def test_the_trunk_sees_its_context_and_nothing_older_or_newer(trunk: Trunk) -> None:
    reach = L * (W - 1)  # a token reaches W − 1 steps further in each layer
    window = tokens(LONG)
    changed = tokens(LONG)
    changed[:, 2] += 1.0
    difference = (trunk(window) - trunk(changed)).abs().amax((0, 2))
    assert torch.all(difference[:2] == 0), "a feature knew the future"
    assert torch.all(difference[2 : 2 + reach + 1] > 1e-7)
    assert torch.all(difference[2 + reach + 1 :] < 1e-6), "an older step than the context had influence"


def test_an_unknown_action_has_no_influence(trunk: Trunk) -> None:
    z = torch.randn(B, CONFIG.state_width)
    variables = torch.zeros(B, 2)
    scenario = torch.zeros(B, dtype=torch.long)
    pressed, nothing = torch.ones(B, 9), torch.zeros(B, 9)

    def token(action: Tensor, action_known: bool) -> Tensor:
        flags = step_flags(B, action_known=action_known, episode_start=False, device=z.device)
        return trunk.embed(z, action, variables, variables, scenario, flags, scenario)

    assert torch.equal(token(pressed, False), token(nothing, False))
    assert not torch.allclose(token(pressed, True), token(nothing, True))


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
