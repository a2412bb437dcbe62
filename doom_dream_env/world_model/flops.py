"""How many parameters and floating-point operations each part of a world model takes, counted by torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE
from doom_dream_env.world_model.model import WorldModel


def parameters_and_flops(model: WorldModel) -> dict[str, tuple[int, int, str]]:
    """Per part: parameters, operations (a multiply-add is two), and what one unit of its work is."""
    config = model.config
    frame = torch.zeros(1, 1, *FRAME_SHAPE, dtype=torch.uint8)
    action = torch.zeros(1, len(BUTTONS))
    state = model.begin(
        torch.zeros(1, config.state_width),
        torch.zeros(1, len(config.variables)),
        torch.zeros(1, dtype=torch.long),
    )
    work: dict[str, tuple[Callable[[], Any], list[nn.Module], str]] = {
        "encoder": (lambda: model.encode(frame), [model.encoder], "frame"),
        "predictor (cached step)": (lambda: model.imagine(state, action), [model.trunk, model.dynamics], "step"),
        "decoder": (lambda: model.decode(state), [model.decoder], "frame"),
    }
    counted = {}
    for name, (function, modules, unit) in work.items():
        # Not in inference mode: it would bypass the counter.
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            function()
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        counted[name] = (parameters, counter.get_total_flops(), unit)
    return counted
