"""Promises of calibration: at the temperature that is found, dreams hold as many objects as the game."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_model
from toy_world import TOY_SCENARIOS

from doom_dream_env.world_model import PRESETS
from training.data.batch import make_batch
from training.data.dataset import Dataset
from training.models import calibration
from training.models.calibration import Counts, Dials, best_dials, calibrated_dials, dreamed, dreams, miscount, recorded
from training.models.training_model import TrainingModel

CONTEXT, LONGEST = 2, 6  # steps


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TrainingModel:
    """A model whose codes matter, and short dreams, in which objects alone are counted."""
    monkeypatch.setattr(calibration, "LEAST_ENDS", math.inf)
    monkeypatch.setattr(calibration, "LEAST_LOST", math.inf)
    monkeypatch.setattr(calibration, "CONTEXT", CONTEXT)
    monkeypatch.setattr(calibration, "COUNTED_AFTER", (2, LONGEST))
    torch.manual_seed(0)
    model = TrainingModel(PRESETS["tiny"]).eval().requires_grad_(False)
    model.world_model = make_model()
    for head in model.world_model.dynamics.codes.logits:
        head.weight.mul_(0.2)
    model.world_model.dynamics.codes.embedding.mul_(10)
    return model


def test_the_temperature_that_made_the_windows_is_found(toy: Path, model: TrainingModel) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    rows = data.windows(CONTEXT + LONGEST)[:40]
    batch = make_batch(data, rows, CONTEXT + LONGEST, torch.device("cpu"), frames=False)
    for temperature in (0.4, 0.8):
        z = torch.randn(len(rows), CONTEXT + LONGEST, PRESETS["tiny"].state_width, generator=torch.manual_seed(1))
        for step, (state, _) in enumerate(dreams(model, batch, z, Dials(temperature), seed=0), 1):
            z[:, CONTEXT - 1 + step] = state.z
        assert best_dials(model, batch, z, seed=0) == Dials(temperature)


def test_a_scenario_with_too_little_to_count_keeps_one(toy: Path, model: TrainingModel) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    model.object_head[-1].bias.fill_(-1e6)  # nothing is ever seen
    states = torch.randn(len(data), PRESETS["tiny"].state_width)
    assert calibrated_dials(model, data, states, seed=0) == [Dials()] * len(TOY_SCENARIOS)


def test_twice_too_many_is_as_wrong_as_half() -> None:
    real = Counts([[200, 0, 400]], ends=0, lost=0)
    assert miscount(Counts([[400, 9, 400]], 0, 0), real) == pytest.approx(
        miscount(Counts([[100, 9, 400]], 0, 0), real), rel=0.02
    )
    assert miscount(Counts([[200, 9, 400]], 5, 5), real) == 0, "what the game hardly shows is counted"
    assert math.isinf(miscount(real, Counts(np.full((1, 3), 5).tolist(), 0, 0)))


def test_a_dream_that_spares_everybody_is_wrong() -> None:
    real = Counts([[200, 0, 400]], ends=40, lost=4000)
    harmless = Counts([[200, 0, 400]], ends=10, lost=1000)
    assert miscount(harmless, real) > miscount(Counts([[300, 0, 400]], ends=38, lost=3900), real)
    assert miscount(real, real) == 0


def test_dreams_are_made_to_hurt_as_much_as_the_windows(
    toy: Path, model: TrainingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    rows = data.windows(CONTEXT + LONGEST)[:40]
    batch = make_batch(data, rows, CONTEXT + LONGEST, torch.device("cpu"), frames=False)
    batch = dataclasses.replace(batch, variables=torch.full_like(batch.variables, 100.0))
    z = torch.randn(len(rows), CONTEXT + LONGEST, PRESETS["tiny"].state_width, generator=torch.manual_seed(1))
    lost = [dreamed(model, batch, z, Dials(harm=harm), seed=0).lost for harm in (1.0, 2.0)]
    assert 0 < lost[0] < lost[1]
    counted = dataclasses.replace(recorded(model, batch, z), lost=lost[1])
    monkeypatch.setattr(calibration, "LEAST_LOST", 1.0)
    monkeypatch.setattr(calibration, "TEMPERATURES", (1.0,))
    monkeypatch.setattr(calibration, "recorded", lambda *_: counted)
    assert best_dials(model, batch, z, seed=0) == Dials(harm=2.0)
