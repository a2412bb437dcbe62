"""AdamW and Muon with one schedule: warm-up, then cosine to a tenth."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.engine.compute import Compute
from training.ranks import add_up

MUON_LR = 4.0  # Muon's learning rate over AdamW's: its updates have a fifth of the size (match_rms_adamw)
HIDDEN = ("blocks.", "projector.")  # in the names of the matrices that Muon trains


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by a Newton–Schulz iteration (kellerjordan.github.io/posts/muon).

    In units of AdamW's updates. `torch.optim.Muon` computes in bfloat16, which most CPUs emulate: there a step of it
    cost a third of the training time (measured).
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
    """About the nearest (semi-)orthogonal matrix: singular values between 0.7 and 1.2, by Muon's quintic iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x.to(torch.float32 if x.device.type == "cpu" else torch.bfloat16)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.T if tall else x).to(matrix.dtype)


def average_gradients(parameters: list[nn.Parameter], compute: Compute) -> None:
    """Replace the gradients by their mean over ranks."""
    if compute.ranks == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    add_up(flat)
    flat /= compute.ranks
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


class Optimiser:
    """AdamW, or Muon for the hidden matrices (of blocks and projector) and AdamW for the rest.

    Measured: with Muon on the output layers too, the object maps have learned nothing after 75 steps.
    """

    def __init__(
        self, module: nn.Module, kind: str, lr: float, steps: int, weight_decay: float = 1e-3, warmup: int = 100
    ) -> None:
        """Take all parameters of a module that want gradients.

        Args:
            module: what learns.
            kind: "adamw" or "muon".
            lr: peak learning rate.
            steps: after so many, the learning rate has fallen to a tenth.
            weight_decay: of all parameters.
            warmup: steps to the peak; never more than a tenth of all steps.
        """
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.lr = lr
        self.steps = steps
        self.warmup = min(warmup, max(steps // 10, 1))
        matrices = [(name, p) for name, p in module.named_parameters() if p.requires_grad and p.ndim == 2]
        hidden = [p for name, p in matrices if any(part in name for part in HIDDEN)] if kind == "muon" else []
        chosen = {id(p) for p in hidden}
        rest = [p for p in self.parameters if id(p) not in chosen]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr, weight_decay=weight_decay, fused=True)
        ]
        if hidden:
            self.optimisers.append(Muon(hidden, lr, weight_decay))

    def learning_rate(self, step: int) -> float:
        """AdamW's learning rate in a step."""
        warm = min(1.0, (step + 1) / self.warmup)
        progress = min(1.0, step / max(self.steps, 1))
        return self.lr * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))

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
        lr = self.learning_rate(step)
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
        """Inverse of `tensors`.

        Moments get their parameter's order in memory. AdamW's fused step walks through both side by side: a moment that
        lay as the file has it, beside convolutions with channels last, was applied to other weights than its own.
        """
        for number, optimiser in enumerate(self.optimisers):
            saved = optimiser.state_dict()
            parameters = [p for group in optimiser.param_groups for p in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in flat.items():
                which, index, key = name.split(".", 2)
                if int(which) == number:
                    parameter = parameters[int(index)].detach()
                    moment = value.shape == parameter.shape
                    state.setdefault(int(index), {})[key] = (
                        torch.empty_like(parameter).copy_(value) if moment else value
                    )
            saved["state"] = state
            optimiser.load_state_dict(saved)
