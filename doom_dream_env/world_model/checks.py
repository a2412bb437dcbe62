"""What is handed to a world model, checked before it is used.

Legend: B batch, T time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE


def checked_frames(frames: Tensor | np.ndarray) -> Tensor:
    """Frames uint8 (B, T, 120, 160, 3) as a tensor.

    Raises:
        ValueError: on another shape.
        TypeError: on another dtype than uint8.
    """
    tensor = torch.as_tensor(frames)
    if tensor.dtype != torch.uint8:
        raise TypeError(f"frames must be uint8 RGB in 0…255, got {tensor.dtype}")
    if tensor.ndim != 5 or tuple(tensor.shape[2:]) != FRAME_SHAPE:
        expected = ", ".join(map(str, FRAME_SHAPE))
        raise UserError(f"frames must have shape (B, T, {expected}), got {tuple(tensor.shape)}")
    return tensor


def within(values: Tensor, least: float, greatest: float) -> bool:
    """Do all values lie between these two? In one pass: a dream asks at every step."""
    low, high = values.detach().aminmax()
    return float(low) >= least and float(high) <= greatest


def checked_buttons(action: Tensor | np.ndarray, batch: int, device: torch.device) -> Tensor:
    """Nine buttons between 0 and 1 as float32 (B, 9) on a device.

    Raises:
        ValueError: on another shape or values outside 0…1.
    """
    buttons = torch.as_tensor(action, device=device).to(torch.float32)
    expected = (batch, len(BUTTONS))
    if tuple(buttons.shape) != expected:
        raise UserError(f"action must have shape {expected}, one 0/1 per button, got {tuple(buttons.shape)}")
    # A graph that is being exported has no values yet.
    if not torch.compiler.is_exporting() and not within(buttons, 0, 1):
        raise UserError("action must be 0 (released) or 1 (pressed) for each of the nine buttons")
    return buttons


def checked_history(actions: Tensor | np.ndarray | None, batch: int, count: int, frames: int) -> Tensor:
    """What was pressed around so many frames, (B, count, 9), as a tensor; None: nothing, which fits a count of 0.

    Raises:
        ValueError: on another shape.
    """
    pressed = torch.zeros(batch, 0, len(BUTTONS)) if actions is None else torch.as_tensor(actions)
    expected = (batch, count, len(BUTTONS))
    if tuple(pressed.shape) != expected:
        raise UserError(f"{frames} frames need actions of shape {expected}, got {tuple(pressed.shape)}")
    return pressed


def checked_variables(variables: Tensor | np.ndarray, expected: tuple[int, int, int], device: torch.device) -> Tensor:
    """Game variables (B, T, V) as float32 on a device.

    Raises:
        ValueError: on another shape.
    """
    values = torch.as_tensor(variables, dtype=torch.float32, device=device)
    if tuple(values.shape) != expected:
        raise UserError(f"variables must have shape {expected}, got {tuple(values.shape)}")
    return values
