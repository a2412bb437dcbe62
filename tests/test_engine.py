"""Promises of the training loop, its parts and stages: they resume along the same curve, and stop before damage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_world import killed_after, run, toy_constants

from training.engine.checkpoint import finished_steps, load_checkpoint
from training.engine.compute import Compute, seeded
from training.engine.fit import Numbers, fit, prefetched
from training.engine.logging import LOG, RunLog
from training.engine.optim import Muon, Optimiser
from training.models.training_model import load_training_model
from training.stages import DYNAMICS_CHECKPOINT, REPRESENTATION_CHECKPOINT

CPU = Compute(torch.device("cpu"), rank=0, ranks=1, bfloat16=False)
STEPS = 6


class Toy(nn.Module):
    """A hidden matrix that Muon trains, and an output layer that AdamW trains."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(4, 8)])
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.blocks[0](x).tanh())


def fit_toy(path: Path | None, kind: str = "muon", steps: int = STEPS, **options: Any) -> Toy:
    """Train the toy; what each step sees depends on its number alone."""
    module = Toy()

    def fetch(step: int) -> Tensor:
        return torch.randn(16, 4, generator=seeded(1, step))

    def step_loss(step: int, x: Tensor) -> tuple[Tensor, Numbers]:
        noise = 0.1 * torch.randn(16, 1, generator=seeded(2, step))
        loss = (module(x) - x.sum(1, keepdim=True) - noise).square().mean()
        return loss, {"error": loss, "step_twice": 2.0 * step}

    defaults: dict[str, Any] = {
        "name": "toy",
        "module": module,
        "optimiser": Optimiser(module, kind, 0.05, steps),
        "steps": steps,
        "compute": CPU,
        "fetch": fetch,
        "step_loss": step_loss,
        "path": path,
        "about": {"seed": 3},
    }
    with toy_constants():
        fit(**(defaults | options))
    return module


def test_a_finished_run_given_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    fit_toy(path)
    before = path.read_bytes()
    learned = fit_toy(path)
    assert path.read_bytes() == before
    assert torch.equal(learned.out.weight, load_file(path)["module.out.weight"]), "a finished run is not loaded"


def test_numbers_are_logged_every_so_often(tmp_path: Path) -> None:
    fit_toy(tmp_path / "toy.safetensors", log=RunLog(tmp_path / "log", CPU), log_every=2)
    lines = [json.loads(line) for line in (tmp_path / "log" / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4] and [line["step_twice"] for line in lines] == [0, 4, 8]
    assert all({"error", "loss", "gradient"} <= line.keys() for line in lines)
    assert all(line["error"] == line["loss"] for line in lines)
    assert list((tmp_path / "log").glob("events.*")), "nothing for TensorBoard"


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        (lambda loss: loss * math.nan, "loss is nan"),
        (lambda loss: loss + math.inf, "loss is inf"),
        (lambda loss: (loss * 0).sqrt(), "gradient is nan"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_a_loss_or_gradient_that_is_no_number_stops_the_run_with_the_last_checkpoint_intact(
    tmp_path: Path, poison: Callable[[Tensor], Tensor], what: str
) -> None:
    path = tmp_path / "toy.safetensors"
    module = Toy()

    def step_loss(step: int, x: Tensor) -> tuple[Tensor, Numbers]:
        loss = module(x).square().mean()
        return (poison(loss) if step >= 3 else loss), {}

    optimiser = Optimiser(module, "adamw", 0.01, STEPS)
    with pytest.raises(FloatingPointError, match=f"{what} at step 3.*resume with a smaller --lr"):
        fit_toy(path, module=module, optimiser=optimiser, step_loss=step_loss)
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    assert finished_steps(path) == 2


def test_prefetching_keeps_the_order_and_passes_errors_on() -> None:
    def square(step: int) -> int:
        if step == 40:
            raise ValueError("step 40")
        return step * step

    assert list(prefetched(square, range(20))) == [step * step for step in range(20)]
    results = prefetched(square, range(30, 50))
    with pytest.raises(ValueError, match="step 40"):
        list(results)


@pytest.mark.parametrize("keep", [0, 50, -100])
def test_a_cut_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "toy.safetensors"
    fit_toy(path, steps=2)
    path.write_bytes(path.read_bytes()[:keep])
    for read in (fit_toy, finished_steps):
        with pytest.raises(ValueError, match=f"checkpoint {path} is damaged"):
            read(path)


def test_a_checkpoint_of_another_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    fit_toy(path)
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged or of another configuration"):
        load_checkpoint(path, nn.Linear(4, 8))


def test_the_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    layer = nn.Linear(2, 2)
    optimiser = Optimiser(layer, "adamw", 1.0, steps=1000, warmup=50)
    rates = []
    for step in range(1000):
        layer(torch.ones(1, 2)).sum().backward()
        optimiser.step(step, CPU)
        rates.append(optimiser.optimisers[0].param_groups[0]["lr"])
    assert rates[0] == pytest.approx(1 / 50, rel=0.01) and int(np.argmax(rates)) == 49 and rates[49] > 0.97
    assert rates[-1] == pytest.approx(0.1, abs=0.01) and rates[50:] == sorted(rates[50:], reverse=True)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_muon_updates_as_torch_does(shape: tuple[int, int]) -> None:
    generator = seeded(0)
    mine, theirs = (nn.Parameter(torch.randn(shape, generator=seeded(1))) for _ in range(2))
    ours = Muon([mine], 0.01, 0.1)
    reference = torch.optim.Muon([theirs], 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        mine.grad = gradient.clone()
        theirs.grad = gradient.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=0)  # torch's is computed in bfloat16


CHECKPOINTS = {"representation": REPRESENTATION_CHECKPOINT, "dynamics": DYNAMICS_CHECKPOINT}
STAGES = list(CHECKPOINTS)


def prepared(stage: str, representation_run: Path, out: Path) -> Path:
    """A fresh run folder in which a stage can start; returns the checkpoint that it will write."""
    out.mkdir(parents=True)
    if stage == "dynamics":
        (out / REPRESENTATION_CHECKPOINT).write_bytes((representation_run / REPRESENTATION_CHECKPOINT).read_bytes())
    return out / CHECKPOINTS[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_resumes_along_the_same_curve(
    toy: Path, representation_run: Path, tmp_path: Path, stage: str
) -> None:
    # On one thread: sums in another order differ, and AdamW makes whole steps of the smallest gradients.
    whole, broken = (prepared(stage, representation_run, tmp_path / name) for name in ("whole", "broken"))
    run(stage, toy, whole.parent, 6)

    with killed_after(2):
        run(stage, toy, broken.parent, 6)
    halfway = load_file(broken)
    run(stage, toy, broken.parent, 6)

    expected = load_file(whole)
    found = load_file(broken)
    assert expected.keys() == found.keys() and any(name.startswith("optimiser.") for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    weights = [name for name in halfway if name.endswith("weight")]
    moved = [name for name in weights if not torch.allclose(halfway[name], expected[name])]
    assert moved, "nothing was learned after the interruption: the comparison says nothing"


def test_the_seed_decides_the_run(toy: Path, representation_run: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        run("representation", toy, tmp_path / name, 4, seed=seed)
    folders = (representation_run, tmp_path / "same", tmp_path / "other")
    first, same, other = (load_file(folder / REPRESENTATION_CHECKPOINT) for folder in folders)
    name = "module.world_model.dynamics.central.0.weight"
    torch.testing.assert_close(same[name], first[name], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(other[name], first[name])


def test_the_second_stage_asks_for_the_first(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{REPRESENTATION_CHECKPOINT} is missing: run the stage that writes"):
        run("dynamics", toy, tmp_path, 2)


def test_muon_gets_hidden_matrices_and_adamw_the_rest(representation_run: Path) -> None:
    model = load_training_model(representation_run / REPRESENTATION_CHECKPOINT)
    adamw, muon = Optimiser(model, "muon", 1e-3, 10).optimisers
    chosen = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in chosen}
    assert names and all(".blocks." in name or ".projector." in name for name in names)
    groups = (*adamw.param_groups, *muon.param_groups)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
