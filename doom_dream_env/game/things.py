"""What the game knows of things that the player has seen, and of walls: what the dynamics of things learn from.

DOOM calls everything that stands or flies in a level a thing. Legend: M things, W columns of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import FRAME_SHAPE

WALLS = 32  # columns in which the distance to what is nearest is known
PROJECTILE, MONSTER, ITEM, REMAINS, OTHER = range(5)  # groups of kinds
ITEM_CATEGORIES = ("Health", "Ammo", "Armor", "Weapon", "Key", "Powerup", "Item")
PROJECTILE_NAMES = ("Ball", "Rocket", "Plasma", "Missile")  # how their names end
REMAINS_PREFIX = "Dead"  # in the names of what monsters and barrels leave
HUD_ROWS = 20  # of the picture that the status bar of free play takes


@dataclass(frozen=True)
class SeenThing:
    """One thing that the player has seen in this episode.

    Attributes:
        id: its number in the game, for as long as it exists.
        name: ViZDoom's name of what it is.
        group: `PROJECTILE` and so on.
        position: x, y, z in the level, map units.
        velocity: map units a tic.
        box: left, top, width and height in the picture; all 0 where it is out of sight.
    """

    id: int
    name: str
    group: int
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    box: tuple[int, int, int, int]


def group_of(name: str, category: str) -> int | None:
    """The group of a ViZDoom object; None for the player, scenery and short-lived effects."""
    if name.endswith(PROJECTILE_NAMES):
        return PROJECTILE
    if category == "Monster":
        return MONSTER
    if category in ITEM_CATEGORIES:
        return ITEM
    if category == "Gore" and name.startswith(REMAINS_PREFIX):
        return REMAINS
    return OTHER if name == "ExplosiveBarrel" else None


@dataclass
class Watch:
    """Remembers what has been in sight in one episode.

    Args:
        game: a privileged one.
    """

    game: Game
    _seen: set[int] = field(default_factory=set)

    def look(self) -> list[SeenThing]:
        """All things that are, or were, in sight in this episode and still exist."""
        state = self.game.state
        boxes = {label.object_id: (label.x, label.y, label.width, label.height) for label in state.labels}
        self._seen.update(boxes)
        found = []
        for thing in state.objects:
            if thing.id not in self._seen:
                continue
            group = group_of(thing.name, thing.category)
            if group is None or thing.category == "Self":
                continue
            position = (thing.position_x, thing.position_y, thing.position_z)
            velocity = (thing.velocity_x, thing.velocity_y, thing.velocity_z)
            found.append(SeenThing(thing.id, thing.name, group, position, velocity, boxes.get(thing.id, (0, 0, 0, 0))))
        return found

    def walls(self) -> npt.NDArray[np.uint8]:
        """Distance to what is nearest at the horizon in each column, in units of the depth buffer, (W,)."""
        scenario = self.game.scenario
        horizon = (FRAME_SHAPE[0] - (HUD_ROWS if scenario.map is not None else 0)) // 2 - 1
        wide = FRAME_SHAPE[1] // WALLS
        rows = self.game.state.depth_buffer[horizon - 2 : horizon + 3 : 2, wide // 2 :: wide]
        return np.asarray(rows.min(0), np.uint8)
