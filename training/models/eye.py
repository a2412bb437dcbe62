"""Loss of the eye: what it says of a frame against what the game knew.

Legend: N frames, D labelled things of a frame at most, R x C cells.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.scenarios import FRAME_SHAPE
from doom_dream_env.world_model.things.eye import CELL, COLUMNS, FOCAL, MIDDLE, ROWS, Eye


@dataclass(frozen=True)
class EyeTargets:
    """What the game knew of frames.

    Attributes:
        kind: of each thing in sight, 0 where there is none, int64 (N, D).
        box: left, top, width, height in pixels, (N, D, 4).
        place: forward, left, up, (N, D, 3).
        walls: (N, W).
        pose: x and y over 512, sine, cosine, (N, 4).
        located: 1 where the pose means something, (N,).
    """

    kind: Tensor
    box: Tensor
    place: Tensor
    walls: Tensor
    pose: Tensor
    located: Tensor


def centres(t: EyeTargets) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of the cell of each box's centre (N, D), and the heat that they should give (N, R, C)."""
    left, top, width, height = t.box.float().unbind(-1)
    right, bottom = (left + width).clamp(max=160), (top + height).clamp(max=120)
    x = (left.clamp(min=0) + right) / 2 / CELL
    y = (top.clamp(min=0) + bottom) / 2 / CELL
    column = x.long().clamp(0, COLUMNS - 1)
    row = y.long().clamp(0, ROWS - 1)
    # A bump of a size that goes with the box; its middle is exactly 1.
    sigma_x = (width / CELL / 6).clamp(0.35, 2.0)[..., None]
    sigma_y = (height / CELL / 6).clamp(0.35, 2.0)[..., None]
    across = (-0.5 * ((torch.arange(COLUMNS, device=x.device) - column[..., None]) / sigma_x).square()).exp()
    down = (-0.5 * ((torch.arange(ROWS, device=x.device) - row[..., None]) / sigma_y).square()).exp()
    bumps = down[..., :, None] * across[..., None, :] * (t.kind > 0)[..., None, None]
    return row, column, bumps.amax(1)


def mirrored(frames: Tensor, t: EyeTargets) -> tuple[Tensor, EyeTargets]:
    """Frames (N, 120, 160, 3) with left and right exchanged; where that is in the level is then unknown."""
    left = FRAME_SHAPE[1] - t.box[..., 0] - t.box[..., 2]
    return frames.flip(2), dataclasses.replace(
        t,
        box=torch.cat([left[..., None], t.box[..., 1:]], -1),
        place=t.place * t.place.new_tensor([1.0, -1.0, 1.0]),
        walls=t.walls.flip(1),
        located=torch.zeros_like(t.located),
    )


def eye_loss(eye: Eye, frames: Tensor, scenario: Tensor, t: EyeTargets) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss a frame, and its parts.

    Args:
        eye: who sees.
        frames: uint8 (N, 120, 160, 3).
        scenario: index, (N,).
        t: what the game knew.
    """
    seen = eye(frames, scenario)
    row, column, heat = centres(t)
    n = len(frames)
    log_p, log_q = F.logsigmoid(seen.heat), F.logsigmoid(-seen.heat)
    p = seen.heat.sigmoid()
    hit = heat > 0.999
    focal = torch.where(hit, (1 - p).square() * log_p, (1 - heat).pow(4) * p.square() * log_q)
    parts = {"heat": -focal.sum() / n}
    which, thing = torch.nonzero((t.kind > 0) & (t.place[..., 0] > 4.0), as_tuple=True)
    r, c = row[which, thing], column[which, thing]
    kind, place = t.kind[which, thing], t.place[which, thing]
    if len(which):
        parts["kind"] = 0.5 * F.cross_entropy(seen.kind[which, :, r, c], kind, reduction="sum") / n
        axis = (MIDDLE - FOCAL * place[:, 1] / place[:, 0] + 0.5) / CELL - (c + 0.5)
        parts["column"] = F.smooth_l1_loss(seen.column[which, r, c], axis.clamp(-8, 8), reduction="sum", beta=0.1) / n
        log_error = seen.depth[which, 1, r, c].clamp(-4.0, 1.0)
        gap = (seen.depth[which, 0, r, c] - place[:, 0].log()).abs()
        parts["depth"] = 0.5 * (gap / log_error.exp() + log_error).sum() / n
        height = (place[:, 2] / 32.0).clamp(-6, 6)
        parts["height"] = F.smooth_l1_loss(seen.height[which, r, c], height, reduction="sum", beta=0.2) / n
    parts["walls"] = 3.0 * F.smooth_l1_loss((seen.walls + 1).clamp(min=0.5).log(), (t.walls + 1).log(), beta=0.1)
    gap = (seen.pose - t.pose).abs().sum(-1)
    parts["pose"] = ((gap / seen.pose_log_error.exp() + 4 * seen.pose_log_error) * t.located).mean()
    return sum(parts.values()), parts  # type: ignore[return-value]
