"""One copy of the weights for all environments of a process, and how copies of an environment find it again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from doom_dream_env.envs.isolation import float32_default
from doom_dream_env.errors import UserError
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import MANIFEST, find_weights


@functools.lru_cache(maxsize=4)
def _load(folder: Path, device: str, modified_ns: int) -> WorldModel:
    # All share it, so it must not be bound to the mode of whoever happened to be first.
    with torch.inference_mode(False), float32_default():
        return WorldModel.from_pretrained(folder, device)


def shared_world_model(weights: WorldModel | str | Path | None, device: str | torch.device = "cpu") -> WorldModel:
    """The world model, loaded once per process, folder and device; loaded anew when the folder was written anew."""
    if isinstance(weights, WorldModel):
        return weights
    folder = find_weights(weights).resolve()
    return _load(folder, str(device), (folder / MANIFEST).stat().st_mtime_ns)


class WeightsReference:
    """Stands for a world model in copies of an environment.

    A deep copy shares the model. A pickle holds its name, fingerprint and device instead of its tensors (36 MB), and
    finds it again where it is read. A model that was never saved has no name, and is pickled as it is.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightsReference:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        model = self.model
        if not model.source:
            return WeightsReference, (model,)
        return _find, (model.source, model.fingerprint, str(model.device))


def _find(source: str, fingerprint: str, device: str) -> WeightsReference:
    model = shared_world_model(source, device)
    if model.fingerprint != fingerprint:
        raise UserError(
            f"this environment was pickled with weights {fingerprint}, those of {source!r} are now {model.fingerprint}"
        )
    return WeightsReference(model)
