"""Where things appear in the picture: boxes, and maps of the cells that they cover.

Legend: B lanes, K slots, Q kinds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from doom_dream_env.scenarios import FRAME_SHAPE
from doom_dream_env.world_model.things.state import EMPTY, Things

HEIGHT, WIDTH, _ = FRAME_SHAPE
FOCAL = WIDTH / 2  # pixels across: the field of view is 90 degrees
STRETCH = 1.2  # DOOM's pixels are higher than wide
MIDDLE = WIDTH / 2 - 0.5
NEAREST = 8.0  # map units ahead from which something is seen
CELL = 10
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
GROUPS = 3  # projectiles, monsters, items
BURST = 1


def horizon_row(status_bar: bool) -> float:
    """The row of the picture that is as high as the eye; the status bar of free play takes 20 rows."""
    return 49.6 if status_bar else 59.5


def boxes(things: Things, sizes: Tensor, horizon: float) -> tuple[Tensor, Tensor]:
    """Left, top, right and bottom of each slot in pixels, (B, K, 4), and which are in the picture, bool (B, K).

    Args:
        things: B lanes.
        sizes: of kinds: how far it reaches left and right of its axis, where it ends below and above in map units
            relative to the player's eye when it stands as high as the player, (Q, 4).
        horizon: see `horizon_row`.
    """
    ahead = things.place[..., 0].clamp(min=NEAREST)
    axis = MIDDLE - FOCAL * things.place[..., 1] / ahead
    left, right, below, above = sizes[things.kind].unbind(-1)
    up = things.place[..., 2]
    box = torch.stack(
        [
            axis - left * FOCAL / ahead,
            horizon - STRETCH * FOCAL * (up + above) / ahead,
            axis + right * FOCAL / ahead,
            horizon - STRETCH * FOCAL * (up + below) / ahead,
        ],
        -1,
    )
    inside = (box[..., 2] > 0) & (box[..., 0] < WIDTH) & (box[..., 3] > 0) & (box[..., 1] < HEIGHT)
    return box, inside & (things.kind != EMPTY) & (things.place[..., 0] > NEAREST)


def object_maps(things: Things, sizes: Tensor, groups: Tensor, horizon: float) -> Tensor:
    """Cells of 10x10 pixels that projectiles, monsters and items in sight cover, 0 or 1, (B, 3, 12, 16).

    Args:
        things: B lanes.
        sizes: as for `boxes`.
        groups: of kinds, (Q,).
        horizon: see `horizon_row`.
    """
    box, inside = boxes(things, sizes, horizon)
    group = groups[things.kind].masked_fill(things.kind == BURST, 0)
    shown = inside & (things.unseen == 0)
    x = torch.arange(COLUMNS, device=box.device) * CELL
    y = torch.arange(ROWS, device=box.device) * CELL
    across = (box[..., 0:1] < x + CELL) & (box[..., 2:3] > x)  # B, K, 16
    down = (box[..., 1:2] < y + CELL) & (box[..., 3:4] > y)  # B, K, 12
    maps = []
    for wanted in range(GROUPS):
        these = (shown & (group == wanted))[..., None]
        maps.append(torch.einsum("bkr,bkc->brc", (down & these).float(), across.float()).clamp(max=1))
    return torch.stack(maps, 1)
