"""Where one can walk in a DOOM map: its lumps, rasterised to a grid of cells, and shortest ways through that grid."""

from __future__ import annotations

import functools
import heapq
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from doom_dream_env.scenarios import Scenario, shipped_wad, wad_directory

CELL, REGION = 16, 128  # map units: the grid of ways, and the coarse one that measures how much of a map was seen
RADIUS, STEP, HEIGHT = 14.0, 24.0, 56.0  # of a player, who is 16 wide in truth: he slides along what he touches
NEAR_WALL, HURTING = 1.6, 3.0  # costs of a cell beside a wall and on a burning floor, as factors
DOOR_COST, REMOTE_COST = 64.0, 400.0  # units one would rather walk than wait for a door or lift; for one that something else moves
DOORS = (1, 26, 27, 28, 31, 32, 33, 34, 117, 118)  # line specials: opened by hand
LIFTS = (4, 10, 21, 62, 86, 88, 90, 105, 106, 108, 109, 120, 121, 122, 123)  # and doors that open when one walks there
SWITCHES = (7, 9, 14, 15, 18, 20, 21, 23, 29, 41, 42, 43, 45, 49, 50, 55, *range(60, 72), 101, 102, 103, *range(111, 117))
SWITCHES += (122, 123, 127, 131, 132, 133, 134, 135, 136, 137, 140)
EXIT_SWITCHES, EXIT_LINES, STILL = (11, 51), (52, 124), (12, 13, 17, 35, 39, 48, 79, 80, 81, 97, 104, 125, 126, 138, 139)
HURTING_FLOORS = (4, 5, 7, 11, 16)  # sector specials
SOLID = {*range(25, 33), *range(35, 38), 41, *range(43, 49), *range(53, 58), 70, 85, 86, 2028, 2035}  # types of things in the way
SOLID_RADIUS = 16.0

Array = npt.NDArray[np.float64]


@dataclass
class Plan:
    """A map as its lumps have it: corners of lines (n, 4), sectors behind them (n, 2; −1: none), heights (m, 2) and so on."""

    lines: Array
    sides: npt.NDArray[np.int64]
    blocking: npt.NDArray[np.bool_]
    specials: npt.NDArray[np.int64]
    tags: npt.NDArray[np.int64]
    heights: Array
    sector_specials: npt.NDArray[np.int64]
    sector_tags: npt.NDArray[np.int64]
    things: Array = field(default_factory=lambda: np.zeros((0, 3)))  # x, y, type


def read_plan(wad: Path, map_name: str) -> Plan:
    """Read one map of a WAD, in DOOM's own format or as text (UDMF; its specials mean something else and are left out)."""
    data = wad.read_bytes()
    directory = wad_directory(wad)
    first = [name for name, _, _ in directory].index(map_name.upper())
    lumps = {name: data[offset : offset + size] for name, offset, size in directory[first + 10 : first : -1]}
    if directory[first + 1][0] == "TEXTMAP":
        return _read_text(lumps["TEXTMAP"].decode("latin-1"))
    vertices = np.frombuffer(lumps["VERTEXES"], "<i2").reshape(-1, 2).astype(float)
    lines = np.frombuffer(lumps["LINEDEFS"], "<u2").reshape(-1, 7).astype(int)
    sectors = np.frombuffer(lumps["SECTORS"], "<i2").reshape(-1, 13).astype(int)
    of_side = np.append(np.frombuffer(lumps["SIDEDEFS"], "<u2").reshape(-1, 15)[:, 14].astype(int), -1)
    ends = np.hstack([vertices[lines[:, 0]], vertices[lines[:, 1]]])
    sides = of_side[np.where(lines[:, 5:] == 0xFFFF, -1, lines[:, 5:])]
    things = np.frombuffer(lumps["THINGS"], "<i2").reshape(-1, 5).astype(float)[:, [0, 1, 3]]
    blocking, heights = lines[:, 2] % 2 == 1, sectors[:, :2].astype(float)
    return Plan(ends, sides, blocking, lines[:, 3], lines[:, 4], heights, sectors[:, 11], sectors[:, 12], things)


def _read_text(text: str) -> Plan:
    blocks: dict[str, list[dict[str, str]]] = {"vertex": [], "linedef": [], "sidedef": [], "sector": []}
    for kind, body in re.findall(r"(\w+)\s*\{([^}]*)\}", re.sub(r"//[^\n]*", "", text)):
        blocks.setdefault(kind, []).append(dict(re.findall(r"(\w+)\s*=\s*\"?([^;\"]*)", body)))
    corners = np.array([[float(v["x"]), float(v["y"])] for v in blocks["vertex"]])
    of_side = [int(side["sector"]) for side in blocks["sidedef"]] + [-1]
    lines = blocks["linedef"]
    ends = np.array([[*corners[int(line["v1"])], *corners[int(line["v2"])]] for line in lines])
    sides = np.array([[of_side[int(line.get(key, -1))] for key in ("sidefront", "sideback")] for line in lines])
    blocking = np.array([line.get("blocking") == "true" for line in lines])
    heights = np.array([[float(s.get("heightfloor", 0)), float(s.get("heightceiling", 0))] for s in blocks["sector"]])
    none, still = np.zeros(len(lines), np.int64), np.zeros(len(heights), np.int64)
    return Plan(ends, sides, blocking, none, none, heights, still, still)


class Level:
    """The grid of a map: which cells one can stand in, and from which to which one can walk.

    Cells are numbered row by row. What moves (doors, lifts) counts as passable in both directions, at a price.

    Attributes:
        steps: for every cell, the cells one can walk to from it, with their costs in map units.
        regions: for every cell, the number of the `REGION`-sized square it lies in.
        switches: places (cell to stand on, x, y of what to push) of switches; `exits` those that end the map.
    """

    def __init__(self, plan: Plan) -> None:
        lines, low, high = plan.lines, plan.heights[:, 0].copy(), plan.heights[:, 1].copy()
        self.origin = np.floor(lines.reshape(-1, 2).min(0) / REGION) * REGION
        extent = lines.reshape(-1, 2).max(0) - self.origin
        self.columns, self.rows = (int(side) * (REGION // CELL) for side in np.ceil(extent / REGION))
        self.size = self.columns * self.rows
        row, column = np.divmod(np.arange(self.size), self.columns)
        self.x, self.y = (self.origin + CELL * (np.stack([column, row], 1) + 0.5)).T
        self.regions = row // (REGION // CELL) * 10_000 + column // (REGION // CELL)
        sector = self._sectors(plan)

        # doors, lifts and what else a line moves
        cost = np.zeros(len(low) + 1)
        moving = (plan.tags > 0) & (plan.specials > 0) & ~np.isin(plan.specials, STILL)
        cost[:-1][np.isin(plan.sector_tags, plan.tags[moving])] = REMOTE_COST
        cost[:-1][np.isin(plan.sector_tags, plan.tags[moving & np.isin(plan.specials, LIFTS)])] = DOOR_COST
        by_hand = plan.sides[np.isin(plan.specials, DOORS), 1]
        cost[by_hand[by_hand >= 0]] = DOOR_COST
        mobile = cost > 0
        low[mobile[:-1]], high[mobile[:-1]] = -np.inf, np.inf
        low, high = np.append(low, 0.0), np.append(high, 0.0)  # for the outside, sector −1

        # what a player who stands in a cell touches: pairs of a cell and a line
        pairs = [self._touched(line, RADIUS) for line in lines]
        cell = np.concatenate(pairs)
        line = np.repeat(np.arange(len(lines)), [len(p) for p in pairs])
        bottom, top = low[plan.sides].max(1)[line], high[plan.sides].min(1)[line]
        wall = (plan.blocking | (plan.sides < 0).any(1))[line]
        z = low[sector]
        for _ in range(3):  # he stands on the highest of the steps he touches
            climb = ~wall & (bottom <= z[cell] + STEP)
            np.maximum.at(z, cell[climb], bottom[climb])
        z[mobile[sector]] = -np.inf
        shut = wall | ~mobile[sector[cell]] & ((bottom > z[cell] + STEP) | (top - np.maximum(bottom, z[cell]) < HEIGHT))
        self.free = sector >= 0
        self.free &= mobile[sector] | (high[sector] - z >= HEIGHT)
        self.free[cell[shut]] = False
        for x, y, kind in plan.things:
            if int(kind) in SOLID:
                self.free[self.around(x, y, RADIUS + SOLID_RADIUS)] = False
        price = np.full(self.size, 1.0)
        walls = ~self.free.reshape(self.rows, self.columns)
        near = walls.copy()
        for axis in (0, 1):
            near |= np.roll(walls, 1, axis) | np.roll(walls, -1, axis)
        price[near.ravel()] = NEAR_WALL
        price[np.isin(np.append(plan.sector_specials, 0)[sector], HURTING_FLOORS)] *= HURTING
        self.z, self.mobile = z, mobile[sector]
        self.steps = self._graph(price, cost[sector])

        self.switches = [self._before(plan.lines[i]) for i in np.flatnonzero(np.isin(plan.specials, SWITCHES))]
        self.exits = [self._before(plan.lines[i]) for i in np.flatnonzero(np.isin(plan.specials, EXIT_SWITCHES))]
        leaving = np.flatnonzero(np.isin(plan.specials, EXIT_LINES))
        self.exit_cells = np.unique(np.concatenate([pairs[i] for i in leaving])) if len(leaving) else np.zeros(0, np.int64)

    def _sectors(self, plan: Plan) -> npt.NDArray[np.int64]:
        """Sector of every cell's centre (−1: outside): that on the near side of the first line to the left."""
        x1, y1, x2, y2 = plan.lines.T
        sector = np.full((self.rows, self.columns), -1)
        for row, y in enumerate(self.y.reshape(self.rows, self.columns)[:, 0]):
            crossing = np.flatnonzero((y1 <= y) != (y2 <= y))
            at = x1[crossing] + (y - y1[crossing]) * (x2 - x1)[crossing] / (y2 - y1)[crossing]
            order = np.argsort(at)
            east = np.where(y2 > y1, *plan.sides.T)[crossing[order]]
            sector[row] = np.append(east, -1)[np.searchsorted(at[order], self.x[: self.columns]) - 1]
        return sector.ravel()

    def _touched(self, line: Array, radius: float) -> npt.NDArray[np.int64]:
        """Cells from whose centre a square of this half-width touches the line."""
        ends = (line.reshape(2, 2) - self.origin) / CELL - 0.5
        first = np.clip(np.ceil(ends.min(0) - radius / CELL), 0, None).astype(int)
        last = np.minimum(np.floor(ends.max(0) + radius / CELL), (self.columns - 1, self.rows - 1)).astype(int)
        column, row = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
        dx, dy = ends[1] - ends[0]
        apart = np.abs(dx * (row - ends[0, 1]) - dy * (column - ends[0, 0]))
        return (row * self.columns + column)[apart < radius / CELL * (abs(dx) + abs(dy))]

    def _graph(self, price: Array, entering: Array) -> list[list[tuple[int, float]]]:
        """The steps: to the eight neighbours, but across a corner only where one can also go round it."""
        here = np.arange(self.size).reshape(self.rows, self.columns)[1:-1, 1:-1].ravel()
        steps: list[list[tuple[int, float]]] = [[] for _ in range(self.size)]

        def can(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
            return self.free[a] & self.free[b] & (self.mobile[a] | self.mobile[b] | (self.z[b] <= self.z[a] + STEP))

        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            there, beside, above = here + dx + dy * self.columns, here + dx, here + dy * self.columns
            open_ = can(here, there)
            if dx and dy:
                open_ &= can(here, beside) & can(here, above) & can(beside, there) & can(above, there)
            costs = CELL * np.hypot(dx, dy) * price[there] + np.where(self.mobile[here], 0.0, entering[there])
            for a, b, c in zip(here[open_].tolist(), there[open_].tolist(), costs[open_].tolist(), strict=True):
                steps[a].append((b, c))
        return steps

    def _before(self, line: Array) -> tuple[int, float, float]:
        """Where to stand to push a line from its front, and its middle."""
        middle, along = line.reshape(2, 2).mean(0), line[2:] - line[:2]
        x, y = middle + 28.0 * np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1.0)
        return self.cell(x, y), float(middle[0]), float(middle[1])

    def inside(self, x: float, y: float) -> int:
        """The cell of a point, be it free or not."""
        column, row = int((x - self.origin[0]) // CELL), int((y - self.origin[1]) // CELL)
        return min(max(row, 0), self.rows - 1) * self.columns + min(max(column, 0), self.columns - 1)

    def around(self, x: float, y: float, reach: float) -> npt.NDArray[np.int64]:
        """The cells whose centres are in a square about a point."""
        at = (np.array([[x - reach, y - reach], [x + reach, y + reach]]) - self.origin) / CELL - 0.5
        first = np.maximum(np.ceil(at[0]), 0).astype(int)
        last = np.minimum(np.floor(at[1]), (self.columns - 1, self.rows - 1)).astype(int)
        return (np.arange(first[1], last[1] + 1)[:, None] * self.columns + np.arange(first[0], last[0] + 1)).ravel()

    def cell(self, x: float, y: float) -> int:
        """The nearest cell that one can stand in, if there is one a step away; else the cell of the point."""
        if self.steps[inside := self.inside(x, y)]:
            return inside
        near = self.around(x, y, 3 * CELL)
        near = near[self.free[near]]
        return int(near[np.argmin(np.hypot(self.x[near] - x, self.y[near] - y))]) if len(near) else inside

    def way(self, start: int, goals: Array, extra: list[float], effort: int = 100_000) -> tuple[list[int], float]:
        """The cheapest way from a cell to any goal (Dijkstra).

        Args:
            start: cell to start from.
            goals: for every cell, what it costs on top to end there (infinite: no goal).
            extra: for every cell, what it costs on top to enter it.
            effort: cells to look at, after which the best so far is good enough.

        Returns:
            The cells of the way from `start` to the goal, and its cost; an empty way if no goal can be reached.
        """
        best, end, steps = np.inf, -1, self.steps
        cost, before = [np.inf] * self.size, [-1] * self.size
        cost[start], queue = 0.0, [(0.0, start)]
        while queue:
            so_far, here = heapq.heappop(queue)
            if so_far >= best or (effort < 0 and end >= 0):
                break
            if so_far > cost[here]:
                continue  # a shorter way was found meanwhile
            effort -= 1
            if (total := so_far + float(goals[here])) < best:
                best, end = total, here
            for there, step in steps[here]:
                total = so_far + step + extra[there]
                if total < cost[there]:
                    cost[there], before[there] = total, here
                    heapq.heappush(queue, (total, there))
        way = []
        while end >= 0:
            way.append(end)
            end = before[end]
        return way[::-1], float(best)

    def straight(self, x: float, y: float, to: int, extra: list[float]) -> bool:
        """Can one walk in a straight line to a cell, over cells that cost nothing extra?"""
        dx, dy = self.x[to] - x, self.y[to] - y
        count = int(max(abs(dx), abs(dy)) / (CELL / 2)) + 1
        t = np.arange(1, count + 1) / count
        cells = ((y + t * dy - self.origin[1]) // CELL * self.columns + (x + t * dx - self.origin[0]) // CELL).astype(int)
        z = self.z[cells]
        if not self.free[cells[1:]].all() or any(extra[cell] for cell in cells.tolist()):
            return False
        with np.errstate(invalid="ignore"):
            return not (self.mobile[cells].any() or (np.abs(np.diff(z)) > STEP).any())


@functools.lru_cache(maxsize=16)
def level(scenario: Scenario) -> Level:
    """The grid of a scenario's map: of the WAD beside its configuration, or of its map in free play."""
    if scenario.map is not None:
        return Level(read_plan(Path(scenario.wad) if scenario.wad else shipped_wad(scenario.map), scenario.map))
    import vizdoom

    return Level(read_plan(Path(vizdoom.scenarios_path) / Path(scenario.config).with_suffix(".wad"), "MAP01"))
