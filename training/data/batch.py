"""Cutting windows of recorded steps into batches.

Legend: B windows, T steps of each, V variables.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from doom_dream_env.world_model.state import advance_elapsed
from training.data.annotations import item_ahead
from training.data.dataset import Dataset

Rows = npt.NDArray[np.int64]

PER_STEP = (
    "actions",
    "rewards",
    "terminated",
    "variables",
    "next_variables",
    "object_maps",
    "valid",
    "rows",
    "pose",
    "sightings",
    "confidence",
    "variables_confidence",
    "outcome_confidence",
    "annotated",
)


@dataclass(frozen=True)
class Batch:
    """Windows of B x T recorded steps.

    Attributes:
        frames: uint8 (B, T, 120, 160, 3), or None where only states are needed.
        actions: pressed after each frame, 0/1 as float32 (B, T, 9).
        rewards: (B, T).
        terminated: did the step end the episode? 0/1 as float32 (B, T).
        variables, next_variables: game variables before and after the step, (B, T, V).
        scenario: index of the scenario, (B,).
        elapsed: steps since the episode began at the window's first step, (B,); −1 where unknown.
        object_maps: 0/1 as float32 (B, T, 3, 12, 16).
        valid: which steps exist, 0/1 as float32 (B, T).
        follows: which steps have a next one in the window, 0/1 as float32 (B, T − 1).
        rows: of the dataset, (B, T).
        place: index of the place, (B,).
        pose: x, y, z and angle in degrees, (B, T, 4).
        sightings: sideways offset of the nearest projectile (NaN without one), is a monster under the crosshair, is an
            item ahead; (B, T, 3).
        confidence: how likely the whole action is right, (B, T).
        variables_confidence: the same of each variable, before and after the step, (B, T, V).
        outcome_confidence: the same of reward and termination, (B, T).
        annotated: whether pose, object maps and sightings are known, 0/1 as float32 (B, T).
    """

    frames: Tensor | None
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    variables: Tensor
    next_variables: Tensor
    scenario: Tensor
    elapsed: Tensor
    object_maps: Tensor
    valid: Tensor
    follows: Tensor
    rows: Tensor
    place: Tensor
    pose: Tensor
    sightings: Tensor
    confidence: Tensor
    variables_confidence: Tensor
    outcome_confidence: Tensor
    annotated: Tensor

    @property
    def known_transitions(self) -> Tensor:
        """How much the step from one state to the next counts, (B, T − 1): as much as its action is sure."""
        return self.follows * self.confidence[:, :-1]

    def known_rollout(self, begin: int, steps: int) -> Tensor:
        """How much each state of a rollout counts that begins after step `begin`, (B, steps).

        As much as the least sure of the actions that led there: whatever follows a wrong one is another course of
        events.
        """
        return self.known_transitions[:, begin : begin + steps].cummin(1).values

    @property
    def annotated_steps(self) -> Tensor:
        """Which steps exist and have pose, object maps and sightings, (B, T)."""
        return self.valid * self.annotated

    @property
    def annotated_followers(self) -> Tensor:
        """Which steps have a next one that has these, (B, T − 1)."""
        return self.follows * self.annotated[:, 1:]

    def part(self, begin: int, end: int) -> Batch:
        """Steps `begin` to `end` of every window, without frames."""
        return dataclasses.replace(
            self,
            frames=None,
            elapsed=advance_elapsed(self.elapsed, begin),
            follows=self.follows[:, begin : end - 1],
            **{name: getattr(self, name)[:, begin:end] for name in PER_STEP},
        )


def make_batch(data: Dataset, rows: Rows, length: int, device: torch.device, frames: bool = True) -> Batch:
    """Cut windows; past an episode's end their steps are marked not valid, never filled with fiction.

    Args:
        data: the recorded steps.
        rows: where the windows begin, (B,).
        length: T.
        device: where the tensors go.
        frames: decode the frames too.
    """
    last = data.last[rows][:, None]
    at = rows[:, None] + np.arange(length)
    valid = at <= last
    at = np.minimum(at, last)
    sightings = np.stack([data.projectile[at, 0], data.crosshair[at], item_ahead(data.object_maps[at])], -1)

    def tensor(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    return Batch(
        frames=tensor(data.frames(at)) if frames else None,
        actions=tensor(data.actions[at]).float(),
        rewards=tensor(data.rewards[at]),
        terminated=tensor(data.terminated[at]).float(),
        variables=tensor(data.variables[at]),
        next_variables=tensor(data.next_variables[at]),
        scenario=tensor(data.scenario[rows]),
        elapsed=tensor(data.elapsed[rows]),
        object_maps=tensor(data.object_maps[at]).float(),
        valid=tensor(valid).float(),
        follows=tensor(valid[:, 1:]).float(),
        rows=tensor(at),
        place=tensor(data.place[rows]),
        pose=tensor(data.pose[at]),
        sightings=tensor(sightings).float(),
        confidence=tensor(data.confidence[at]),
        variables_confidence=tensor(data.variables_confidence[at]),
        outcome_confidence=tensor(data.outcome_confidence[at]),
        annotated=tensor(data.annotated[at]).float(),
    )


def rows_by_scenario(data: Dataset, pool: Rows) -> list[Rows]:
    """Rows of a pool, split by scenario."""
    return [pool[data.scenario[pool] == index] for index in range(len(data.names))]


def sample_rows(
    groups: list[Rows], batch: int, rng: np.random.Generator, shares: npt.NDArray[np.float64] | None = None
) -> Rows:
    """Draw rows, as many from each group or in proportion to shares; what is left over goes by lot.

    Args:
        groups: rows of each scenario, as `rows_by_scenario` splits them.
        batch: how many rows to draw.
        rng: what draws.
        shares: of the groups; None: equal ones.
    """
    if shares is None:
        edges = np.linspace(0, 1, len(groups) + 1)
    else:
        edges = np.r_[0, np.cumsum(shares) / np.sum(shares)]
    counts = np.diff(np.floor(edges * batch + rng.random() + 1e-9).astype(int))
    return np.concatenate([rng.choice(group, count) for group, count in zip(groups, counts, strict=True)])
