"""The training loop: every stage brings batches and a loss, this does the rest."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from doom_dream_env.progress import progress
from doom_dream_env.world_model.threads import AdaptiveThreads
from training.engine.checkpoint import load_checkpoint, save_checkpoint
from training.engine.compute import Compute
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.ranks import mean_over_ranks, same_everywhere

B = TypeVar("B")
Numbers = Mapping[str, float | Tensor]
LOG_EVERY = 25  # steps
CHECKPOINT_EVERY = 250  # steps; the last one makes a checkpoint too


def fit(
    *,
    name: str,
    module: nn.Module,
    optimiser: Optimiser,
    steps: int,
    compute: Compute,
    fetch: Callable[[int], B],
    step_loss: Callable[[int, B], tuple[Tensor, Numbers]],
    path: Path | None = None,
    about: Mapping[str, object] | None = None,
    log: RunLog | None = None,
    log_every: int = LOG_EVERY,
    progress_keys: Sequence[str] = (),
    after_step: Callable[[int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
) -> None:
    """Train a module, or go on where its checkpoint ends.

    A run that was killed and goes on follows the same loss curve as one that was not: whatever is random in a step must
    be drawn from the number of the step (`seeded`, `numpy.random.default_rng((seed, step))`), in `fetch` as in
    `step_loss`.

    Args:
        name: label of the progress bar.
        module: what the checkpoint holds; already on the device.
        optimiser: of its parameters.
        steps: in all, those of the checkpoint included.
        compute: where this runs.
        fetch: number of a step → its batch; called ahead of time, in threads.
        step_loss: number of a step and its batch → loss, and numbers for the log. Numbers that cost time are wanted
            only in steps that are multiples of `log_every`.
        path: the checkpoint; None: nothing is saved.
        about: what the checkpoint says of itself.
        log: where the numbers go, with the loss and the gradient's norm; None: nowhere.
        log_every: steps between reports.
        progress_keys: names of numbers that the progress bar shows.
        after_step: called after each update with the number of finished steps.
        on_checkpoint: called after each checkpoint with the number of finished steps, on the main rank alone.

    Raises:
        FloatingPointError: if a loss or gradient is not finite; the last checkpoint is intact.
        ConnectionError: if another rank has ended.
        ValueError: if the checkpoint is damaged or of another configuration.
    """
    first = load_checkpoint(path, module, optimiser)[0] if path and path.exists() else 0
    same_everywhere(first, f"the finished steps of {path}")
    todo = range(first, steps)
    bar = progress(todo, initial=first, total=steps, disable=not compute.main, desc=name)
    # Ranks that train together wait for each other, and a GPU's work goes on after a step has returned: no threads are
    # tried there.
    alone_on_cpu = compute.device.type == "cpu" and compute.ranks == 1
    threads = AdaptiveThreads() if alone_on_cpu else contextlib.nullcontext()
    for step, batch in zip(bar, prefetched(fetch, todo), strict=True):
        with threads:
            loss, numbers = step_loss(step, batch)
            if not torch.isfinite(loss.detach()):
                raise FloatingPointError(
                    f"loss is {loss.item()} at step {step}: the last checkpoint is intact; resume with a smaller --lr"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            gradient = optimiser.step(step, compute)
        finished = step + 1
        if after_step:
            after_step(finished)
        if log and step % log_every == 0:
            report = whole(plain(numbers) | {"loss": float(loss.detach())}, compute) | {"gradient": gradient}
            log.scalars(step, report)
            bar.set_postfix({key: f"{report[key]:.4f}" for key in progress_keys if key in report}, refresh=False)
        if path and compute.main and (finished % CHECKPOINT_EVERY == 0 or finished == steps):
            save_checkpoint(path, module, optimiser, finished, about or {})
            if on_checkpoint:
                on_checkpoint(finished)


def plain(numbers: Numbers) -> dict[str, float]:
    """Tensors as floats."""
    return {key: float(value.detach() if isinstance(value, Tensor) else value) for key, value in numbers.items()}


def whole(numbers: Mapping[str, float], compute: Compute) -> dict[str, float]:
    """Numbers of the whole step from those of the ranks: their means."""
    values = mean_over_ranks(torch.tensor(list(numbers.values()), device=compute.device))
    return dict(zip(numbers, values.tolist(), strict=True))


def prefetched(fetch: Callable[[int], B], steps: Iterable[int], ahead: int = 3, workers: int = 2) -> Iterator[B]:
    """Results of `fetch(step)` in order, computed a little ahead in threads (decompression releases the lock)."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[B]] = deque()
        for step in steps:
            waiting.append(pool.submit(fetch, step))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
