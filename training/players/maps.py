"""Maps of DOOM as their WADs have them: lines, sectors and things, in DOOM's own format or as text (UDMF)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios.wads import map_lumps

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

NO_SIDE = 0xFFFF  # what a line has instead of the number of a side


@dataclass
class MapGeometry:
    """One map.

    Attributes (n lines, m sectors):
        lines: x, y of both ends, (n, 4).
        sides: sector in front and behind, (n, 2); −1: none.
        blocking: nobody walks through, (n,).
        specials: number of what the line does, (n,); 0: nothing.
        tags: which sectors it does that to, (n,).
        heights: of floor and ceiling, (m, 2).
        sector_specials: number of what the sector does, (m,).
        sector_tags: by which lines find it, (m,).
        things: x, y, type, (k, 3).
    """

    lines: Array
    sides: Numbers
    blocking: npt.NDArray[np.bool_]
    specials: Numbers
    tags: Numbers
    heights: Array
    sector_specials: Numbers
    sector_tags: Numbers
    things: Array = field(default_factory=lambda: np.zeros((0, 3)))


def read_map(wad: Path, name: str) -> MapGeometry:
    """Read one map of a WAD. Specials of a map in text mean something else and are left out.

    Raises:
        ValueError: if the WAD or the map is missing, damaged, or in Hexen's format.
    """
    lumps = map_lumps(wad, name)
    if "TEXTMAP" not in lumps and "BEHAVIOR" in lumps:
        raise UserError(f"map {name} of {wad} is in Hexen's format, which players cannot read")
    try:
        return _from_text(lumps["TEXTMAP"].decode("latin-1")) if "TEXTMAP" in lumps else _from_lumps(lumps)
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"map {name} of {wad} is damaged: {error}") from error


def _from_lumps(lumps: dict[str, bytes]) -> MapGeometry:
    vertices = np.frombuffer(lumps["VERTEXES"], "<i2").reshape(-1, 2).astype(float)
    linedefs = np.frombuffer(lumps["LINEDEFS"], "<u2").reshape(-1, 7).astype(int)
    sectors = np.frombuffer(lumps["SECTORS"], "<i2").reshape(-1, 13).astype(int)
    sidedefs = np.frombuffer(lumps["SIDEDEFS"], "<u2").reshape(-1, 15).astype(int)
    things = np.frombuffer(lumps["THINGS"], "<i2").reshape(-1, 5).astype(float)
    sector_of_side = np.append(sidedefs[:, 14], -1)  # side −1 has sector −1
    return MapGeometry(
        lines=np.hstack([vertices[linedefs[:, 0]], vertices[linedefs[:, 1]]]),
        sides=sector_of_side[np.where(linedefs[:, 5:] == NO_SIDE, -1, linedefs[:, 5:])],
        blocking=linedefs[:, 2] % 2 == 1,
        specials=linedefs[:, 3],
        tags=linedefs[:, 4],
        heights=sectors[:, :2].astype(float),
        sector_specials=sectors[:, 11],
        sector_tags=sectors[:, 12],
        things=things[:, [0, 1, 3]],
    )


def _from_text(text: str) -> MapGeometry:
    blocks: dict[str, list[dict[str, str]]] = {"vertex": [], "linedef": [], "sidedef": [], "sector": []}
    for kind, body in re.findall(r"(\w+)\s*\{([^}]*)\}", re.sub(r"//[^\n]*", "", text)):
        blocks.setdefault(kind, []).append(dict(re.findall(r"(\w+)\s*=\s*\"?([^;\"]*)", body)))
    vertices = np.array([[float(vertex["x"]), float(vertex["y"])] for vertex in blocks["vertex"]])
    linedefs = blocks["linedef"]
    sectors = blocks["sector"]
    sector_of_side = [int(side["sector"]) for side in blocks["sidedef"]] + [-1]
    lines = [[*vertices[int(line["v1"])], *vertices[int(line["v2"])]] for line in linedefs]
    sides = [[sector_of_side[int(line.get(key, -1))] for key in ("sidefront", "sideback")] for line in linedefs]
    heights = [[float(s.get("heightfloor", 0)), float(s.get("heightceiling", 0))] for s in sectors]
    return MapGeometry(
        lines=np.array(lines),
        sides=np.array(sides),
        blocking=np.array([line.get("blocking") == "true" for line in linedefs]),
        specials=np.zeros(len(linedefs), np.int64),
        tags=np.zeros(len(linedefs), np.int64),
        heights=np.array(heights),
        sector_specials=np.zeros(len(sectors), np.int64),
        sector_tags=np.zeros(len(sectors), np.int64),
    )
