"""Settings of filming: unlabelled videos of free play, as people record and publish them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.config.base import Count, Number
from training.config.collect import Split

# Maps of Freedoom that no film but those of the split test shows: what learns from films is scored on them.
HELD_OUT_MAPS = ("E1M3", "E1M4", "MAP05", "MAP06")
# Who plays, by split: those of the tests play in a way that films of training do not show.
PLAYERS: dict[Split, tuple[str, ...]] = {
    "train": ("scripted", "random", "scripted", "alternating"),
    "val": ("scripted", "random"),
    "test": ("perturbed",),
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a film looks.

    Attributes:
        rate: frames/s; None: variable, at most one for each tic of the game.
        game: width and height at which the game is drawn.
        frame: width and height of the stored frames, before they are turned by `rotation`.
        picture: width and height of the game's picture inside them, centred; around it is black.
        quality: constant rate factor of H.264: 18 looks like the original, 36 is mush.
        pixel_aspect: width of a pixel over its height, as a fraction.
        rotation: degrees that a player program must turn the frames by, against the clock.
    """

    rate: int | None
    game: tuple[int, int]
    frame: tuple[int, int]
    picture: tuple[int, int]
    quality: int
    pixel_aspect: tuple[int, int] = (1, 1)
    rotation: Literal[0, 90] = 0


LOOKS = {
    "clean": Look(rate=35, game=(320, 240), frame=(320, 240), picture=(320, 240), quality=16),
    "poor": Look(rate=30, game=(320, 240), frame=(640, 360), picture=(480, 360), quality=36),
    "wide": Look(rate=60, game=(640, 360), frame=(640, 360), picture=(640, 360), quality=25),
    "cinema": Look(rate=24, game=(400, 225), frame=(640, 480), picture=(640, 360), quality=28),
    "broadcast": Look(
        rate=50, game=(320, 240), frame=(352, 480), picture=(352, 480), quality=26, pixel_aspect=(20, 11)
    ),
    "phone": Look(rate=None, game=(320, 240), frame=(480, 360), picture=(480, 360), quality=30, rotation=90),
}


@dataclass(frozen=True, kw_only=True)
class FilmConfig:
    """Film free play as unlabelled videos, with the true keys in files beside them.

    Attributes:
        out: folder of the films.
        films: how many.
        minutes: length of each.
        split: which range of seeds to play, and who plays on which maps unless that is said.
        maps: of Freedoom, one for each film in turn; empty: those of the split test are E1M3, E1M4, MAP05 and MAP06,
            those of the others all the rest.
        players: random, alternating, scripted, perturbed or handover, one for each film in turn; empty: by split
            (`training.config.film.PLAYERS`).
        looks: clean, poor, wide, cinema, broadcast or phone, one for each film in turn.
        workers: ViZDoom processes; None: one per core.
    """

    out: Path = Path("films/train")
    films: Count = 36
    minutes: Number = 3.0
    split: Split = "train"
    maps: tuple[str, ...] = ()
    players: tuple[str, ...] = ()
    looks: tuple[str, ...] = tuple(LOOKS)
    workers: Count | None = None
