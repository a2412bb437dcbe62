"""From what the eye sees in each frame to things that last: predict, match, correct.

The dynamics say where everything should be now; what the eye finds is matched to it (the assignment of least cost), and
corrects place and motion a little, as in an alpha-beta filter. What should be in sight and is not fades; what is in
sight and was not expected is new.

Legend: B lanes, K slots, D detections.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model.things.dynamics import ThingsDynamics
from doom_dream_env.world_model.things.eye import FOCAL, Detections, Seen, detections
from doom_dream_env.world_model.things.state import EMPTY, HISTORY, Things

PROJECTILE, MONSTER = 0, 1
BURST = 1  # index of the kind of a projectile that has hit
SURE, MAYBE = 0.45, 0.15  # chances above which a detection is new, or confirms what is expected
GATE = 16.0  # cost above which a detection is not the thing that was expected
BEARING_ERROR = 3.0  # pixels
LOG_DISTANCE_ERROR = 0.12
# Gains of place and motion by the number of known displacements: those of an alpha-beta filter with growing memory,
# 2(2n + 1) / ((n + 1)(n + 2)) and 6 / ((n + 1)(n + 2)) at the n-th sight; the last ones are of the fifth.
GAINS = ((1.0, 1.0), (0.83, 0.5), (0.7, 0.3), (0.52, 0.14))
SURE_WITHIN = 20.0  # map units of error forward above which the gains are smaller
MISSED_PROJECTILE, MISSED_OTHER = 2, 5  # frames in which what should be in sight may be missed
FLOWN_AWAY = 8  # steps out of sight after which a projectile is forgotten
IN_VIEW = 0.93  # how far left or right of straight ahead, in units of the distance forward
SPEED = {"DoomImpBall": 40.0, "Rocket": 80.0}  # map units a step; other projectiles as the first


class Tracker:
    """Keeps the things of B lanes through real frames.

    Args:
        dynamics: who predicts.
        slots: K.
    """

    def __init__(self, dynamics: ThingsDynamics, slots: int = 16) -> None:
        self.dynamics = dynamics
        self.slots = slots
        names = dynamics.config.kinds
        self.speeds = torch.tensor([SPEED.get(name, 40.0) for name in names])

    def begin(self, seen: Seen, variables: Tensor, scenario: Tensor, located: Tensor) -> Things:
        """Things of the first frames of episodes."""
        batch, k = len(variables), self.slots
        empty = torch.zeros(batch, k)
        x_y, angle = pose_of(seen)
        things = Things(
            kind=torch.zeros(batch, k, dtype=torch.long),
            place=torch.zeros(batch, k, 3),
            moved=torch.zeros(batch, k, HISTORY, 3),
            known=empty,
            unseen=empty.clone(),
            pose=torch.cat([x_y, angle[:, None]], 1),
            located=located,
            motion=torch.zeros(batch, 3),
            actions=torch.zeros(batch, HISTORY, len(BUTTONS)),
            variables=variables,
            elapsed=torch.zeros(batch),
            walls=seen.walls.clamp(0, 64),
            scenario=scenario,
        )
        return self._corrected(things, detections(seen), None)

    def advance(self, things: Things, action: Tensor, seen: Seen, variables: Tensor) -> Things:
        """Things one real step on."""
        expected, _, _ = self.dynamics.step(things, action, drawn=False, new=False)
        x_y, angle = pose_of(seen)
        trust = (seen.pose_log_error.exp() < 0.15).float() * things.located
        turn = (angle - expected.pose[:, 2] + math.pi) % (2 * math.pi) - math.pi
        gain = 0.15 * trust
        pose = torch.cat(
            [
                expected.pose[:, :2] + gain[:, None] * (x_y - expected.pose[:, :2]),
                (expected.pose[:, 2] + gain * turn)[:, None],
            ],
            1,
        )
        in_sight = expected.unseen == 0
        expected = dataclasses.replace(
            expected,
            pose=pose,
            variables=variables,
            unseen=things.unseen + 1,
            walls=0.2 * expected.walls + 0.8 * seen.walls.clamp(0, 64),
        )
        return self._corrected(expected, detections(seen), in_sight)

    def _corrected(self, things: Things, found: Detections, in_sight: Tensor | None) -> Things:
        """Things as the detections say; `in_sight` (B, K): what should be among them, None: an episode begins."""
        groups = self.dynamics.groups
        kind, place, moved = things.kind.clone(), things.place.clone(), things.moved.clone()
        known, unseen = things.known.clone(), things.unseen.clone()
        for lane in range(len(things)):
            ok = torch.nonzero(found.chance[lane] > MAYBE)[:, 0]
            slots = torch.nonzero(kind[lane] != EMPTY)[:, 0]
            matched_slots, matched_found = [], []
            if len(ok) and len(slots):
                cost = self._cost(
                    place[lane, slots],
                    kind[lane, slots],
                    unseen[lane, slots],
                    found.place[lane, ok],
                    found.kind[lane, ok],
                )
                rows, columns = linear_sum_assignment(cost.numpy())
                for r, c in zip(rows, columns, strict=True):
                    if cost[r, c] < GATE:
                        matched_slots.append(int(slots[r]))
                        matched_found.append(int(ok[c]))
            for s, d in zip(matched_slots, matched_found, strict=True):
                was, now = int(kind[lane, s]), int(found.kind[lane, d])
                if was != now and (BURST in (was, now) or groups[was] != groups[now] or found.chance[lane, d] > 0.6):
                    kind[lane, s] = now
                    if now == BURST:
                        moved[lane, s] = 0
                step = found.place[lane, d] - place[lane, s]
                # Along the line of sight the eye is unsure, across it is sharp.
                sight = found.place[lane, d, :2] / found.place[lane, d, :2].norm().clamp(min=1)
                along = (step[:2] * sight).sum() * sight
                across = step[:2] - along
                gain, motion_gain = GAINS[int(known[lane, s])]
                trust = min(1.0, SURE_WITHIN / float(found.spread[lane, d, 0]))
                change = gain * (trust * along + across)
                place[lane, s] += torch.cat([change, 0.5 * step[2:]])
                if now != BURST:
                    moved[lane, s, :, :2] += motion_gain * (trust * along + across)
                unseen[lane, s] = 0
            taken = set(matched_found)
            for s in slots.tolist():
                if s in matched_slots:
                    continue
                forward, left = place[lane, s, :2].tolist()
                in_view = forward > 24 and abs(left) < IN_VIEW * forward
                flies = int(groups[kind[lane, s]]) == PROJECTILE or int(kind[lane, s]) == BURST
                missed = float(unseen[lane, s]) >= (MISSED_PROJECTILE if flies else MISSED_OTHER)
                expected = in_sight is not None and bool(in_sight[lane, s])
                if missed and in_view and expected or flies and (forward < -32 or unseen[lane, s] > FLOWN_AWAY):
                    kind[lane, s] = EMPTY
            for d in ok.tolist():
                if d in taken or found.chance[lane, d] < SURE:
                    continue
                free = torch.nonzero(kind[lane] == EMPTY)[:, 0]
                s = int(free[0]) if len(free) else int(place[lane, :, :2].norm(dim=-1).argmax())
                new = int(found.kind[lane, d])
                kind[lane, s] = new
                place[lane, s] = found.place[lane, d]
                moved[lane, s] = 0
                known[lane, s] = 0
                if int(groups[new]) == PROJECTILE and new != BURST and in_sight is not None:
                    direction = -place[lane, s] / place[lane, s].norm().clamp(min=1)
                    direction[2] = 0
                    moved[lane, s, 0] = direction * self.speeds[new]
                    known[lane, s] = 1
                unseen[lane, s] = 0
        return dataclasses.replace(things, kind=kind, place=place, moved=moved, known=known, unseen=unseen)

    def _cost(self, place: Tensor, kind: Tensor, unseen: Tensor, found: Tensor, found_kind: Tensor) -> Tensor:
        """Cost (slots, detections) of taking one for the other."""
        groups = self.dynamics.groups
        ahead = place[:, 0].clamp(min=8.0)
        column = FOCAL * place[:, 1] / ahead
        found_column = FOCAL * found[:, 1] / found[:, 0].clamp(min=8.0)
        # A map unit of doubt about where it is counts more pixels when it is near.
        pixels = BEARING_ERROR + FOCAL * (4.0 + 6.0 * unseen.clamp(max=6)) / ahead
        bearing = (column[:, None] - found_column[None]) / pixels[:, None]
        distance = place[:, :2].norm(dim=-1).clamp(min=8).log()[:, None] - found[:, :2].norm(dim=-1).clamp(min=8).log()
        doubt = LOG_DISTANCE_ERROR + 20.0 / ahead[:, None] + 0.03 * unseen[:, None].clamp(max=6)
        cost = bearing.square() + (distance / doubt).square()
        flies = (groups[kind] == PROJECTILE) | (kind == BURST)
        found_flies = (groups[found_kind] == PROJECTILE) | (found_kind == BURST)
        cost = cost + 100.0 * (flies[:, None] != found_flies[None])
        cost = cost + 2.0 * (kind[:, None] != found_kind[None])
        behind = place[:, 0] < 4.0
        return cost + 1000.0 * behind[:, None]


def pose_of(seen: Seen) -> tuple[Tensor, Tensor]:
    """X and y (B, 2) and angle (B,) that the eye reads."""
    return seen.pose[:, :2] * 512.0, torch.atan2(seen.pose[:, 2], seen.pose[:, 3])
