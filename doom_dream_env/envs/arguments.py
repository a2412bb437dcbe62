"""What people give to environments, checked at the door and brought into one form."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from doom_dream_env.errors import UserError

LARGEST_SEED = 2**63 - 1  # what torch's and NumPy's generators both take


def checked_count(name: str, value: Any) -> int:
    """A number of things, 1 or more: an int, or an integer of NumPy or torch.

    Raises:
        ValueError: on anything else.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if isinstance(value, (bool, np.bool_)) or count < 1:
        raise UserError(f"{name} must be a positive int, got {value!r}")
    return count


def _checked_seed(value: Any) -> int:
    try:
        seed = operator.index(value)
    except TypeError:
        raise UserError(f"a seed must be an int, 0 or more, got {value!r}") from None
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"a seed must be an int in 0…2^63 − 1, got {value!r}")
    return seed


def checked_seed(seed: int | Sequence[int] | np.ndarray | None) -> int | list[int] | None:
    """A seed or a list of seeds as ints of Python; None stays None.

    Raises:
        ValueError: on what is no seed, or a negative one.
    """
    if seed is None:
        return None
    if isinstance(seed, (list, tuple, range)) or (isinstance(seed, np.ndarray) and seed.ndim):
        return [_checked_seed(one) for one in seed]
    return _checked_seed(seed)


def checked_temperature(value: Any) -> float:
    """A temperature of dreams.

    Raises:
        ValueError: if it is no finite number of 0 or more.
    """
    try:
        temperature = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        temperature = math.nan
    if not 0 <= temperature < math.inf:
        raise UserError(f"temperature must be a finite number, 0 or more (1: as learned), got {value!r}")
    return temperature


def checked_device(device: str | torch.device) -> torch.device:
    """A device of torch; "auto" is the GPU where there is one.

    Raises:
        ValueError: if there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise UserError(f"device {device!r} is unknown; choose 'cpu', 'cuda' or 'auto'") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"there is no device {str(chosen)!r} here; choose 'cpu', or 'auto' to take a GPU if there is one"
        )
    return chosen


def checked_mask(envs: Any, num_envs: int, device: torch.device) -> torch.Tensor:
    """A mask of environments, bool (N,), on the device.

    Raises:
        ValueError: on another shape or type.
    """
    mask = torch.as_tensor(envs, device=device)
    if mask.dtype != torch.bool or tuple(mask.shape) != (num_envs,):
        found = f"{mask.dtype} of shape {tuple(mask.shape)}"
        raise UserError(f"envs must be a mask of {num_envs} bools, True where to begin anew, got {found}")
    return mask
