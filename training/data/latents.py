"""Recorded steps as the world model sees them: states, trunk features, what an agent sees.

Legend: N rows of the data, B windows, T steps, D state width, E trunk width, F feature width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from doom_dream_env.progress import progress
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.files import read_checked, write_checked
from training.data.batch import Batch, make_batch
from training.data.dataset import Dataset
from training.ranks import from_rank, rank, ranks, same_everywhere, together

AT_ONCE = 256  # frames


def embed_window(model: WorldModel, z: Tensor, batch: Batch, scenario: Tensor) -> Tensor:
    """Trunk tokens (B, T, E) of windows with states z (B, T, D); `scenario` (B,) is what the model is told."""
    return model.tokens(z, batch.actions[:, :-1], batch.variables, scenario, batch.elapsed)


@torch.inference_mode()
def encode_all(model: WorldModel, data: Dataset) -> Tensor:
    """States of every row, (N, D)."""
    parts = []
    with progress(total=len(data), desc="encode", unit="frame", leave=False) as bar:
        for rows in np.array_split(np.arange(len(data)), len(data) // AT_ONCE + 1):
            parts.append(model.encode(data.frames(rows)[None])[0])
            bar.update(len(rows))
    return torch.cat(parts)


@torch.inference_mode()
def trunk_features(model: WorldModel, data: Dataset, z: Tensor) -> Tensor:
    """Trunk features of every row given its whole episode so far, (N, E)."""
    h = torch.zeros(len(data), model.config.trunk_width)
    for first in progress(np.unique(data.first), desc="trunk", unit="episode", leave=False):
        episode = slice(int(first), int(data.last[first]) + 1)
        length = episode.stop - episode.start
        batch = make_batch(data, np.array([first]), length, torch.device("cpu"), frames=False)
        h[episode] = model.trunk(embed_window(model, z[episode][None], batch, batch.scenario))[0]
    return h


def agent_features(model: WorldModel, data: Dataset, z: Tensor, h: Tensor) -> Tensor:
    """What an agent sees at every row, (N, F)."""
    nothing = z.new_zeros(len(z), 0)  # features need no memory
    state = DreamState(
        z=z,
        h=h,
        variables=torch.from_numpy(data.variables),
        scenario=torch.from_numpy(data.scenario),
        elapsed=nothing,
        cache=nothing,
        length=nothing,
    )
    return model.features(state)


@torch.inference_mode()
def cached_states(
    model: WorldModel,
    data: Dataset,
    path: Path,
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Tensor:
    """States of every row (N, D), half precision, from a file or encoded now and written there, shard by shard.

    Shards that the file lacks are encoded, so a dataset may grow. A file of another encoder or a damaged one is made
    anew. Ranks that train together share the shards out, and the main one writes the file.

    Args:
        model: whose encoder.
        data: the recorded steps.
        path: the file.
        autocast: a context for the encoder, such as `Compute.autocast`.
    """
    encoder = digest(model.encoder)
    found = _read_states(path, encoder)
    todo = [(name, rows) for name, rows in data.shard_rows() if len(found.get(name, ())) != len(rows)]
    same_everywhere(len(todo), f"the shards that are not in {path} yet")
    mine = todo[rank() :: ranks()]
    frames_left = sum(len(rows) for _, rows in mine)
    with progress(total=frames_left, desc="encode", unit="frame", disable=not mine or rank() > 0) as bar:
        for name, rows in mine:
            parts = []
            for frames in np.array_split(data.frames(rows), -(-len(rows) // AT_ONCE)):
                with autocast():
                    parts.append(model.encode(frames[None])[0].half().cpu())
                bar.update(len(frames))
            found[name] = torch.cat(parts)
    if together():
        for number, (name, rows) in enumerate(todo):
            empty = torch.zeros(len(rows), model.config.state_width, dtype=torch.float16)
            here = found[name] if number % ranks() == rank() else empty
            found[name] = from_rank(here.to(model.device), number % ranks()).cpu()
    if todo and rank() == 0:
        write_checked(path, found, {"encoder": encoder})
    return torch.cat([found[name] for name in data.shards])


def digest(module: nn.Module) -> str:
    """A checksum of a module's tensors."""
    found = hashlib.sha256()
    for tensor in module.state_dict().values():
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _read_states(path: Path, encoder: str) -> dict[str, Tensor]:
    """States by shard, if the file is whole and of this encoder."""
    try:
        metadata, states = read_checked(path)
    except (FileNotFoundError, ValueError):
        return {}
    return states if metadata.get("encoder") == encoder else {}


def typical_change(data: Dataset, states: Tensor, ahead: int, seed: int, most: int = 4000) -> Tensor:
    """Mean squared change of the state over 1 … `ahead` steps in each scenario, (scenarios, ahead).

    Args:
        data: the recorded steps.
        states: of all rows, (N, D).
        ahead: the longest span.
        seed: of the rows that are looked at.
        most: how many rows of each scenario.
    """
    rng = np.random.default_rng((seed, 17))
    has_next = np.arange(len(data)) < data.last
    rows = [rng.choice(np.flatnonzero((data.scenario == index) & has_next), most) for index in range(len(data.names))]
    out = torch.zeros(len(rows), ahead)
    for scenario, begin in enumerate(rows):
        for steps in range(1, ahead + 1):
            inside = begin[begin + steps <= data.last[begin]]
            if len(inside):
                change = states[inside + steps].float() - states[inside].float()
                out[scenario, steps - 1] = change.square().mean(-1).mean()
            else:  # no episode is that long
                out[scenario, steps - 1] = out[scenario, steps - 2]
    return out.clamp(min=1e-3)
