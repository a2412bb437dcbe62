"""What every training run shares: device and ranks, optimisers, schedule, checkpoints without pickle."""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from doom_dream_env.world_model.files import write_atomically

T = TypeVar("T")
MUON_LR = 4.0  # Muon's learning rate over AdamW's: its updates have a fifth of the size (match_rms_adamw)


@dataclass(frozen=True)
class Compute:
    """Where this process runs."""

    device: torch.device
    rank: int
    ranks: int
    bfloat16: bool

    @property
    def main(self) -> bool:
        """Does this process write files and show progress?"""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """bfloat16 for matrix products, where the hardware has them."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


def compute_init(device: str = "auto", threads: int | None = None) -> Compute:
    """Decide device, threads and ranks; joins the process group when started by `torchrun`."""
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    chosen = torch.device(name, local) if name == "cuda" else torch.device(name)
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // ranks))
    torch.set_float32_matmul_precision("high")
    if ranks > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    return Compute(chosen, rank, ranks, chosen.type != "cpu" or bfloat16_pays())


def bfloat16_pays() -> bool:
    """Is a bfloat16 matrix product faster than a float32 one on this CPU? Without AVX-512 or AMX it is 40 times slower (measured)."""

    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(192, 192, dtype=dtype)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - started)
        return min(times)

    return seconds(torch.bfloat16) < seconds(torch.float32)


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on all the numbers: each step has its own dice, so a resumed run rolls the same."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)


def prefetched(fetch: Callable[[int], T], steps: Iterable[int], ahead: int = 3, workers: int = 2) -> Iterator[T]:
    """Results of `fetch(step)` in order, computed a little ahead in threads (decompression releases the lock)."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        for step in steps:
            waiting.append(pool.submit(fetch, step))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def average_gradients(parameters: list[nn.Parameter], compute: Compute) -> None:
    """Mean of the gradients over ranks."""
    if compute.ranks == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= compute.ranks
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by a Newton–Schulz iteration (kellerjordan.github.io/posts/muon), in units of AdamW's updates.

    `torch.optim.Muon` computes in bfloat16, which most CPUs emulate: there a step of it cost a third of the training time (measured).
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(buffer, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the nearest (semi-)orthogonal matrix: singular values between 0.7 and 1.2, by the quintic iteration of Muon."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x.to(torch.float32 if x.device.type == "cpu" else torch.bfloat16)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.T if tall else x).to(matrix.dtype)


class Optimiser:
    """AdamW, or Muon for the hidden matrices (of blocks and projector) and AdamW for the rest; warm-up, then cosine to a tenth.

    Measured: with Muon on the output layers too, the heat maps have learned nothing after 75 steps.
    """

    def __init__(self, module: nn.Module, kind: str, lr: float, steps: int, weight_decay: float = 1e-3, warmup: int = 100) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.lr, self.steps, self.warmup = lr, steps, min(warmup, max(steps // 10, 1))
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad and p.ndim == 2]
        hidden = [p for name, p in named if "blocks." in name or "projector." in name] if kind == "muon" else []
        chosen = {id(p) for p in hidden}
        rest = [p for p in self.parameters if id(p) not in chosen]
        self.optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr, weight_decay=weight_decay, fused=True)]
        if hidden:
            self.optimisers.append(Muon(hidden, lr, weight_decay))

    def step(self, step: int, compute: Compute, clip: float = 1.0) -> float:
        """Clip, update, clear; return the gradient norm.

        Raises:
            FloatingPointError: if the gradient is not finite; the weights are left as they were.
        """
        average_gradients(self.parameters, compute)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, clip))
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"gradient is {norm} at step {step}: stopped before the update, the last checkpoint is intact; "
                "resume with a smaller --lr, or look for damaged data"
            )
        part = min(1.0, (step + 1) / self.warmup)
        progress = min(1.0, step / max(self.steps, 1))
        lr = self.lr * part * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimiser, scale in zip(self.optimisers, (1.0, MUON_LR), strict=False):
            for group in optimiser.param_groups:
                group["lr"] = lr * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """State as flat names to tensors."""
        flat = {}
        for number, optimiser in enumerate(self.optimisers):
            for index, values in optimiser.state_dict()["state"].items():
                for key, value in values.items():
                    flat[f"{number}.{index}.{key}"] = torch.as_tensor(value)
        return flat

    def load(self, flat: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for number, optimiser in enumerate(self.optimisers):
            saved = optimiser.state_dict()
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in flat.items():
                which, index, key = name.split(".", 2)
                if int(which) == number:
                    state.setdefault(int(index), {})[key] = value
            saved["state"] = state
            optimiser.load_state_dict(saved)


def save_checkpoint(path: Path, module: nn.Module, optimiser: Optimiser, step: int, about: dict[str, object]) -> None:
    """Write everything a run needs to go on, as safetensors, to a temporary name and then rename."""
    from safetensors.torch import save

    tensors = {f"module.{k}": v.contiguous().cpu() for k, v in module.state_dict().items()}
    tensors |= {f"optimiser.{k}": v.contiguous().cpu() for k, v in optimiser.tensors().items()}
    write_atomically(path, save(tensors, metadata={"step": str(step), "about": json.dumps(about)}))


def finished_steps(path: Path) -> int:
    """Optimiser steps of a checkpoint, 0 if there is none.

    Raises:
        ValueError: if the file is damaged; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return int(file.metadata()["step"])
    except FileNotFoundError:
        return 0
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {path} is damaged ({error}); delete it to start anew") from error


def load_checkpoint(path: Path, module: nn.Module, optimiser: Optimiser | None = None) -> tuple[int, dict[str, object]]:
    """Load a checkpoint; return the number of finished steps and what was said about it.

    Raises:
        ValueError: if the file is damaged or of another configuration; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        module.load_state_dict({k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")})
        if optimiser is not None:
            optimiser.load({k.removeprefix("optimiser."): v for k, v in tensors.items() if k.startswith("optimiser.")})
    except (SafetensorError, OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"checkpoint {path} is damaged or of another configuration ({error}); delete it to start anew") from error
    return int(about["step"]), json.loads(about["about"])


class Log:
    """TensorBoard and a plain CSV-like line per report, on the main rank alone."""

    def __init__(self, folder: Path, compute: Compute) -> None:
        self.writer = None
        if compute.main:
            from torch.utils.tensorboard import SummaryWriter

            folder.mkdir(parents=True, exist_ok=True)
            self.writer = SummaryWriter(str(folder))
            self.file = open(folder / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record named numbers."""
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
            self.file.write(json.dumps({"step": step} | {k: round(v, 5) for k, v in values.items()}) + "\n")
            self.file.flush()

    def pictures(self, step: int, name: str, pictures: Tensor) -> None:
        """Record pictures (N, 3, H, W) in 0…1 side by side."""
        if self.writer:
            self.writer.add_images(name, pictures.clamp(0, 1), step)
