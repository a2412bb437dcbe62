"""What a frame shows of things: for each cell of the picture whether a thing stands there, which, and where.

A detector of centres (CenterNet, arXiv 1904.07850) on cells of 5x5 pixels, which also says how far the walls are and
where in the level the player stands. It sees one frame; what moves how is the tracker's to find out.

Legend: N frames, R x C cells, Q kinds, W columns of walls.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import FRAME_SHAPE
from doom_dream_env.world_model.things.state import WALLS

CELL = 5
ROWS, COLUMNS = FRAME_SHAPE[0] // CELL, FRAME_SHAPE[1] // CELL
FOCAL = FRAME_SHAPE[1] / 2  # pixels: the field of view is 90 degrees
MIDDLE = FRAME_SHAPE[1] / 2 - 0.5
POSE = 4  # x and y over 512, sine and cosine of the angle


@dataclass(frozen=True)
class Seen:
    """What the eye says of frames.

    Attributes:
        heat: logits that a thing's centre is in a cell, (N, R, C).
        kind: logits of its kind, (N, Q, R, C).
        column: where its axis is, in cells from the middle of this cell, (N, R, C).
        depth: log of the distance forward in map units, and log of its error, (N, 2, R, C).
        height: above the player's feet, in 32 map units, (N, R, C).
        walls: distances in units of the depth buffer, (N, W).
        pose: (N, 4), and log of its error, (N,).
    """

    heat: Tensor
    kind: Tensor
    column: Tensor
    depth: Tensor
    height: Tensor
    walls: Tensor
    pose: Tensor
    pose_log_error: Tensor


class Residual(nn.Module):
    """Two convolutions added to what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, R, C)."""
        return x + self.second(F.gelu(self.first(F.gelu(x))))


class Eye(nn.Module):
    """Frames to `Seen`."""

    def __init__(self, kinds: int, scenarios: int, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.kinds = kinds
        self.stem = nn.Sequential(nn.Conv2d(3, 64, CELL, CELL), nn.GELU(), nn.Conv2d(64, fine, 1))
        self.scenario = nn.Embedding(scenarios, fine)
        self.fine = Residual(fine)
        self.down = nn.Conv2d(fine, middle, 3, 2, padding=1)
        self.middle = Residual(middle)
        self.down2 = nn.Conv2d(middle, coarse, 3, 2, padding=1)
        self.coarse = Residual(coarse)
        self.up2 = nn.Conv2d(coarse, middle, 1)
        self.middle_up = Residual(middle)
        self.up = nn.Conv2d(middle, fine, 1)
        self.fine_up = Residual(fine)
        self.out = nn.Sequential(nn.Conv2d(fine, 96, 1), nn.GELU(), nn.Conv2d(96, 1 + kinds + 1 + 2 + 1, 1))
        self.walls = nn.Sequential(nn.Conv1d(middle * 12, 64, 1), nn.GELU(), nn.Conv1d(64, WALLS // (COLUMNS // 2), 1))
        self.pose = nn.Sequential(nn.Linear(coarse * 48, 128), nn.GELU(), nn.Linear(128, POSE + 1))
        self.pose_scenario = nn.Embedding(scenarios, coarse)

    def forward(self, frames: Tensor, scenario: Tensor) -> Seen:
        """Frames uint8 (N, 120, 160, 3), index of the scenario (N,)."""
        x = frames.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
        fine = self.fine(self.stem(x) + self.scenario(scenario)[..., None, None])
        middle = self.middle(self.down(F.gelu(fine)))
        coarse = self.coarse(self.down2(F.gelu(middle)))
        middle = self.middle_up(middle + F.interpolate(self.up2(coarse), scale_factor=2.0))
        fine = self.fine_up(fine + F.interpolate(self.up(middle), scale_factor=2.0))
        out = self.out(F.gelu(fine))
        walls = self.walls(F.gelu(middle).flatten(1, 2)).transpose(1, 2).flatten(1)
        told = F.gelu(coarse + self.pose_scenario(scenario)[..., None, None])
        pose = self.pose(told.flatten(1))
        heat, kind, column, depth, height = out.split([1, self.kinds, 1, 2, 1], 1)
        return Seen(
            heat=heat[:, 0],
            kind=kind,
            column=column[:, 0],
            depth=depth + depth.new_tensor([5.5, -1.5])[:, None, None],
            height=height[:, 0],
            walls=(walls + 3.0).exp() - 1.0,
            pose=pose[:, :POSE],
            pose_log_error=pose[:, POSE].clamp(-6.0, 2.0),
        )


@dataclass(frozen=True)
class Detections:
    """Things found in frames, D at most, the surest first.

    Attributes:
        chance: that it is one, (N, D).
        kind: int64 (N, D).
        place: forward, left, up of the player, (N, D, 3).
        spread: standard error forward and sideways, map units, (N, D, 2).
    """

    chance: Tensor
    kind: Tensor
    place: Tensor
    spread: Tensor

    def __getitem__(self, lanes: Tensor) -> Detections:
        return Detections(*(getattr(self, field.name)[lanes] for field in dataclasses.fields(self)))


def detections(seen: Seen, most: int = 20) -> Detections:
    """Peaks of the heat, with what is said of them."""
    heat = seen.heat.sigmoid()
    peak = F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0] == heat
    # Two things side by side: a neighbour of another kind is a peak of its own among those of its kind.
    kind = seen.kind.argmax(1)
    chance, cell = (heat * peak).flatten(1).topk(most, 1)

    def at(values: Tensor) -> Tensor:
        return values.flatten(1).gather(1, cell)

    column = (cell % COLUMNS + 0.5 + at(seen.column)) * CELL - 0.5
    forward = at(seen.depth[:, 0]).clamp(1.0, 9.0).exp()
    left = -(column - MIDDLE) / FOCAL * forward
    error = at(seen.depth[:, 1]).clamp(-4.0, 1.0).exp()
    place = torch.stack([forward, left, at(seen.height) * 32.0], -1)
    sideways = left.abs() * error * 0.7 + forward * 2.0 / FOCAL + 2.0
    return Detections(chance, at(kind), place, torch.stack([forward * error + 1.0, sideways], -1))
