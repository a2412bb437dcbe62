"""Dreams compute the same and hand out ordinary tensors, whatever a caller's torch is set to."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


@contextlib.contextmanager
def float32_default() -> Iterator[None]:
    """Torch's default type is float32 here. It is a setting of the process, so it is touched only if it is another."""
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def isolated(method: Callable[P, R]) -> Callable[P, R]:
    """A method of an `EnvBatch` that computes without gradients, in float32 and outside autocast.

    Its results are ordinary tensors, which a network can learn from. Those of `torch.inference_mode` are not: autograd
    refuses them, and nobody may change them in place.
    """

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        device = cast("Any", args[0]).device
        with torch.no_grad(), torch.autocast(device.type, enabled=False), float32_default():
            return method(*args, **kwargs)

    return run
