"""Promises of the training stages as runs: they resume along the same curve, and stop before damage is done."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from toy_world import TOY_SCENARIOS, run

from training.engine import fit as loop
from training.engine.checkpoint import finished_steps, load_checkpoint, save_checkpoint
from training.engine.optim import Optimiser
from training.models.training_model import load_training_model
from training.stages import DYNAMICS_CHECKPOINT, REPRESENTATION_CHECKPOINT

CHECKPOINTS = {"representation": REPRESENTATION_CHECKPOINT, "dynamics": DYNAMICS_CHECKPOINT}
STAGES = list(CHECKPOINTS)
DELTAS = ((-10.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))  # of the toy's health; nothing else ever changes


def prepared(stage: str, representation_run: Path, out: Path) -> Path:
    """A fresh run folder in which a stage can start; returns the checkpoint that it will write."""
    out.mkdir(parents=True)
    if stage == "dynamics":
        (out / REPRESENTATION_CHECKPOINT).write_bytes((representation_run / REPRESENTATION_CHECKPOINT).read_bytes())
    return out / CHECKPOINTS[stage]


# ---- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_resumes_along_the_same_curve(
    toy: Path, representation_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, optimizer: str
) -> None:
    # On one thread, because sums in another order differ, and AdamW makes whole steps of the smallest gradients.
    settings: dict[str, Any] = {"optimizer": optimizer, "threads": 1}
    whole, broken = (prepared(stage, representation_run, tmp_path / name) for name in ("whole", "broken"))
    run(stage, toy, whole.parent, 6, **settings)

    def killed(path: Path, *arguments: Any) -> None:
        save_checkpoint(path, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            run(stage, toy, broken.parent, 6, **settings)
    halfway = load_file(broken)
    run(stage, toy, broken.parent, 6, **settings)

    expected = load_file(whole)
    found = load_file(broken)
    assert expected.keys() == found.keys() and any(name.startswith("optimiser.") for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    weights = [name for name in halfway if name.endswith("weight")]
    moved = [name for name in weights if not torch.allclose(halfway[name], expected[name])]
    assert moved, "nothing was learned after the interruption: the comparison says nothing"


@pytest.mark.parametrize("stage", STAGES)
def test_a_finished_run_given_again_changes_nothing(
    toy: Path, representation_run: Path, tmp_path: Path, stage: str
) -> None:
    checkpoint = prepared(stage, representation_run, tmp_path / "run")
    run(stage, toy, checkpoint.parent, 2)
    before = checkpoint.read_bytes()
    run(stage, toy, checkpoint.parent, 2)
    assert checkpoint.read_bytes() == before


def test_the_seed_decides_the_run(toy: Path, representation_run: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        run("representation", toy, tmp_path / name, 4, seed=seed)
    folders = (representation_run, tmp_path / "same", tmp_path / "other")
    first, same, other = (load_file(folder / REPRESENTATION_CHECKPOINT) for folder in folders)
    name = "module.world_model.dynamics.central.0.weight"
    torch.testing.assert_close(same[name], first[name], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(other[name], first[name])


def test_checkpoints_describe_themselves(representation_run: Path) -> None:
    path = representation_run / REPRESENTATION_CHECKPOINT
    model = load_training_model(path)
    config = model.world_model.config
    assert config.scenarios == TOY_SCENARIOS and config.deltas == DELTAS
    assert not model.training
    step, about = load_checkpoint(path, model)
    assert step == 4 and about["seed"] == 0


# ---- stopping before damage ------------------------------------------------------------------------------------------


def poisoned(stage: str, monkeypatch: pytest.MonkeyPatch, poison: Callable[[Tensor], Tensor], at: int) -> None:
    """Apply `poison` to a term of the loss from the `at`-th step of a stage on."""
    module = importlib.import_module(f"training.stages.{stage}")
    original = module.losses
    calls: list[int] = []

    def losses(*arguments: Any) -> Any:
        result = original(*arguments)
        calls.append(1)
        if len(calls) > at:
            terms, _ = result
            terms["prediction"] = poison(terms["prediction"])
        return result

    monkeypatch.setattr(module, "losses", losses)


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        (lambda x: x * math.nan, "loss is nan"),
        (lambda x: x + math.inf, "loss is inf"),
        (lambda x: (x * 0).sqrt(), "gradient is nan"),
    ],
    ids=["nan", "inf", "gradient"],
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_loss_or_gradient_that_is_no_number_stops_the_run_with_the_last_checkpoint_intact(
    toy: Path,
    representation_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    poison: Callable[[Tensor], Tensor],
    what: str,
) -> None:
    checkpoint = prepared(stage, representation_run, tmp_path / "run")
    with monkeypatch.context() as patch:
        poisoned(stage, patch, poison, at=3)
        with pytest.raises(FloatingPointError, match=f"{what} at step 3.*resume with a smaller --lr"):
            run(stage, toy, checkpoint.parent, 6)
    saved = load_file(checkpoint)
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert finished_steps(checkpoint) == 2 and load_training_model(checkpoint)
    run(stage, toy, checkpoint.parent, 6)
    assert finished_steps(checkpoint) == 6 and load_training_model(checkpoint)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("keep", [0, 50, -100])
def test_a_cut_checkpoint_is_named(toy: Path, representation_run: Path, tmp_path: Path, stage: str, keep: int) -> None:
    """The stage's own, and for the second stage that of the first too."""
    prepared(stage, representation_run, tmp_path / "run")
    path = tmp_path / "run" / REPRESENTATION_CHECKPOINT
    path.write_bytes((representation_run / REPRESENTATION_CHECKPOINT).read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged"):
        run(stage, toy, path.parent, 6)


def test_a_cut_checkpoint_of_the_second_stage_is_named(toy: Path, representation_run: Path, tmp_path: Path) -> None:
    path = prepared("dynamics", representation_run, tmp_path / "run")
    run("dynamics", toy, path.parent, 2)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged"):
        run("dynamics", toy, path.parent, 4)


def test_a_checkpoint_of_another_configuration_is_named(toy: Path, representation_run: Path, tmp_path: Path) -> None:
    path = prepared("dynamics", representation_run, tmp_path / "run").parent / REPRESENTATION_CHECKPOINT
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged or of another configuration"):
        run("representation", toy, path.parent, 6, preset="nano")


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
