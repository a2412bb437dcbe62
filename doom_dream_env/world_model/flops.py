"""What each part of a world model takes: parameters and operations, counted by torch, and what its time goes to."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
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


PRODUCTS = ("addmm", "baddbmm", "bmm", "linear", "matmul", "mm")
COPIES = ("_to_copy", "cat", "clone", "copy_", "embedding", "gather", "index", "index_copy_", "reshape", "stack", "to")


class _Stopwatch(TorchDispatchMode):
    """Adds up the seconds of torch's operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = time.thread_time()
        result = func(*args, **(kwargs or {}))
        self.seconds[func.overloadpacket.__name__] += time.thread_time() - started
        return result


def shares_of_time(step: Callable[[], object], repeats: int = 20) -> dict[str, float]:
    """What the time of a step on one thread goes to: matrix products, copies, and the rest, which add up to one.

    It is processor time, so that other programs hardly matter.
    """
    step()
    started = time.thread_time()
    for _ in range(repeats):
        step()
    whole = time.thread_time() - started
    with _Stopwatch() as watch:
        for _ in range(repeats):
            step()
    products, copies = (sum(watch.seconds[name] for name in names) / whole for names in (PRODUCTS, COPIES))
    return {"matrix products": products, "copies": copies, "the rest": 1 - products - copies}
