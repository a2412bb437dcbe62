"""A split of recorded data that training never saw, with all that the weights make of it.

Legend: N rows of the data, D state width, E trunk width, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.data.latents import agent_features, encode_all, trunk_features


@dataclass(frozen=True)
class HeldOut:
    """One split, encoded.

    Attributes:
        data: the recorded steps; `data.scenario` counts scenarios as the model does.
        z: states of every row, (N, D).
        h: trunk features of every row given its whole episode so far, (N, E).
        features: what an agent sees at every row, (N, F).
    """

    data: Dataset
    z: Tensor
    h: Tensor
    features: Tensor

    @classmethod
    def load(cls, model: WorldModel, root: Path, scenarios: Sequence[str], split: str, limit: int | None) -> HeldOut:
        """Read and encode a split; arguments as for `load_split`."""
        data = load_split(model, root, scenarios, split, limit)
        z = encode_all(model, data)
        h = trunk_features(model, data, z)
        return cls(data, z, h, agent_features(model, data, z, h))


def load_split(
    model: WorldModel, root: Path, scenarios: Sequence[str], split: str, limit: int | None = None
) -> Dataset:
    """A split of the data whose `scenario` counts scenarios as the model does.

    Args:
        model: the weights that the data are for.
        root: folder of the dataset.
        scenarios: their names.
        split: "val" or "test".
        limit: use at most about so many steps of each scenario; None: all.

    Raises:
        ValueError: if some of it was labelled from videos: a score needs true keys, rewards and objects.
    """
    data = Dataset(root, scenarios, split, limit)
    data.require_annotations("a score")
    data.scenario = np.array([model.config.scenarios.index(name) for name in data.names])[data.scenario]
    return data
