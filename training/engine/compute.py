"""Where a run computes: device, threads, ranks, number format; and random numbers that do not depend on any of them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from timm.layers import set_fused_attn

from doom_dream_env.processes import usable_cores
from training.ranks import Share


@dataclass(frozen=True)
class Compute:
    """Where this process runs.

    Attributes:
        device: of the tensors.
        rank: number of this process among `ranks`.
        ranks: processes that train together.
        bfloat16: compute matrix products in it.
    """

    device: torch.device
    rank: int
    ranks: int
    bfloat16: bool

    @property
    def main(self) -> bool:
        """Does this process write files and show progress?"""
        return self.rank == 0

    def share(self, samples: int) -> Share:
        """Which samples of a step this process computes."""
        return Share.of(samples, self.rank, self.ranks)

    def autocast(self) -> torch.autocast:
        """bfloat16 for matrix products, where the hardware has them."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


def compute_init(device: str = "auto", threads: int | None = None) -> Compute:
    """Decide device, threads, ranks and attention; joins the process group when started by `torchrun`."""
    rank = int(os.environ.get("RANK", 0))
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device, local_rank) if device == "cuda" else torch.device(device)
    torch.set_num_threads(threads or max(1, usable_cores() // ranks))
    torch.set_float32_matmul_precision("high")
    if ranks > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    compute = Compute(chosen, rank, ranks, bfloat16=chosen.type != "cpu" or _all_use_bfloat16(ranks))
    # Models that are made from now on: torch's fused attention is slow in bfloat16 on CPUs. Two matrix products and a
    # softmax halve the time of the encoder (measured: 120 frames forward and backward, 0.80 s before, 0.43 s after).
    set_fused_attn(not (chosen.type == "cpu" and compute.bfloat16))
    return compute


def _all_use_bfloat16(ranks: int) -> bool:
    """The main rank measures for all: each for itself might come to another answer than the others."""
    answer = [bfloat16_pays()]
    if ranks > 1:
        dist.broadcast_object_list(answer, src=0)
    return answer[0]


def bfloat16_pays() -> bool:
    """Is a bfloat16 matrix product faster than a float32 one on this CPU?

    Without AVX-512 or AMX it is emulated, 40 times slower (measured).
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(192, 192, dtype=dtype)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - started)
        return min(times)

    return seconds(torch.bfloat16) < seconds(torch.float32)


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on all the numbers: each step has its own, so a resumed run draws the same."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)
