"""What an agent sees of things: the nearest first, as one vector of fixed size.

Legend: B lanes, K slots, N nearest things.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.scenarios import BUTTONS, VARIABLES
from doom_dream_env.world_model.things.state import EMPTY, WALLS, Things

NEAREST = 12
GROUPS = 5
PROJECTILE, ITEM, REMAINS = 0, 2, 3
BURST = 1
PER_THING = GROUPS + 13
PLAYER = 3 + len(BUTTONS) + len(VARIABLES) + 1 + WALLS + 4
WIDTH = PLAYER + NEAREST * PER_THING
LIMIT = 10.0
# Added to the distance by which things are sorted, in map units: who flies or walks comes first.
LATER = {"item": 3000.0, "remains": 6000.0, "burst": 8000.0}
LEAST_SPEED = 7.0  # map units a step above which a projectile is on its way
LONGEST = 30.0  # steps ahead for which its way is told


def features(things: Things, groups: Tensor, scales: Tensor) -> Tensor:
    """The player, then the nearest things, float32 (B, WIDTH), within ± LIMIT.

    Of each thing: its group, place at two scales, log distance, column of the picture, last displacement; of a
    projectile in flight also when it will be closest to where the player stands, and where it will be then; how long
    it has been out of sight. All of it is 0 where there are fewer things.

    Args:
        things: B lanes.
        groups: of kinds, as in `ThingsConfig`.
        scales: of the variables, (V,).
    """
    order = nearest(things, groups)

    def of(values: Tensor) -> Tensor:
        shape = (*order.shape, *values.shape[2:])
        return values.gather(1, order.view(*order.shape, *[1] * (values.dim() - 2)).expand(shape))

    kind, place, unseen = of(things.kind), of(things.place), of(things.unseen)
    group = groups[kind].clamp(max=GROUPS - 1)
    moved = of(things.moved)[:, :, 0, :2] * (of(things.known) > 0)[..., None]
    flat = place[..., :2]
    distance = flat.norm(dim=-1, keepdim=True)
    speed = moved.square().sum(-1, keepdim=True).clamp(min=1.0)
    flies = ((group == PROJECTILE) & (speed[..., 0] > LEAST_SPEED**2)).float()[..., None]
    closest_in = (-(flat * moved).sum(-1, keepdim=True) / speed).clamp(0.0, LONGEST)
    closest = flat + moved * closest_in
    seen = (
        torch.cat(
            [
                F.one_hot(group, GROUPS).float(),
                (place / 256.0).clamp(-4.0, 4.0),
                (flat / 48.0).clamp(-2.0, 2.0),
                (distance / 64.0).clamp(min=0.3).log(),
                (flat[..., 1:] / flat[..., :1].clamp(min=8.0)).clamp(-2.0, 2.0),
                moved / 24.0,
                closest_in / 10.0 * flies,
                (closest / 48.0).clamp(-2.0, 2.0) * flies,
                (unseen / 20.0).clamp(max=2.0)[..., None],
            ],
            -1,
        )
        * (kind != EMPTY)[..., None]
    )
    missing = NEAREST - seen.shape[1]
    seen = F.pad(seen, (0, 0, 0, missing)).flatten(1)
    located = things.located[:, None]
    angle = things.pose[:, 2:]
    player = torch.cat(
        [
            things.motion / things.motion.new_tensor([16.0, 16.0, 0.2]),
            things.actions[:, 0],
            things.variables / scales,
            things.elapsed[:, None] / 500.0,
            (things.walls + 1.0).log() / 2.0,
            things.pose[:, :2] / 512.0 * located,
            angle.sin() * located,
            angle.cos() * located,
        ],
        1,
    )
    return torch.cat([player, seen], 1).clamp(-LIMIT, LIMIT)


def nearest(things: Things, groups: Tensor) -> Tensor:
    """Slots in the order in which they are told, (B, N) or (B, K) where there are fewer slots."""
    group = groups[things.kind]
    distance = things.place[..., :2].norm(dim=-1)
    distance = distance + LATER["item"] * (group == ITEM) + LATER["remains"] * (group >= REMAINS)
    distance = torch.where(things.kind == BURST, distance + LATER["burst"], distance)
    distance = distance.masked_fill(things.kind == EMPTY, torch.inf)
    return distance.topk(min(NEAREST, distance.shape[1]), 1, largest=False).indices
