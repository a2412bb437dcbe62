"""Scripted, privileged players that find their way: to medikits, home through a maze, through free play."""

from __future__ import annotations

from typing import Any

import numpy as np

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import FRAME_SHAPE, VARIABLES, Buttons, Scenario, press
from training.navigation import CELL, Level, level
from training.teachers import bearing


def turn_to(game: Game, x: float, y: float) -> float:
    """Degrees to turn left to face a point, in −180…180."""
    here_x, here_y, _, angle = game.pose()
    return float((np.degrees(np.arctan2(y - here_y, x - here_x)) - angle + 180) % 360 - 180)


class Walker:
    """Follows ways over the grid of the map."""

    LOOK_AHEAD = (16, 10, 6, 4, 2)  # cells of the way to aim at, the first to which one can walk straight

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.level: Level = level(scenario)
        self.rng = rng
        self.way: list[int] = []
        self.extra = [0.0] * self.level.size

    def carrot(self, game: Game) -> tuple[float, float]:
        """Where to walk to now: the farthest point of the way ahead in a straight line. Drops what lies behind."""
        x, y, _, _ = game.pose()
        ahead = np.array(self.way[:16])
        self.way = self.way[int(np.argmin(np.hypot(self.level.x[ahead] - x, self.level.y[ahead] - y))) :]
        index = 0
        for index in self.LOOK_AHEAD:
            if index < len(self.way) and self.level.straight(x, y, self.way[index], self.extra):
                break
        index = min(index, len(self.way) - 1)
        return float(self.level.x[self.way[index]]), float(self.level.y[self.way[index]])


class Gatherer(Walker):
    """Health gathering: walks to the nearest medikit, around walls and vials of poison, one button at a time."""

    POISON_RADIUS, POISON_COST = 40.0, 400.0  # units (20 + 16 and a margin); the way round that one would rather go, per cell
    PATIENCE, TURN_COST, NEXT_COST = 8, 3.0, 0.4  # steps between looks around; units walked in the time of one degree

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        super().__init__(scenario, rng)
        self.left, self.right, self.forward = press("TURN_LEFT"), press("TURN_RIGHT"), press("MOVE_FORWARD")
        self.wait, self.turning = 0, False  # the first step of a turn is one of 7 degrees, every further one of 14

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.wait -= 1
        if self.wait <= 0 or len(self.way) < 3:
            self.look(game)
        if not self.way:
            return self.forward
        return self.steer(game, *self.carrot(game))

    def look(self, game: Game) -> None:
        """Choose a medikit and the way to it."""
        self.wait, x, y = self.PATIENCE, *game.pose()[:2]
        grid, extra = self.level, np.zeros(self.level.size)
        goals = np.full(grid.size, np.inf)
        wanted = [thing for thing in game.state.objects if "Medikit" in thing.name or thing.name == "GreenArmor"]
        places = np.array([(thing.position_x, thing.position_y) for thing in wanted])
        for thing in game.state.objects:
            if "Poison" in thing.name:
                extra[grid.around(thing.position_x, thing.position_y, self.POISON_RADIUS + CELL)] += self.POISON_COST / 10
                extra[grid.around(thing.position_x, thing.position_y, self.POISON_RADIUS)] += self.POISON_COST
        for thing, place in zip(wanted, places, strict=True):
            following = np.sort(np.hypot(*(places - place).T))[1:2].sum()  # how far the next one is
            price = self.TURN_COST * abs(bearing(game, thing)[0]) + self.NEXT_COST * following
            goals[grid.cell(*place)] = price
        self.extra = extra.tolist()
        self.way, _ = grid.way(grid.cell(x, y), goals, self.extra)

    def steer(self, game: Game, x: float, y: float) -> Buttons:
        """Turn to a point or walk to it."""
        here_x, here_y, _, _ = game.pose()
        angle, distance = turn_to(game, x, y), float(np.hypot(x - here_x, y - here_y))
        tolerance = min(40.0, np.degrees(np.arctan2(24.0 if len(self.way) < 16 else 14.0, max(distance, 1.0))))
        self.turning = abs(angle) > max(tolerance, 7.5 if self.turning else 4.0)
        if not self.turning:
            return self.forward
        return self.left if angle > 0 else self.right


class Homecomer(Gatherer):
    """My way home: the shortest way to the armour."""

    PATIENCE = 20


class Explorer(Walker):
    """Free play: goes where it has not been, by ways that the dice prefer; fights, opens and takes what it meets on the way.

    Every episode has a temper of its own: what it likes to see, how often it runs, fights and wanders, when it wants to leave.
    """

    USE_EVERY, STUCK, BAN_COST = 20, 30, 1500.0  # steps: to open a door, to lose patience; units one would go round instead
    SEE, TAKE, PUSH, LEAVE = 300.0, 250.0, 300.0, -2000.0  # units one saves by not going for a new region, a thing, a switch, the exit
    WORTH = {"Key": 1000.0, "Weapon": 400.0, "Ammo": 0.0, "Armor": 100.0, "Health": 0.0, "Powerup": 200.0}  # units one goes further
    HITSCAN = ("Zombieman", "ShotgunGuy", "ChaingunGuy")  # their bullets cannot be dodged
    EFFORT = 2500  # cells to look at for something to do
    ARRIVED, LONG, MELEE, FAR = 28.0, 60, 90.0, 600.0  # units; steps after which to think again; units; units
    TRIES, RESPITE, WEAK = 60, 150, 45.0  # steps of aiming at one monster, and without it then; health
    WIGGLE = (0.5, 0.3, 0.3, 0.3, 0.35, 0.35, 0.0, 0.1, 0.5)  # odds of the nine buttons

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        super().__init__(scenario, rng)
        numbers, self.region = np.unique(self.level.regions, return_inverse=True)
        self.taste = self.SEE * rng.lognormal(0.0, rng.uniform(0.2, 1.0), len(numbers))[self.region]
        self.unseen, self.bans = self.level.free.copy(), np.zeros(self.level.size)
        self.running, self.greed = rng.uniform(0.3, 1.0), rng.uniform(0.0, 200.0)
        self.reach = rng.uniform(350.0, 1200.0)  # units: whom to fight
        self.wander, self.leave = rng.choice([0.0, 0.002, 0.008]), int(rng.integers(600, 2400))  # odds per step; a step
        self.switches, self.taken = list(self.level.switches), set[int]()
        self.goal: Any = None  # a switch to push or the id of a thing to take; None: a region to see
        self.time = self.still = self.burst = self.planned = self.turned = self.shots = self.dodge = 0
        self.used, self.target, self.speed, self.changed, self.moves = -self.USE_EVERY, -1, True, True, press()
        self.last = self.anchor = (0.0, 0.0)
        self.ignored: dict[int, int] = {}  # monsters that one cannot hit, until when

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.time += 1
        x, y = (float(value) for value in game.pose()[:2])
        halted, self.last = np.hypot(x - self.last[0], y - self.last[1]) < 4, (x, y)
        if self.unseen[here := self.level.inside(x, y)]:
            self.unseen[self.region == self.region[here]] = False
        self.still += 1
        if np.hypot(x - self.anchor[0], y - self.anchor[1]) > 3 * CELL:
            self.anchor, self.still = (x, y), 0
        if self.burst > 0:
            self.burst -= 1
            return self.moves
        if (action := self.combat(game)) is not None:
            self.still = 0
            return action
        if self.rng.random() < self.wander:
            return self.wiggle(int(self.rng.integers(5, 25)))
        if self.still > self.STUCK:
            self.give_up()
            return self.wiggle(int(self.rng.integers(3, 9)))
        if self.arrived(x, y):
            if isinstance(self.goal, tuple) and (action := self.push(game)) is not None:
                return action
            self.plan(game)
        if not self.way:
            return self.wiggle(6)
        action = self.steer(game, *self.carrot(game))
        if halted and self.still > 2 and self.time - self.used > self.USE_EVERY and not self.turned:
            self.used = self.time
            action |= press("USE")  # whatever is in the way may be a door
        return action

    def arrived(self, x: float, y: float) -> bool:
        """Is it time to think again?"""
        if not self.way or self.time - self.planned > self.LONG:
            return True
        end = self.way[-1]
        near = np.hypot(self.level.x[end] - x, self.level.y[end] - y) < self.ARRIVED
        if isinstance(self.goal, int) and near:
            self.taken.add(self.goal)  # or it cannot be
        return bool(near or (self.goal is None and not self.unseen[end]))

    def wiggle(self, steps: int) -> Buttons:
        """The same random buttons for some steps."""
        self.burst, self.moves = steps, (self.rng.random(len(self.WIGGLE)) < self.WIGGLE).astype(np.uint8)
        return self.moves

    def give_up(self) -> None:
        """This way is barred: think of another."""
        for cell in self.way[1:5]:
            self.bans[self.level.around(self.level.x[cell], self.level.y[cell], 24.0)] += self.BAN_COST
        if isinstance(self.goal, int):
            self.taken.add(self.goal)
        if self.goal in self.switches:
            self.switches.remove(self.goal)
        self.way, self.still, self.goal, self.changed = [], 0, None, True

    def plan(self, game: Game) -> None:
        """Choose something near: a region not seen yet, a thing to take, a switch to push; and the way to it."""
        grid, here, health = self.level, self.level.cell(*self.last), game.variables[VARIABLES.index("HEALTH")]
        self.planned, self.speed, leaving = self.time, self.rng.random() < self.running, self.time > self.leave
        self.changed |= leaving
        goals, aims = np.where(self.unseen, self.taste, np.inf), dict[int, Any]()
        for thing in game.state.objects:
            if thing.category not in self.WORTH or thing.id in self.taken or (health >= 100 and thing.name in ("Stimpack", "Medikit")):
                continue
            cell = grid.cell(thing.position_x, thing.position_y)
            aims[cell] = int(thing.id)
            goals[cell] = self.TAKE - self.greed - self.WORTH[thing.category] - 800 * (thing.category == "Health" and health < self.WEAK)
        for place in self.switches:
            goals[place[0]], aims[place[0]] = self.PUSH, place
        for place in grid.exits if leaving else []:
            goals[place[0]], aims[place[0]] = self.LEAVE, place
        goals[grid.exit_cells] = self.LEAVE if leaving else np.inf
        goals[here] = np.inf
        if self.changed:
            extra, self.changed = self.bans.copy(), False
            extra[grid.exit_cells] += 0.0 if leaving else 3 * self.BAN_COST
            self.extra = extra.tolist()
        goals -= min(goals.min(), 0.0)  # the search wants them positive
        self.way, _ = grid.way(here, goals, self.extra, self.EFFORT if not leaving else 100_000)
        if not self.way:  # all is seen: anew
            self.unseen, self.bans[:], self.changed = grid.free.copy(), 0.0, True
        self.goal = aims.get(self.way[-1]) if self.way else None

    def push(self, game: Game) -> Buttons | None:
        """Face the switch and use it; None when that is done."""
        if np.hypot(self.goal[1] - self.last[0], self.goal[2] - self.last[1]) > 64 or self.still > self.USE_EVERY:
            return None
        if abs(angle := turn_to(game, *self.goal[1:])) > 12:
            return self.turn(angle)
        if self.goal in self.switches:
            self.switches.remove(self.goal)
        self.goal, self.way, self.bans[:], self.used, self.changed = None, [], 0.0, self.time, True
        return press("USE")

    def turn(self, angle: float) -> Buttons:
        """Turn by an angle: 7 degrees in the first step, 14 in every further one, nothing below half of that."""
        if abs(angle) < (8.0 if self.turned else 4.0):
            self.turned = 0
            return press()
        self.turned += 1
        fast = ("SPEED",) if abs(angle) > 45 and self.turned > 1 else ()
        return press("TURN_LEFT" if angle > 0 else "TURN_RIGHT", *fast)

    def steer(self, game: Game, x: float, y: float) -> Buttons:
        """Walk to a point and turn on the way, slowly where it is near and aside."""
        angle, distance = turn_to(game, x, y), np.hypot(x - self.last[0], y - self.last[1])
        action = self.turn(angle)
        if abs(angle) < (60 if distance > 150 else 25):
            action |= press("MOVE_FORWARD", *(["SPEED"] if self.speed and abs(angle) < 20 and distance > 80 else []))
        return action

    def combat(self, game: Game) -> Buttons | None:
        """Turn to a monster in sight, step aside and shoot; None: nobody to fight."""
        foes = {}
        for label in game.state.labels:
            if label.object_category == "Monster" and self.ignored.get(label.object_id, 0) < self.time:
                distance = float(np.hypot(label.object_position_x - self.last[0], label.object_position_y - self.last[1]))
                foes[label.object_id] = (distance - 200 * (label.object_id == self.target), distance, label)
        if not foes:
            return None
        chosen = min(foes, key=lambda key: foes[key][0])
        _, distance, label = foes[chosen]
        unarmed = game.variables[VARIABLES.index("SELECTED_WEAPON_AMMO")] <= 0
        fleeing = game.variables[VARIABLES.index("HEALTH")] < self.WEAK and isinstance(self.goal, int)
        if distance > (self.MELEE if unarmed else 2 * self.MELEE if fleeing else self.reach):
            return None
        self.shots = self.shots + 1 if chosen == self.target else 0
        self.target = chosen
        if self.shots > self.TRIES:
            self.ignored[chosen] = self.time + self.RESPITE
        middle = FRAME_SHAPE[1] / 2  # also the focal length: the view is 90 degrees wide
        aside = float(np.degrees(np.arctan2(middle - label.x - label.width / 2, middle)))  # left positive
        aimed = label.x <= middle <= label.x + label.width
        action = self.turn(0.0 if aimed else aside)
        if aimed:
            action |= press("ATTACK")
        self.dodge -= int(np.sign(self.dodge))
        if self.dodge == 0:
            self.dodge = int(self.rng.integers(2, 9)) * int(self.rng.choice([-1, 1]))
        if not aimed and abs(aside) < 8:
            action |= press("MOVE_LEFT" if aside > 0 else "MOVE_RIGHT")  # finer than turning
        elif distance < self.FAR and label.object_name not in self.HITSCAN:
            action |= press("MOVE_LEFT" if self.dodge > 0 else "MOVE_RIGHT")
        if distance > self.FAR or (unarmed and abs(aside) < 30):
            action |= press("MOVE_FORWARD")
        return action
