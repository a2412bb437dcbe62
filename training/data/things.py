"""What the game knew of things in recorded play, as states and targets of single steps.

Legend: N steps of all shards, M things of all steps, B chosen steps, K slots, V variables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.game.recording import FORMAT_VERSION, METADATA
from doom_dream_env.game.things import ITEM, MONSTER, OTHER, PROJECTILE, REMAINS, REMAINS_PREFIX
from doom_dream_env.scenarios import BUTTONS, VARIABLES
from doom_dream_env.world_model.things.dynamics import MOST_NEW, MOST_SHOTS, cell_of_place
from doom_dream_env.world_model.things.state import EMPTY, FORGOTTEN_AFTER, HISTORY, WALLS, Things, rotated
from training.data.collect import THINGS

SLOTS = 16
UNLOCATED = ("freedoom",)  # scenarios with more maps than one, where a pose says nothing
SHOT_WITHIN = 100.0  # map units between a new projectile and whoever shot it
BURST = "Burst"  # a projectile that has hit something
STILL = 0.5  # map units a tic: a projectile that moves less has burst


@dataclass
class Kinds:
    """Kinds of things by name; index 0 is an empty slot, 1 a projectile's burst.

    Attributes:
        names: of each kind.
        groups: of each, see `doom_dream_env.game.things`.
    """

    names: list[str] = field(default_factory=lambda: ["", BURST])
    groups: list[int] = field(default_factory=lambda: [OTHER, OTHER])

    def index(self, name: str, group: int) -> int:
        """Index of a kind, which is added if it is not there."""
        if name not in self.names:
            self.names.append(name)
            self.groups.append(group)
        return self.names.index(name)

    def becomes(self) -> list[int]:
        """Per kind what its things become when they die or burst, 0: nothing."""
        remains = [f"{REMAINS_PREFIX}{name}" for name in self.names]
        return [
            self.names.index(BURST) if group == PROJECTILE else self.names.index(left) if left in self.names else 0
            for group, left in zip(self.groups, remains, strict=True)
        ]


@dataclass
class Targets:
    """What followed; masks say where it is known."""

    next: Tensor  # bool (B,): there is a next frame
    alive: Tensor  # bool (B, K)
    turned: Tensor  # bool (B, K)
    displaced: Tensor  # (B, K, 3)
    in_sight: Tensor  # bool (B, K)
    shots: Tensor  # bool (B, 1 + K): the player, then each slot, has shot
    shot_source: Tensor  # int64 (B, MOST_SHOTS), -1: none
    shot_kind: Tensor
    shot_values: Tensor  # (B, MOST_SHOTS, 6): place from the source, along axes before; displacement before that
    new_kind: Tensor  # int64 (B, MOST_NEW - 1), 0: none
    new_cell: Tensor
    new_height: Tensor
    new_count: Tensor  # (B,)
    motion: Tensor  # (B, 3)
    walls: Tensor
    variables: Tensor  # (B, V)
    reward: Tensor
    ended: Tensor  # bool: not by death
    died: Tensor


def shards_of(folder: Path, scenarios: Sequence[str], split: str, framed: bool = False) -> list[Path]:
    """Files of shards with things, or only those that have frames beside them.

    Raises:
        ValueError: if a scenario has none; the message gives the command that makes them.
    """
    found = []
    for name in scenarios:
        with_frames = sorted((folder / name).glob(f"{split}-*.parquet"))
        paths = [path for path in with_frames if holds_things(path)]
        if not framed:
            paths += sorted((folder / name).glob(f"{THINGS}-{split}-*.parquet"))
        if not paths:
            options = "--things" if framed else "--things --no-frames"
            raise UserError(
                f"{folder / name} holds no things of the split {split}{' with frames' if framed else ''}; "
                f"python -m training collect --out {folder} --split {split} --scenarios {name} {options} makes them"
            )
        found += paths
    return found


def holds_things(path: Path) -> bool:
    """Was a shard recorded with its things?

    Raises:
        ValueError: if it is damaged; the message names it.
    """
    try:
        return "things" in pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and collect it anew") from error


def read_shard(path: Path) -> dict[str, Any]:
    """The columns of a shard of things, flat.

    Raises:
        ValueError: if it is damaged or of another format; the message names it.
    """
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[METADATA])
        if about["format_version"] != FORMAT_VERSION:
            raise UserError(f"format version {about['format_version']}, this code reads {FORMAT_VERSION}")
        things = table["things"].combine_chunks()
        flat = things.flatten()
        names = flat.field("name").dictionary_encode()
        group = flat.field("group").to_numpy()
        kind = names.indices.to_numpy()
        first = [int(group[np.argmax(kind == index)]) for index in range(len(names.dictionary))]

        def matrix(values: Any, width: int) -> npt.NDArray[Any]:
            return np.asarray(values.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)

        def column(name: str, width: int) -> npt.NDArray[Any]:
            return matrix(table[name].combine_chunks(), width)

        return {
            "scenario": about["scenario"],
            "kinds": list(zip(names.dictionary.to_pylist(), first, strict=True)),
            "count": np.diff(things.offsets.to_numpy()).astype(np.int16),
            "id": flat.field("id").to_numpy(),
            "kind": kind.astype(np.int16),
            "pos": matrix(flat.field("position"), 3),
            "vel": matrix(flat.field("velocity"), 3).astype(np.float16),
            "box": matrix(flat.field("box"), 4),
            "action": column("action", len(BUTTONS)),
            "reward": table["reward"].to_numpy().astype(np.float32),
            "term": table["terminated"].to_numpy(),
            "var": column("variables", len(VARIABLES)),
            "nvar": column("next_variables", len(VARIABLES)),
            "pose": column("pose", 4).copy(),
            "depth": column("walls", WALLS),
            "episode": table["episode"].to_numpy().astype(np.int32),
            "elapsed": table["elapsed"].to_numpy().astype(np.int16),
        }
    except (pa.ArrowException, OSError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged or holds no things ({error}); delete it and collect it anew") from error


class ThingsData:
    """All steps of some shards, ready to be looked up.

    Args:
        shards: columns of each, as `read_shard` gives them.
        kinds: of things; new ones are added.
        scenarios: names, in the order of their indices.
        mortal: per scenario, whether health is among its variables.
    """

    def __init__(
        self, shards: Iterable[dict[str, Any]], kinds: Kinds, scenarios: Sequence[str], mortal: Sequence[bool]
    ) -> None:
        parts: dict[str, list[npt.NDArray[Any]]] = {}
        steps = runs = 0
        for shard in shards:
            table = np.array([kinds.index(name, group) for name, group in shard.pop("kinds")] or [0])
            world = shard.pop("scenario")
            kind = table[shard["kind"]]
            n = len(shard["count"])
            still = np.abs(shard["vel"].astype(np.float32)).sum(1) < STILL
            group = np.array(kinds.groups)[kind]
            first = np.r_[True, np.diff(shard["episode"]) != 0] | (np.diff(shard["elapsed"], prepend=-1) != 1)
            columns = shard | {
                "step": np.repeat(np.arange(n), shard["count"]) + steps,
                "kind": np.where((group == PROJECTILE) & still, 1, kind).astype(np.int16),
                "scenario": np.full(n, scenarios.index(world), np.int8),
                "located": np.full(n, world not in UNLOCATED),
                "run": np.cumsum(first) + runs,
            }
            runs = int(columns["run"][-1]) + 1
            steps += n
            for name, values in columns.items():
                parts.setdefault(name, []).append(values)
        self.kinds, self.mortal = kinds, np.array(mortal)
        self.scenarios = list(scenarios)
        a = {k: np.concatenate(v) for k, v in parts.items()}
        self.columns = a
        self.n = len(a["count"])
        a["pose"][:, 3] = np.deg2rad(a["pose"][:, 3])
        step = a["step"]
        run = a["run"][step]
        order = np.lexsort((step, a["id"], run))
        same = (run[order][1:] == run[order][:-1]) & (a["id"][order][1:] == a["id"][order][:-1])
        same &= step[order][1:] == step[order][:-1] + 1
        self.prev = np.full(len(step), -1, np.int32)
        self.next = np.full(len(step), -1, np.int32)
        self.prev[order[1:][same]] = order[:-1][same]
        self.next[order[:-1][same]] = order[1:][same]
        visible = a["box"][:, 2] > 0
        at = np.arange(len(order))
        # A thing is recorded from when it was first in sight, so the newest sight is its own.
        newest = np.maximum.accumulate(np.where(visible[order] | ~np.r_[False, same], at, 0))
        unseen = np.empty(len(step), np.int32)
        unseen[order] = step[order] - step[order][newest]
        self.unseen = unseen.astype(np.int16)
        self.visible = visible
        # Slots: what flies and walks first, then the nearest.
        relative = a["pos"][:, :2] - a["pose"][step, :2]
        group = np.array(kinds.groups)[a["kind"]]
        rank = (
            np.hypot(*relative.T)
            + np.where((group >= ITEM) & (a["kind"] != 1), 5000.0, 0.0)
            + (group == REMAINS) * 3000.0
        )
        keep = np.flatnonzero(unseen <= FORGOTTEN_AFTER)
        keep = keep[np.lexsort((rank[keep], step[keep]))]
        first = np.searchsorted(step[keep], np.arange(self.n))
        place = np.arange(len(keep)) - first[step[keep]]
        inside = place < SLOTS
        self.slots = np.full((self.n, SLOTS), -1, np.int32)
        self.slots[step[keep][inside], place[inside]] = keep[inside]
        self.used = (self.slots >= 0).sum(1)
        self.start = np.r_[0, np.cumsum(a["count"])]
        same_run = np.r_[a["run"][1:] == a["run"][:-1], False]
        self.has_next = same_run
        # Where in its run each step is.
        begins = np.r_[True, ~same_run[:-1]]
        self.since = np.arange(self.n) - np.maximum.accumulate(np.where(begins, np.arange(self.n), 0))
        ends = np.where(~same_run, np.arange(self.n), self.n)
        self.goes_on = np.minimum.accumulate(ends[::-1])[::-1] - np.arange(self.n)

    def state(self, rows: npt.NDArray[np.int64], slots: int = SLOTS) -> Things:
        """What was known at steps (B,)."""
        a = self.columns
        idx = self.slots[rows, :slots].astype(np.int64)
        empty = idx < 0
        safe = np.where(empty, 0, idx)
        pose = a["pose"][rows]
        kind = np.where(empty, EMPTY, a["kind"][safe])
        place = a["pos"][safe] - pose[:, None, :3]
        moved = np.zeros((*idx.shape, HISTORY, 3), np.float32)
        known = np.zeros(idx.shape, np.float32)
        now = safe
        going = ~empty
        for back in range(HISTORY):
            before = self.prev[now]
            going = going & (before >= 0)
            # What has just become something else begins anew.
            going &= a["kind"][np.maximum(before, 0)] == a["kind"][now]
            then = np.where(going, before, now)
            moved[:, :, back] = a["pos"][now] - a["pos"][then]
            known += going
            now = then
        angle = torch.from_numpy(pose[:, 3])

        def own(vectors: npt.NDArray, turn: Tensor) -> Tensor:
            return rotated(torch.from_numpy(np.ascontiguousarray(vectors, np.float32)), -turn)

        earlier = np.maximum(rows - 1, 0)
        has = self.since[rows] > 0
        actions = np.zeros((len(rows), HISTORY, a["action"].shape[1]), np.float32)
        for back in range(HISTORY):
            ok = self.since[rows] > back
            actions[ok, back] = a["action"][rows[ok] - 1 - back]
        return Things(
            kind=torch.from_numpy(kind.astype(np.int64)),
            place=own(place, angle[:, None]),
            moved=own(moved, angle[:, None, None]),
            known=torch.from_numpy(known),
            unseen=torch.from_numpy(np.where(empty, 0, self.unseen[safe]).astype(np.float32)),
            pose=torch.from_numpy(pose[:, [0, 1, 3]].astype(np.float32)),
            located=torch.from_numpy(a["located"][rows].astype(np.float32)),
            motion=self._motion(earlier, rows) * torch.from_numpy(has.astype(np.float32))[:, None],
            actions=torch.from_numpy(actions),
            variables=torch.from_numpy(a["var"][rows]),
            elapsed=torch.from_numpy(a["elapsed"][rows].astype(np.float32)),
            walls=torch.from_numpy(a["depth"][rows].astype(np.float32)).clamp(max=64.0),
            scenario=torch.from_numpy(a["scenario"][rows].astype(np.int64)),
        )

    def _motion(self, before: npt.NDArray, after: npt.NDArray) -> Tensor:
        """The player's motion (B, 3) along his axes before it."""
        pose = self.columns["pose"]
        turn = (pose[after, 3] - pose[before, 3] + np.pi) % (2 * np.pi) - np.pi
        walked = rotated(torch.from_numpy(pose[after, :2] - pose[before, :2]), -torch.from_numpy(pose[before, 3]))
        return torch.cat([walked, torch.from_numpy(turn.astype(np.float32))[:, None]], 1)

    def targets(self, rows: npt.NDArray[np.int64], slots: int = SLOTS) -> Targets:
        """What followed steps (B,)."""
        a = self.columns
        batch = len(rows)
        idx = self.slots[rows, :slots].astype(np.int64)
        empty = idx < 0
        safe = np.where(empty, 0, idx)
        after = rows + self.has_next[rows]
        follows = np.where(empty, -1, self.next[safe])
        alive = follows >= 0
        then = np.where(alive, follows, safe)
        turned = alive & (a["kind"][then] != a["kind"][safe])
        pose = a["pose"][rows]
        angle = torch.from_numpy(pose[:, 3])
        moved = np.where(alive[..., None], a["pos"][then] - a["pos"][safe], 0.0).astype(np.float32)
        # Everything that is in sight then and in no slot now.
        groups = np.array(self.kinds.groups)
        shots = np.zeros((batch, 1 + slots), bool)
        shot_source = np.full((batch, MOST_SHOTS), -1, np.int64)
        shot_kind = np.zeros((batch, MOST_SHOTS), np.int64)
        shot_values = np.zeros((batch, MOST_SHOTS, 6), np.float32)
        new_kind = np.zeros((batch, MOST_NEW - 1), np.int64)
        new_place = np.zeros((batch, MOST_NEW - 1, 3), np.float32)
        count = np.zeros(batch, np.int64)
        # Candidates: things of the next step without a predecessor among the slots.
        nxt_slots = self.slots[after]
        came_from = np.where(nxt_slots >= 0, self.prev[np.maximum(nxt_slots, 0)], -2)
        held = (came_from[:, :, None] == idx[:, None, :]).any(-1) & (came_from >= 0)
        fresh = (nxt_slots >= 0) & ~held & self.visible[np.maximum(nxt_slots, 0)] & self.has_next[rows][:, None]
        for b, s in zip(*np.nonzero(fresh), strict=True):
            j = int(nxt_slots[b, s])
            kind = int(a["kind"][j])
            if groups[kind] == PROJECTILE and self.prev[j] < 0:
                sources = np.concatenate([pose[b : b + 1, :3], a["pos"][safe[b]]])
                can = np.concatenate([[True], ~empty[b] & (groups[a["kind"][safe[b]]] == MONSTER)])
                gap = np.where(can, np.hypot(*(sources - a["pos"][j])[:, :2].T), np.inf)
                source = int(gap.argmin())
                free = np.flatnonzero(shot_source[b] < 0)
                if gap[source] < SHOT_WITHIN and len(free) and not shots[b, source]:
                    shots[b, source] = True
                    shot_source[b, free[0]] = source
                    shot_kind[b, free[0]] = kind
                    shot_values[b, free[0], :3] = a["pos"][j] - sources[source]
                    shot_values[b, free[0], 3:] = a["vel"][j].astype(np.float32) * 4
                    continue
            if count[b] < MOST_NEW - 1:
                new_kind[b, count[b]] = kind
                new_place[b, count[b]] = a["pos"][j] - a["pose"][after[b], :3]
                count[b] += 1
        values = rotated(torch.from_numpy(shot_values).unflatten(-1, (2, 3)), -angle[:, None, None]).flatten(-2)
        new_own = rotated(torch.from_numpy(new_place), -torch.from_numpy(a["pose"][after, 3])[:, None])
        mortal = self.mortal[a["scenario"][rows]]
        died = a["term"][rows] & mortal & (a["nvar"][rows, 0] <= 0)
        return Targets(
            next=torch.from_numpy(self.has_next[rows]),
            alive=torch.from_numpy(alive),
            turned=torch.from_numpy(turned),
            displaced=rotated(torch.from_numpy(moved), -angle[:, None]),
            in_sight=torch.from_numpy(alive & self.visible[then]),
            shots=torch.from_numpy(shots),
            shot_source=torch.from_numpy(shot_source),
            shot_kind=torch.from_numpy(shot_kind),
            shot_values=values,
            new_kind=torch.from_numpy(new_kind),
            new_cell=cell_of_place(new_own),
            new_height=new_own[..., 2],
            new_count=torch.from_numpy(count),
            motion=self._motion(rows, after),
            walls=torch.from_numpy(a["depth"][after].astype(np.float32)).clamp(max=64.0),
            variables=torch.from_numpy(a["nvar"][rows]),
            reward=torch.from_numpy(a["reward"][rows]),
            ended=torch.from_numpy(a["term"][rows] & ~died),
            died=torch.from_numpy(died),
        )
