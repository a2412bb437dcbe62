"""How something is tried with a library: what the trials of each have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import doom_dream_env  # noqa: F401

Weights = str | None
DREAM = "DreamDoom-v0"
REAL = "RealDoom-v0"
STEPS = 40


@dataclass(frozen=True)
class Trial:
    """Something to try.

    Attributes:
        package: name of the distribution.
        module: what is imported of it.
        tried: what, in a few words.
        run: does it, given the weights; raises if it does not work.
        needs: other modules that it cannot do without.
    """

    package: str
    module: str
    tried: str
    run: Callable[[Weights], None]
    needs: tuple[str, ...] = ()


TRIALS: list[Trial] = []


def trial(
    package: str, tried: str, module: str | None = None, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[Weights], None]], Callable[[Weights], None]]:
    """Add a function to `TRIALS`."""

    def add(run: Callable[[Weights], None]) -> Callable[[Weights], None]:
        TRIALS.append(Trial(package, module or package.replace("-", "_"), tried, run, needs))
        return run

    return add


def play(env: Any, steps: int = STEPS) -> Any:
    """Random steps; ended episodes begin anew. Returns the last result of `step`."""
    env.reset(seed=0)
    env.action_space.seed(0)
    result = None
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        if np.ndim(result[2]) == 0 and (result[2] or result[3]):
            env.reset()
    return result


def films(folder: str | Path) -> list[Path]:
    """Films in a folder, none of them empty."""
    found = sorted(Path(folder).glob("*.mp4"))
    assert found and all(path.stat().st_size > 1000 for path in found), "no film was made"
    return found


def frame_rate(path: Path) -> float:
    """Of a film."""
    import av

    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate)
