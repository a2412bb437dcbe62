"""The scripted player of free play: explores any map of DOOM, fights, opens and takes what it meets on the way."""

from __future__ import annotations

from typing import Any

import numpy as np

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import FRAME_SHAPE, VARIABLES, Buttons, Scenario, press
from training.players.navigation import CELL
from training.players.walkers import Walker, turn_to

HEALTH = VARIABLES.index("HEALTH")
AMMUNITION = VARIABLES.index("SELECTED_WEAPON_AMMO")
Switch = tuple[int, float, float]  # cell to stand on, x and y of what to push


class Explorer(Walker):
    """Goes where it has not been, by ways that its random numbers prefer.

    Every episode has a temper of its own: what it likes to see, how often it runs, fights and wanders, when it wants to
    leave. Where a number is "units", it is the way that the player would rather walk instead.
    """

    # What is worth how much: units by which something is nearer than it is, or farther.
    SEE = 300.0  # price of a region not seen yet; `taste` scatters it
    TAKE = 250.0  # price of a thing, less its worth
    PUSH = 300.0  # price of a switch
    LEAVE = -2000.0  # price of the exit, when it wants to leave
    WORTH = {"Key": 1000.0, "Weapon": 400.0, "Ammo": 0.0, "Armor": 100.0, "Health": 0.0, "Powerup": 200.0}
    HEALTH_WORTH = 800.0  # of health to somebody who is weak
    BAN_COST = 1500.0  # of a cell where it did not get on
    EFFORT = 2500  # cells to look at for something to do
    EXIT_EFFORT = 100_000  # the same for the exit

    # When to change its mind; steps, and units where it says so.
    USE_EVERY = 20  # between two attempts to open a door
    STUCK = 30  # without getting on, until it gives up
    LONG = 60  # after which to think again
    ARRIVED = 28.0  # units to the end of the way that count as being there

    # Fighting.
    HITSCAN = ("Zombieman", "ShotgunGuy", "ChaingunGuy")  # their bullets cannot be dodged
    MELEE = 90.0  # units at which fists hit
    FAR = 600.0  # units beyond which it comes nearer
    TRIES = 60  # steps of aiming at one monster
    RESPITE = 150  # steps that it is left alone after that
    WEAK = 45.0  # health below which it rather flees
    LOYALTY = 200.0  # units by which the monster that it aims at seems nearer than others
    CORNERED = 15  # steps for which it does not back away again once something behind it was in the way

    SIDESTEP = (2, 12)  # steps; the shortest and the longest that it walks aslant

    WIGGLE = (0.5, 0.3, 0.3, 0.3, 0.35, 0.35, 0.0, 0.1, 0.5)  # odds of the nine buttons in a burst of random play

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        super().__init__(scenario, rng)
        grid = self.level
        numbers, self.region = np.unique(grid.regions, return_inverse=True)  # of each cell, counted from 0

        # Its temper.
        self.taste = self.SEE * rng.lognormal(0.0, rng.uniform(0.2, 1.0), len(numbers))[self.region]
        self.running = rng.uniform(0.3, 1.0)  # share of its ways that it runs
        self.greed = rng.uniform(0.0, 200.0)  # units it goes further for a thing
        self.reach = rng.uniform(350.0, 1200.0)  # units: whom to fight
        self.wander = rng.choice([0.0, 0.002, 0.008])  # odds per step of some random play
        self.caution = rng.choice([0.0, 1.0, 1.0]) * rng.uniform(100.0, 700.0)  # units: from whom to back away
        self.sway = rng.choice([0.0, 0.05, 0.2])  # odds per step of walking aslant for a while
        self.leave = int(rng.integers(600, 2400))  # step from which on it wants to leave

        # What it remembers of the map.
        self.unseen = grid.free.copy()
        self.bans = np.zeros(grid.size)  # extra costs of cells where it did not get on
        self.switches = list(grid.switches)
        self.taken: set[int] = set()
        self.changed = True  # the costs of cells have: make `extra` anew

        # What it is doing.
        self.time = 0
        self.goal: Switch | int | None = None  # a switch to push or the id of a thing to take; None: a region to see
        self.planned = 0  # time of the last plan
        self.fast = True  # whether it runs on this way
        self.turned = 0  # steps of turning
        self.used = -self.USE_EVERY  # time of the last use
        self.here = (0.0, 0.0)
        self.anchor = (0.0, 0.0)  # where it was when it last got on
        self.still = 0  # steps since then
        self.burst = 0  # steps of random play that are still to come
        self.moves = press()  # of that random play
        self.aslant = 0  # steps aside that are still to come on its way; left positive

        # Whom it fights.
        self.target = -1
        self.shots = 0  # steps of aiming at it
        self.dodge = 0  # the same in a fight
        self.cornered = 0  # steps for which it does not back away
        self.ignored: dict[int, int] = {}  # monsters that it cannot hit, until when

    def __call__(self, game: Game) -> Buttons:
        """Choose an action."""
        self.time += 1
        halted = self.notice_place(game)
        if self.burst > 0:
            self.burst -= 1
            return self.moves
        if (action := self.combat(game, halted)) is not None:
            self.still = 0
            return action
        return self.explore(game, halted)

    def explore(self, game: Game, halted: bool) -> Buttons:
        """Go on where there is nobody to fight.

        Args:
            game: what it plays.
            halted: it has stood still since the last step.
        """
        if self.rng.random() < self.wander:
            return self.wiggle(int(self.rng.integers(5, 25)))
        if self.still > self.STUCK:
            self.give_up()
            return self.get_clear()
        if self.arrived():
            if isinstance(self.goal, tuple) and (action := self.push(game, self.goal)) is not None:
                return action
            self.plan(game)
        if not self.way:
            return self.wiggle(6)
        action = self.steer(game, *self.waypoint(game))
        if halted and self.still > 2 and self.time - self.used > self.USE_EVERY and not self.turned:
            self.used = self.time
            action |= press("USE")  # whatever is in the way may be a door
        return action

    def notice_place(self, game: Game) -> bool:
        """Take in where it is; has it stood still since the last step?"""
        x, y = (float(value) for value in game.pose()[:2])
        halted = bool(np.hypot(x - self.here[0], y - self.here[1]) < 4)
        self.here = (x, y)
        cell = self.level.inside(x, y)
        if self.unseen[cell]:
            self.unseen[self.region == self.region[cell]] = False
        self.still += 1
        if np.hypot(x - self.anchor[0], y - self.anchor[1]) > 3 * CELL:
            self.anchor = (x, y)
            self.still = 0
        return halted

    # ---- ways --------------------------------------------------------------------------------------------------------

    def arrived(self) -> bool:
        """Is it time to think again?"""
        if not self.way or self.time - self.planned > self.LONG:
            return True
        end = self.way[-1]
        x, y = self.here
        near = np.hypot(self.level.x[end] - x, self.level.y[end] - y) < self.ARRIVED
        if isinstance(self.goal, int) and near:
            self.taken.add(self.goal)  # or it cannot be
        return bool(near or (self.goal is None and not self.unseen[end]))

    def give_up(self) -> None:
        """This way is barred: think of another."""
        for cell in self.way[1:5]:
            self.bans[self.level.around(self.level.x[cell], self.level.y[cell], 24.0)] += self.BAN_COST
        if isinstance(self.goal, int):
            self.taken.add(self.goal)
        if self.goal in self.switches:
            self.switches.remove(self.goal)
        self.way = []
        self.still = 0
        self.goal = None
        self.changed = True

    def plan(self, game: Game) -> None:
        """Choose something near: a region not seen yet, a thing to take, a switch to push; and the way to it."""
        grid = self.level
        start = grid.cell(*self.here)
        leaving = self.time > self.leave
        self.planned = self.time
        self.fast = self.rng.random() < self.running
        goals = np.where(self.unseen, self.taste, np.inf)  # price of every cell
        aims: dict[int, Switch | int] = {}  # what is to be had there
        self.price_things(game, goals, aims)
        for switch in self.switches:
            goals[switch[0]] = self.PUSH
            aims[switch[0]] = switch
        for switch in grid.exits if leaving else []:
            goals[switch[0]] = self.LEAVE
            aims[switch[0]] = switch
        goals[grid.exit_cells] = self.LEAVE if leaving else np.inf
        goals[start] = np.inf
        if self.changed or leaving:
            extra = self.bans.copy()
            extra[grid.exit_cells] += 0.0 if leaving else 3 * self.BAN_COST
            self.extra = extra.tolist()
            self.changed = False
        goals -= min(goals.min(), 0.0)  # the search wants them positive
        self.way, _ = grid.way(start, goals, self.extra, self.EXIT_EFFORT if leaving else self.EFFORT)
        if not self.way:  # all is seen: anew
            self.unseen = grid.free.copy()
            self.bans[:] = 0.0
            self.changed = True
        self.goal = aims.get(self.way[-1]) if self.way else None

    def price_things(self, game: Game, goals: np.ndarray, aims: dict[int, Switch | int]) -> None:
        """Enter the things that lie about into `goals` and `aims`."""
        health = game.variables[HEALTH]
        for thing in game.state.objects:
            needless = health >= 100 and thing.name in ("Stimpack", "Medikit")
            if thing.category not in self.WORTH or thing.id in self.taken or needless:
                continue
            cell = self.level.cell(thing.position_x, thing.position_y)
            wanted = self.HEALTH_WORTH * (thing.category == "Health" and health < self.WEAK)
            goals[cell] = self.TAKE - self.greed - self.WORTH[thing.category] - wanted
            aims[cell] = int(thing.id)

    # ---- moves -------------------------------------------------------------------------------------------------------

    def wiggle(self, steps: int) -> Buttons:
        """The same random buttons for some steps."""
        self.burst = steps
        self.moves = (self.rng.random(len(self.WIGGLE)) < self.WIGGLE).astype(np.uint8)
        return self.moves

    def get_clear(self) -> Buttons:
        """Come away from what is in the way: backwards, or by random buttons."""
        self.wiggle(int(self.rng.integers(3, 9)))
        if self.rng.random() < 0.5:
            turns = ((), ("TURN_LEFT",), ("TURN_RIGHT",))
            self.moves = press("MOVE_BACKWARD", *turns[int(self.rng.integers(len(turns)))])
        return self.moves

    def push(self, game: Game, switch: Switch) -> Buttons | None:
        """Face the switch and use it; None when that is done."""
        _, x, y = switch
        if np.hypot(x - self.here[0], y - self.here[1]) > 64 or self.still > self.USE_EVERY:
            return None
        angle = turn_to(game, x, y)
        if abs(angle) > 12:
            return self.turn(angle)
        if switch in self.switches:
            self.switches.remove(switch)
        self.goal = None
        self.way = []
        self.bans[:] = 0.0
        self.used = self.time
        self.changed = True
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
        """Walk to a point and turn on the way, slowly where it is near and aside; now and then aslant."""
        angle = turn_to(game, x, y)
        distance = np.hypot(x - self.here[0], y - self.here[1])
        action = self.turn(angle)
        if abs(angle) < (60 if distance > 150 else 25):
            run = self.fast and abs(angle) < 20 and distance > 80
            action |= press("MOVE_FORWARD", *(["SPEED"] if run else []))
            if self.aslant:
                action |= press("MOVE_LEFT" if self.aslant > 0 else "MOVE_RIGHT")
        self.aslant -= int(np.sign(self.aslant))
        if self.aslant == 0 and self.rng.random() < self.sway:
            self.aslant = int(self.rng.integers(*self.SIDESTEP, endpoint=True)) * int(self.rng.choice([-1, 1]))
        return action

    # ---- fights ------------------------------------------------------------------------------------------------------

    def combat(self, game: Game, halted: bool) -> Buttons | None:
        """Turn to a monster in sight, step aside or back and shoot; None: nobody to fight.

        Args:
            game: what it plays.
            halted: it has stood still since the last step, so if it was backing away it cannot.
        """
        label, distance = self.nearest_monster(game)
        if label is None:
            return None
        unarmed = game.variables[AMMUNITION] <= 0
        fleeing = game.variables[HEALTH] < self.WEAK and isinstance(self.goal, int)
        reach = self.MELEE if unarmed else 2 * self.MELEE if fleeing else self.reach
        if distance > reach:
            return None
        self.shots = self.shots + 1 if label.object_id == self.target else 0
        self.target = label.object_id
        if self.shots > self.TRIES:
            self.ignored[label.object_id] = self.time + self.RESPITE
        middle = FRAME_SHAPE[1] / 2  # also the focal length in pixels: the view is 90 degrees wide
        aside = float(np.degrees(np.arctan2(middle - label.x - label.width / 2, middle)))  # left positive
        aimed = label.x <= middle <= label.x + label.width
        action = self.turn(0.0 if aimed else aside)
        if aimed:
            action |= press("ATTACK")
        self.cornered = max(0, self.cornered - 1)
        self.dodge -= int(np.sign(self.dodge))
        if self.dodge == 0:
            self.dodge = int(self.rng.integers(2, 9)) * int(self.rng.choice([-1, 1]))
        if not aimed and abs(aside) < 8:
            action |= press("MOVE_LEFT" if aside > 0 else "MOVE_RIGHT")  # finer than turning
        elif distance < self.FAR and label.object_name not in self.HITSCAN:
            action |= press("MOVE_LEFT" if self.dodge > 0 else "MOVE_RIGHT")
        if distance > self.FAR or (unarmed and abs(aside) < 30):
            action |= press("MOVE_FORWARD")
        elif distance < self.caution and not self.cornered:
            action |= press("MOVE_BACKWARD")
            if halted:
                self.cornered = self.CORNERED
        return action

    def nearest_monster(self, game: Game) -> tuple[Any, float]:
        """Label of the nearest monster in sight and its distance; None without one."""
        best = np.inf
        found: tuple[Any, float] = (None, np.inf)
        for label in game.state.labels:
            if label.object_category != "Monster" or self.ignored.get(label.object_id, 0) >= self.time:
                continue
            x, y = self.here
            distance = float(np.hypot(label.object_position_x - x, label.object_position_y - y))
            seems = distance - self.LOYALTY * (label.object_id == self.target)
            if seems < best:
                best = seems
                found = (label, distance)
        return found
