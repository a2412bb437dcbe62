"""Do the pictures of two successive moments move as the real frames do?

A decoder that a perceptual distance asks for bricks paints them where it likes, and they stay there while the camera
turns. A squared error cannot punish that: bricks are thin, and a wall of the wrong bricks is as wrong as a wall of the
right ones a few pixels aside. So what is compared here is not what is painted but where it goes: for every part of the
picture, how likely each sideways shift of its edges is, in the decoded pair and in the real one.

Legend: N pairs of pictures, H, W their size, R windows of a picture, S shifts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Edges are taken between columns of 2x2 averaged pixels, because a single pixel more or less should not matter. All
# lengths below are in these halved pixels.
PIXELS_PER_EDGE = 2
# Shifts of up to 14 to each side are compared: 28 of the picture's 160 pixels.
FARTHEST_SHIFT = 14
# A shift is measured over windows of 10 rows and 20 columns: one number for the whole picture would miss that near
# things move farther than distant ones.
WINDOW = (10, 20)
# Where a wall is flat there are no edges, and a correlation of nothing with nothing would be noise. This grey level
# (of 1) is added to the edges' strength, so that such windows are undecided between all shifts.
FAINTEST_EDGE = 0.01
# Temperature of the softmax over shifts: a correlation that is better by 0.1 counts e times as much.
CORRELATION_TEMPERATURE = 0.1


def shift_profile(before: Tensor, after: Tensor) -> Tensor:
    """Where each part of a picture went sideways: log probabilities of the shifts, (N, R, S).

    A softmax over normalised cross-correlations of edges. What the edges are made of does not matter, only whether they
    move.

    Args:
        before: pictures (N, 3, H, W).
        after: the same places a moment later, (N, 3, H, W).
    """
    edges_before = vertical_edges(before)
    edges_after = vertical_edges(after)
    width = edges_before.shape[-1]
    here = edges_before[:, None]
    padded = F.pad(edges_after, (FARTHEST_SHIFT, FARTHEST_SHIFT))
    there = padded.unfold(-1, width, 1).transpose(1, 2)  # N, S, H / 2, W / 2 − 1

    def window_means(product: Tensor) -> Tensor:
        return F.avg_pool2d(product, WINDOW, ceil_mode=True).flatten(2)

    floor = FAINTEST_EDGE**2
    energy = (window_means(here.square()) + floor) * (window_means(there.square()) + floor)
    correlation = window_means(here * there) / energy.sqrt()  # N, S, R
    return (correlation / CORRELATION_TEMPERATURE).log_softmax(1).transpose(1, 2)


def vertical_edges(pictures: Tensor) -> Tensor:
    """Differences of grey level between neighbouring columns of halved pictures, (N, H / 2, W / 2 − 1)."""
    grey = pictures.mean(1, keepdim=True)
    return F.avg_pool2d(grey, PIXELS_PER_EDGE).diff(dim=-1)[:, 0]


def motion_mismatch(before: Tensor, after: Tensor, real_before: Tensor, real_after: Tensor) -> Tensor:
    """How differently pairs of pictures (N, 3, H, W) move from the real ones: mean KL divergence of their shifts."""
    with torch.no_grad():
        real = shift_profile(real_before, real_after)
    painted = shift_profile(before, after)
    return F.kl_div(painted, real, log_target=True, reduction="none").sum(-1).mean()
