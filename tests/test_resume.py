"""Promises of the training stages as runs: they resume along the same curve, and stop before damage is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy_world import run

from training.engine import fit as loop
from training.engine.checkpoint import save_checkpoint
from training.engine.optim import Optimiser
from training.models.training_model import load_training_model
from training.stages import DYNAMICS_CHECKPOINT, REPRESENTATION_CHECKPOINT

CHECKPOINTS = {"representation": REPRESENTATION_CHECKPOINT, "dynamics": DYNAMICS_CHECKPOINT}
STAGES = list(CHECKPOINTS)


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


def test_the_seed_decides_the_run(toy: Path, representation_run: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        run("representation", toy, tmp_path / name, 4, seed=seed)
    folders = (representation_run, tmp_path / "same", tmp_path / "other")
    first, same, other = (load_file(folder / REPRESENTATION_CHECKPOINT) for folder in folders)
    name = "module.world_model.dynamics.central.0.weight"
    torch.testing.assert_close(same[name], first[name], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(other[name], first[name])


# ---- stopping before damage ------------------------------------------------------------------------------------------


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
