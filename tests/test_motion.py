"""Promises of the motion loss: it finds where pictures went, whatever is on them.

Legend: N pictures.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.models.motion import FARTHEST_SHIFT, PIXELS_PER_EDGE, motion_mismatch, shift_profile


def film(shift: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A wall of random bricks and the same `shift` pixels farther to the right, (2, 3, 120, 160) each."""
    bricks = torch.rand(2, 1, 30, 60, generator=torch.Generator().manual_seed(seed))
    wall = bricks.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)
    return wall[..., 40:200], wall[..., 40 - shift : 200 - shift]


@pytest.mark.parametrize("shift", [-12, 0, 4])
def test_a_picture_is_found_where_it_went(shift: int) -> None:
    profile = shift_profile(*film(shift))
    torch.testing.assert_close(profile.exp().sum(-1), torch.ones(profile.shape[:-1]))
    found = profile.argmax(-1) - FARTHEST_SHIFT
    assert bool((found == shift // PIXELS_PER_EDGE).float().mean() > 0.9), found


def test_pictures_must_move_as_the_real_ones_whatever_is_on_them() -> None:
    real = film(8)
    other = film(8, seed=1)
    still = film(0, seed=1)
    same, moving, standing = (float(motion_mismatch(*pictures, *real)) for pictures in (real, other, still))
    assert same == pytest.approx(0, abs=1e-5) and moving < 0.5 * standing, (moving, standing)


def test_a_wall_learns_to_move() -> None:
    """Descending the loss, the second of two unlike walls becomes the first, moved on."""
    before = film(0)[0]
    after = film(0, seed=1)[0].clone().requires_grad_(True)
    optimiser = torch.optim.Adam([after], 0.05)
    for _ in range(30):
        optimiser.zero_grad()
        motion_mismatch(before, after, *film(8, seed=2)).backward()
        optimiser.step()
    moved = shift_profile(before, after.detach()).argmax(-1) - FARTHEST_SHIFT
    assert float((moved == 8 // PIXELS_PER_EDGE).float().mean()) > 0.9, moved
