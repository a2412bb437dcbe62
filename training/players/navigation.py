"""Where one can walk in a map: a grid of cells, and the cheapest ways through it. Distances are in map units."""

from __future__ import annotations

import functools
import heapq
from pathlib import Path

import numpy as np
import numpy.typing as npt

from doom_dream_env.scenarios import Scenario
from doom_dream_env.scenarios.wads import shipped_wad
from training.players.maps import Array, MapGeometry, Numbers, read_map

CELL = 16  # side of a cell
REGION = 128  # side of the coarse squares that measure how much of a map was seen

# Of a player.
RADIUS = 14.0  # 16 in truth, but he slides along what he touches
STEP = 24.0  # highest step that he climbs
HEIGHT = 56.0

# What walking costs: factors of cells, and units one would rather walk.
NEAR_WALL = 1.6  # a cell beside a wall
HURTING = 3.0  # a burning floor
DOOR_COST = 64.0  # waiting for a door or a lift
REMOTE_COST = 400.0  # something that has to be moved from elsewhere

# Numbers of what lines do (DOOM's "line specials").
DOORS = (1, 26, 27, 28, 31, 32, 33, 34, 117, 118)  # opened by hand
LIFTS = (4, 10, 21, 62, 86, 88, 90, 105, 106, 108, 109, 120, 121, 122, 123)  # and doors that open when one walks there
SWITCHES = (
    *(7, 9, 14, 15, 18, 20, 21, 23, 29, 41, 42, 43, 45, 49, 50, 55, *range(60, 72), 101, 102, 103, *range(111, 117)),
    *(122, 123, 127, 131, 132, 133, 134, 135, 136, 137, 140),
)
EXIT_SWITCHES = (11, 51)
EXIT_LINES = (52, 124)
STILL = (12, 13, 17, 35, 39, 48, 79, 80, 81, 97, 104, 125, 126, 138, 139)  # lights, scrolling walls: nothing moves
HURTING_FLOORS = (4, 5, 7, 11, 16)  # sector specials

# Types of things that are in the way.
SOLID = {*range(25, 33), *range(35, 38), 41, *range(43, 49), *range(53, 58), 70, 85, 86, 2028, 2035}
SOLID_RADIUS = 16.0

NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


class Level:
    """The grid of a map: which cells one can stand in, and from which to which one can walk.

    Cells are numbered row by row. What moves (doors, lifts) counts as passable in both directions, at a price.

    Attributes:
        x, y: middle of every cell.
        free: can one stand there?
        mobile: does something move there?
        z: height of the floor; −∞ where it moves.
        steps: for every cell, the cells one can walk to from it, with their costs in map units.
        regions: for every cell, the number of the `REGION`-sized square it lies in.
        switches: (cell to stand on, x, y of what to push); `exits` are those that end the map.
        exit_cells: cells that end the map when one walks there.
    """

    def __init__(self, geometry: MapGeometry) -> None:
        corners = geometry.lines.reshape(-1, 2)
        self.origin = np.floor(corners.min(0) / REGION) * REGION
        extent = corners.max(0) - self.origin
        self.columns, self.rows = (int(side) * (REGION // CELL) for side in np.ceil(extent / REGION))
        self.size = self.columns * self.rows
        row, column = np.divmod(np.arange(self.size), self.columns)
        self.x, self.y = (self.origin + CELL * (np.stack([column, row], 1) + 0.5)).T
        self.regions = row // (REGION // CELL) * 10_000 + column // (REGION // CELL)
        sector = self._sectors(geometry)
        waiting = _waiting_costs(geometry)
        touched = [self._touched(line, RADIUS) for line in geometry.lines]
        self._find_floor(geometry, sector, waiting > 0, touched)
        self.steps = self._graph(self._prices(geometry, sector), waiting[sector])

        self.switches = self._places_to_push(geometry, SWITCHES)
        self.exits = self._places_to_push(geometry, EXIT_SWITCHES)
        leaving = np.flatnonzero(np.isin(geometry.specials, EXIT_LINES))
        self.exit_cells = np.zeros(0, np.int64)
        if len(leaving):
            self.exit_cells = np.unique(np.concatenate([touched[line] for line in leaving]))

    # ---- making the grid ---------------------------------------------------------------------------------------------

    def _sectors(self, geometry: MapGeometry) -> Numbers:
        """Sector of every cell's middle (−1: outside): that on the near side of the first line to the left."""
        x1, y1, x2, y2 = geometry.lines.T
        sector = np.full((self.rows, self.columns), -1)
        for row, y in enumerate(self.y.reshape(self.rows, self.columns)[:, 0]):
            crossing = np.flatnonzero((y1 <= y) != (y2 <= y))
            at = x1[crossing] + (y - y1[crossing]) * (x2 - x1)[crossing] / (y2 - y1)[crossing]
            order = np.argsort(at)
            east = np.where(y2 > y1, *geometry.sides.T)[crossing[order]]
            sector[row] = np.append(east, -1)[np.searchsorted(at[order], self.x[: self.columns]) - 1]
        return sector.ravel()

    def _touched(self, line: Array, radius: float) -> Numbers:
        """Cells from whose middle a square of this half-width touches the line."""
        ends = (line.reshape(2, 2) - self.origin) / CELL - 0.5
        first = np.clip(np.ceil(ends.min(0) - radius / CELL), 0, None).astype(int)
        last = np.minimum(np.floor(ends.max(0) + radius / CELL), (self.columns - 1, self.rows - 1)).astype(int)
        column, row = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
        dx, dy = ends[1] - ends[0]
        apart = np.abs(dx * (row - ends[0, 1]) - dy * (column - ends[0, 0]))
        return (row * self.columns + column)[apart < radius / CELL * (abs(dx) + abs(dy))]

    def _find_floor(
        self, geometry: MapGeometry, sector: Numbers, moves: npt.NDArray[np.bool_], touched: list[Numbers]
    ) -> None:
        """Fill `free`, `mobile` and `z`.

        Args:
            geometry: the map.
            sector: of every cell.
            moves: which sectors move; the last entry is the outside.
            touched: for every line, the cells from which a player touches it.
        """
        low = np.append(geometry.heights[:, 0], 0.0)
        high = np.append(geometry.heights[:, 1], 0.0)
        low[moves] = -np.inf
        high[moves] = np.inf
        cell = np.concatenate(touched)
        line = np.repeat(np.arange(len(touched)), [len(cells) for cells in touched])
        bottom = low[geometry.sides].max(1)[line]
        top = high[geometry.sides].min(1)[line]
        wall = (geometry.blocking | (geometry.sides < 0).any(1))[line]
        self.mobile = moves[sector]
        self.z = low[sector]
        for _ in range(3):  # he stands on the highest of the steps he touches
            climb = ~wall & (bottom <= self.z[cell] + STEP)
            np.maximum.at(self.z, cell[climb], bottom[climb])
        self.z[self.mobile] = -np.inf
        too_high = bottom > self.z[cell] + STEP
        too_low = top - np.maximum(bottom, self.z[cell]) < HEIGHT
        shut = wall | ~self.mobile[cell] & (too_high | too_low)
        self.free = sector >= 0
        self.free &= self.mobile | (high[sector] - self.z >= HEIGHT)
        self.free[cell[shut]] = False
        for x, y, kind in geometry.things:
            if int(kind) in SOLID:
                self.free[self.around(x, y, RADIUS + SOLID_RADIUS)] = False

    def _prices(self, geometry: MapGeometry, sector: Numbers) -> Array:
        """Factor of what it costs to walk over each cell."""
        walls = ~self.free.reshape(self.rows, self.columns)
        near = walls.copy()
        for axis in (0, 1):
            near |= np.roll(walls, 1, axis) | np.roll(walls, -1, axis)
        price = np.full(self.size, 1.0)
        price[near.ravel()] = NEAR_WALL
        price[np.isin(np.append(geometry.sector_specials, 0)[sector], HURTING_FLOORS)] *= HURTING
        return price

    def _graph(self, price: Array, entering: Array) -> list[list[tuple[int, float]]]:
        """The steps: to the eight neighbours, but across a corner only where one can also go round it.

        Args:
            price: factor of every cell.
            entering: what it costs to enter its sector.
        """
        here = np.arange(self.size).reshape(self.rows, self.columns)[1:-1, 1:-1].ravel()
        steps: list[list[tuple[int, float]]] = [[] for _ in range(self.size)]

        def passable(a: Numbers, b: Numbers) -> npt.NDArray[np.bool_]:
            return self.free[a] & self.free[b] & (self.mobile[a] | self.mobile[b] | (self.z[b] <= self.z[a] + STEP))

        for dx, dy in NEIGHBOURS:
            there = here + dx + dy * self.columns
            beside = here + dx
            above = here + dy * self.columns
            possible = passable(here, there)
            if dx and dy:
                possible &= passable(here, beside) & passable(here, above)
                possible &= passable(beside, there) & passable(above, there)
            costs = CELL * np.hypot(dx, dy) * price[there] + np.where(self.mobile[here], 0.0, entering[there])
            found = (here[possible].tolist(), there[possible].tolist(), costs[possible].tolist())
            for a, b, cost in zip(*found, strict=True):
                steps[a].append((b, cost))
        return steps

    def _places_to_push(self, geometry: MapGeometry, specials: tuple[int, ...]) -> list[tuple[int, float, float]]:
        """Where to stand to push lines of these specials from their front, and their middles."""
        found = []
        for line in geometry.lines[np.isin(geometry.specials, specials)]:
            middle = line.reshape(2, 2).mean(0)
            along = line[2:] - line[:2]
            x, y = middle + 28.0 * np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1.0)
            found.append((self.cell(x, y), float(middle[0]), float(middle[1])))
        return found

    # ---- using it ----------------------------------------------------------------------------------------------------

    def inside(self, x: float, y: float) -> int:
        """The cell of a point, be it free or not."""
        column = int((x - self.origin[0]) // CELL)
        row = int((y - self.origin[1]) // CELL)
        return min(max(row, 0), self.rows - 1) * self.columns + min(max(column, 0), self.columns - 1)

    def around(self, x: float, y: float, reach: float) -> Numbers:
        """The cells whose middles are in a square about a point."""
        at = (np.array([[x - reach, y - reach], [x + reach, y + reach]]) - self.origin) / CELL - 0.5
        first = np.maximum(np.ceil(at[0]), 0).astype(int)
        last = np.minimum(np.floor(at[1]), (self.columns - 1, self.rows - 1)).astype(int)
        rows = np.arange(first[1], last[1] + 1)
        return (rows[:, None] * self.columns + np.arange(first[0], last[0] + 1)).ravel()

    def cell(self, x: float, y: float) -> int:
        """The nearest cell that one can stand in, if there is one a step away; else the cell of the point."""
        inside = self.inside(x, y)
        if self.steps[inside]:
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
        best = np.inf
        end = -1
        cost = [np.inf] * self.size
        before = [-1] * self.size
        cost[start] = 0.0
        queue = [(0.0, start)]
        while queue:
            so_far, here = heapq.heappop(queue)
            if so_far >= best or (effort < 0 and end >= 0):
                break
            if so_far > cost[here]:
                continue  # a shorter way was found meanwhile
            effort -= 1
            if (total := so_far + float(goals[here])) < best:
                best = total
                end = here
            for there, step in self.steps[here]:
                total = so_far + step + extra[there]
                if total < cost[there]:
                    cost[there] = total
                    before[there] = here
                    heapq.heappush(queue, (total, there))
        way = []
        while end >= 0:
            way.append(end)
            end = before[end]
        return way[::-1], float(best)

    def straight(self, x: float, y: float, to: int, extra: list[float]) -> bool:
        """Can one walk in a straight line to a cell, over cells that cost nothing extra?"""
        dx = self.x[to] - x
        dy = self.y[to] - y
        count = int(max(abs(dx), abs(dy)) / (CELL / 2)) + 1
        t = np.arange(1, count + 1) / count
        row = (y + t * dy - self.origin[1]) // CELL
        column = (x + t * dx - self.origin[0]) // CELL
        cells = (row * self.columns + column).astype(int)
        if not self.free[cells[1:]].all() or any(extra[cell] for cell in cells.tolist()):
            return False
        with np.errstate(invalid="ignore"):  # −∞ − −∞, where the floor moves
            return not (self.mobile[cells].any() or (np.abs(np.diff(self.z[cells])) > STEP).any())


def _waiting_costs(geometry: MapGeometry) -> Array:
    """What it costs to enter each sector because something moves there; 0: nothing does. Last: the outside."""
    cost = np.zeros(len(geometry.heights) + 1)
    moving = (geometry.tags > 0) & (geometry.specials > 0) & ~np.isin(geometry.specials, STILL)
    lifts = moving & np.isin(geometry.specials, LIFTS)
    cost[:-1][np.isin(geometry.sector_tags, geometry.tags[moving])] = REMOTE_COST
    cost[:-1][np.isin(geometry.sector_tags, geometry.tags[lifts])] = DOOR_COST
    by_hand = geometry.sides[np.isin(geometry.specials, DOORS), 1]
    cost[by_hand[by_hand >= 0]] = DOOR_COST
    return cost


@functools.lru_cache(maxsize=16)
def level(scenario: Scenario) -> Level:
    """The grid of a scenario's map: of the WAD beside its configuration, or of its map in free play."""
    if scenario.map is not None:
        wad = Path(scenario.wad) if scenario.wad else shipped_wad(scenario.map)
        return Level(read_map(wad, scenario.map))
    import vizdoom

    return Level(read_map(Path(vizdoom.scenarios_path) / Path(scenario.config).with_suffix(".wad"), "MAP01"))
