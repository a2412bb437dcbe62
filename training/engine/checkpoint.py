"""Checkpoints: everything that a run needs to go on, in one safetensors file that is written whole or not at all.

A checksum in its metadata finds flipped bits, which would otherwise be trained on without a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from doom_dream_env.errors import UserError
from doom_dream_env.world_model.files import read_checked, write_checked
from training.engine.optim import Optimiser


def save_checkpoint(
    path: Path, module: nn.Module, optimiser: Optimiser, step: int, about: Mapping[str, object]
) -> None:
    """Write a checkpoint.

    Args:
        path: the file.
        module: its tensors are saved as `module.…`.
        optimiser: its state is saved as `optimiser.…`.
        step: finished optimiser steps.
        about: what the file says of itself, as JSON in its metadata.
    """
    tensors = {f"module.{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"optimiser.{key}": value for key, value in optimiser.tensors().items()}
    write_checked(path, tensors, {"step": str(step), "about": json.dumps(dict(about))})


def load_checkpoint(path: Path, module: nn.Module, optimiser: Optimiser | None = None) -> tuple[int, dict[str, Any]]:
    """Load a checkpoint; return the number of finished steps and what it says of itself.

    Raises:
        ValueError: if the file is damaged or of another configuration; the message names it.
    """
    try:
        metadata, tensors = read_checked(path)
        step = int(metadata["step"])
        about = json.loads(metadata["about"])
        parts: dict[str, dict[str, Any]] = {"module": {}, "optimiser": {}}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        module.load_state_dict(parts["module"])
        if optimiser is not None:
            optimiser.load(parts["optimiser"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"checkpoint {path} is damaged or of another configuration ({error}); delete it to start anew"
        ) from error
    return step, about


def finished_steps(path: Path) -> int:
    """Optimiser steps of a checkpoint, 0 if there is none.

    Raises:
        ValueError: if the file is damaged; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            return int(file.metadata()["step"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"checkpoint {path} is damaged ({error}); delete it to start anew") from error
