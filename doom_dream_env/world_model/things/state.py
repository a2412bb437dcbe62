"""Things around a player, as tensors, and how they look to a network.

Legend: B lanes, K slots, V variables, A buttons, W columns of the picture in which the distance to walls is known.
Places are in map units (a player is 56 high and 32 wide), along the player's own axes: forward, left and up.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

EMPTY = 0  # kind of a slot that holds nothing
HISTORY = 3  # steps back whose displacements and actions are remembered
WALLS = 32  # columns in which the distance to the nearest wall is known
FARTHEST_WALL = 64.0  # of the depth buffer's units
FORGOTTEN_AFTER = 60  # steps out of sight
DISTANCE_SCALE = 256.0
WAVES = tuple(2 * math.pi / length for length in (96.0, 192.0, 384.0, 768.0, 1536.0, 3072.0))  # over map units
PERIODS = (4.0, 8.0, 16.0, 32.0)  # steps, of what the clock does
THING_FEATURES = 3 + 3 + 4 + 3 + 3 * HISTORY + HISTORY + 2 + 4 * len(WAVES)


@dataclass(frozen=True)
class Things:
    """What B players know.

    Attributes:
        kind: index of the kind of thing in each slot, 0 where it is empty, int64 (B, K).
        place: forward, left and up of the player, (B, K, 3).
        moved: displacements in the last steps, newest first, along the player's present axes; the player's own motion
            is not in them, (B, K, HISTORY, 3).
        known: how many of them are known, (B, K).
        unseen: steps since the thing was last in sight, (B, K).
        pose: x and y in the level (map units) and angle (radians), (B, 3).
        located: 1 where the pose is known, (B,).
        motion: the player's last step: forward, left (map units) and turn (radians), (B, 3).
        actions: buttons in the last steps, newest first, (B, HISTORY, A).
        variables: in the game's units, (B, V).
        elapsed: steps since the episode began, (B,).
        walls: distance to the nearest wall in each column, in units of the depth buffer, (B, W).
        scenario: index, int64 (B,).
    """

    kind: Tensor
    place: Tensor
    moved: Tensor
    known: Tensor
    unseen: Tensor
    pose: Tensor
    located: Tensor
    motion: Tensor
    actions: Tensor
    variables: Tensor
    elapsed: Tensor
    walls: Tensor
    scenario: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def map(self, function) -> Things:  # type: ignore[no-untyped-def]
        """The same with `function` applied to every tensor."""
        return Things(**{field.name: function(getattr(self, field.name)) for field in dataclasses.fields(self)})

    def __getitem__(self, lanes: Tensor) -> Things:
        return self.map(lambda tensor: tensor[lanes])


def rotated(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors (..., 2 or 3) turned by angles (...), anticlockwise; a third coordinate stays."""
    cosine, sine = angle.cos(), angle.sin()
    x, y = vectors[..., 0], vectors[..., 1]
    turned = torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
    return torch.cat([turned, vectors[..., 2:]], -1)


def waves(places: Tensor) -> Tensor:
    """Sines and cosines of places in the level (..., 2): (..., 4 · number of waves)."""
    phases = (places[..., None] * places.new_tensor(WAVES)).flatten(-2)
    return torch.cat([phases.sin(), phases.cos()], -1)


def thing_features(things: Things) -> Tensor:
    """What a network sees of each slot beside its kind, (B, K, THING_FEATURES)."""
    place = things.place
    flat = place[..., :2]
    distance = flat.norm(dim=-1, keepdim=True).clamp(min=1.0)
    bearing = flat / distance
    in_level = rotated(flat, things.pose[:, None, 2]) + things.pose[:, None, :2]
    recent = (torch.arange(HISTORY, device=place.device) < things.known[..., None]).float()
    return torch.cat(
        [
            place / DISTANCE_SCALE,
            (place / 32.0).clamp(-3.0, 3.0),
            (distance / 64.0).log(),
            bearing,
            # the column of the picture, where the thing is ahead
            (flat[..., 1:] / flat[..., :1].clamp(min=8.0)).clamp(-3.0, 3.0),
            (64.0 / distance).clamp(max=3.0) * place / 64.0,
            (things.moved * recent[..., None]).flatten(-2) / 16.0,
            recent,
            (things.unseen[..., None] / 8.0).clamp(max=4.0),
            (things.unseen[..., None] > 0).float(),
            waves(in_level) * things.located[:, None, None],
        ],
        -1,
    )


def player_features(things: Things, scales: Tensor) -> Tensor:
    """What a network sees of the player, (B, ...); `scales` (V,) are what variables are divided by."""
    x_y, angle = things.pose[:, :2], things.pose[:, 2:]
    pose = torch.cat([waves(x_y), x_y / 512.0, angle.sin(), angle.cos()], -1) * things.located[:, None]
    clock = things.elapsed[:, None] * things.elapsed.new_tensor([2 * math.pi / period for period in PERIODS])
    return torch.cat(
        [
            pose,
            things.located[:, None],
            things.motion / things.motion.new_tensor([16.0, 16.0, 0.2]),
            things.actions.flatten(1),
            things.variables / scales,
            (things.variables / scales * 8.0).clamp(0.0, 3.0),
            clock.sin(),
            clock.cos(),
            things.elapsed[:, None] / 500.0,
            (things.walls + 1.0).log() / 2.0,
        ],
        -1,
    )


def player_width(variables: int, buttons: int) -> int:
    """How many numbers `player_features` gives."""
    return 4 * len(WAVES) + 4 + 1 + 3 + HISTORY * buttons + 2 * variables + 2 * len(PERIODS) + 1 + WALLS


def moved_on(
    things: Things,
    displaced: Tensor,
    motion: Tensor,
    action: Tensor,
) -> Things:
    """Things after all have moved, seen from where the player then is.

    Args:
        things: before.
        displaced: how each thing has moved, along the player's axes before the step, (B, K, 3).
        motion: forward, left and turn of the player along the same axes, (B, 3).
        action: buttons of the step, (B, A).
    """
    turn = motion[:, 2]
    walked = torch.cat([motion[:, :2], torch.zeros_like(motion[:, :1])], -1)
    place = rotated(things.place + displaced - walked[:, None], -turn[:, None])
    moved = torch.cat([displaced[:, :, None], things.moved[:, :, :-1]], 2)
    moved = rotated(moved, -turn[:, None, None])
    x_y = things.pose[:, :2] + rotated(motion[:, :2], things.pose[:, 2])
    return dataclasses.replace(
        things,
        place=place,
        moved=moved,
        known=(things.known + 1).clamp(max=HISTORY),
        unseen=things.unseen + 1,
        pose=torch.cat([x_y, things.pose[:, 2:] + turn[:, None]], -1),
        motion=motion,
        actions=torch.cat([action[:, None], things.actions[:, :-1]], 1),
        elapsed=things.elapsed + 1,
    )
