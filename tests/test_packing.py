"""Promises of what is taken from the data into a model: what its heads can say, and where its dreams can begin."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_model
from toy_world import EPISODES, TOY_SCENARIOS

from doom_dream_env.origins import FREEDOOM, Origin
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import PRESETS, WorldModel
from doom_dream_env.world_model.config import ScenarioLimits
from doom_dream_env.world_model.files import write_checked
from training.data.dataset import Dataset
from training.models.packing import (
    CLIP_STEPS,
    LEAD,
    last_rows_of_clips,
    new_training_model,
    scenario_limits,
    store_initial_states,
    supports,
    warm_start,
    with_limits,
)
from training.models.training_model import TrainingModel, load_training_model

DELTAS = ((-10.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))  # of the toy's health; nothing else ever changes


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, TOY_SCENARIOS)


def test_supports_hold_every_change_and_reward_of_the_data(data: Dataset) -> None:
    deltas, rewards = supports(data)
    assert deltas == DELTAS and rewards == (4.0, 5.0)


def test_initial_states_are_the_first_frames_of_episodes(data: Dataset) -> None:
    model = make_model()
    states = torch.randn(len(data), model.config.state_width).half()
    store_initial_states(model, data, states)
    for index, name in enumerate(TOY_SCENARIOS):
        rows = np.flatnonzero((data.first == np.arange(len(data))) & (data.scenario == index))
        z, variables = model.initial_states[name]
        assert len(rows) == EPISODES == len(z)
        assert {tuple(row.tolist()) for row in z} == {tuple(row.tolist()) for row in states[rows].float()}
        ammunition = 26 if "AMMO2" in SCENARIOS[name].variables else 0
        assert (variables[:, 0] == 100).all() and (variables[:, 1] == ammunition).all()


def test_context_clips_are_steps_in_a_row_of_one_episode(data: Dataset) -> None:
    model = make_model()
    states = torch.arange(len(data))[:, None].expand(-1, model.config.state_width).half()
    store_initial_states(model, data, states)
    for name in TOY_SCENARIOS:
        z, actions, variables, elapsed = model.context_clips[name]
        rows = z[:, :, 0].long()
        first = rows[:, 0].numpy()
        assert len(z) and rows.shape[1] == CLIP_STEPS and bool((rows.diff(dim=1) == 1).all())
        assert (data.last[first] == data.last[rows[:, -1].numpy()]).all(), "a clip crosses the end of its episode"
        assert torch.equal(actions, torch.from_numpy(data.actions[rows[:, :-1]]).float())
        assert torch.equal(variables, torch.from_numpy(data.variables[rows]))
        assert elapsed.tolist() == data.elapsed[first].tolist()


def test_a_warm_start_takes_what_fits_and_names_the_rest(tmp_path: Path) -> None:
    other = make_model(seed=1)
    other.save_pretrained(tmp_path)
    model = make_model()
    model.dynamics.outcome = torch.nn.Linear(model.config.trunk_width, 3)  # of other deltas
    assert warm_start(model, str(tmp_path)) == ["dynamics.outcome.bias", "dynamics.outcome.weight"]
    expected = other.encoder.state_dict()
    for name, tensor in model.encoder.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(tensor, expected[name].half().float(), msg=name)


def test_weights_say_whose_pictures_all_stages_and_what_they_began_from_have_seen(toy: Path, tmp_path: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    assert set(data.origins) == {FREEDOOM}
    film, unnamed = Origin("my channel"), Origin()
    data.origins = [film, unnamed]
    make_model(seed=1).save_pretrained(tmp_path)
    model = new_training_model("tiny", data, 0, str(tmp_path))
    assert model.world_model.origins == (FREEDOOM, film, unnamed)
    tensors = {f"module.{name}": value for name, value in model.state_dict().items()}
    write_checked(tmp_path / "checkpoint", tensors, {"about": json.dumps(model.about(0))})
    licensed = Origin(film.source, "cc-by-4.0")
    data.origins = [licensed]
    limited = with_limits(load_training_model(tmp_path / "checkpoint"), data).world_model
    assert limited.origins == (FREEDOOM, unnamed, licensed), "a licence that is said later is known of all"
    limited.save_pretrained(tmp_path)
    assert WorldModel.from_pretrained(tmp_path).origins == limited.origins


def test_half_of_the_clips_end_shortly_before_a_hit_or_an_end() -> None:
    """Two episodes of 400 steps: one hit in the first, and the second ends."""
    rows, count, hit = 800, 20, 200
    data = SimpleNamespace(
        first=np.repeat([0, 400], 400),
        last=np.repeat([399, 799], 400),
        terminated=np.arange(rows) == rows - 1,
        variables=np.full((rows, 1), 100.0),
        next_variables=np.where(np.arange(rows) == hit, 80.0, 100.0)[:, None],
    )
    here = np.ones(rows, bool)
    drawn = [last_rows_of_clips(data, here, count, np.random.default_rng(seed)) for seed in range(40)]  # type: ignore[arg-type]
    for last in drawn:
        assert len(set(last.tolist())) == count
        assert bool((last - data.first[last] >= CLIP_STEPS - 1).all())
    shortest, longest = LEAD
    lead = np.array([hit, rows - 1])[:, None] - np.concatenate(drawn)
    urgent = ((lead >= shortest) & (lead <= longest)).any(0)
    assert 2 / rows * count < urgent.sum() / len(drawn) < count / 2  # two moments alone cannot fill half of the clips
    assert urgent.sum() >= 2 * len(drawn)


def test_a_scenario_can_do_what_its_play_shows_and_no_more(data: Dataset) -> None:
    support = (-27.0, 0.0, *sorted(set(data.rewards.tolist())), 100.0)
    limits = scenario_limits(data, 0, support, DELTAS)
    assert set(limits.rewards) == set(data.rewards[data.scenario == 0].tolist())
    assert limits.changes[0] == (-10.0, 0.0)
    coarse = ((-12.0, 0.0), *DELTAS[1:])
    assert scenario_limits(data, 0, support, coarse).changes[0] == (-12.0, 0.0), "what was observed must be possible"
    low, high = limits.variables[0]
    assert low >= 0 and high == 100


def test_limits_follow_the_data_that_are_trained_on(data: Dataset) -> None:
    known = tuple(tuple(map(bool, scenario.variable_mask())) for scenario in data.scenarios)
    rewards = supports(data)[1]
    narrow = dataclasses.replace(
        PRESETS["tiny"], scenarios=TOY_SCENARIOS, known=known, deltas=DELTAS, rewards=rewards,
        limits=(ScenarioLimits(rewards[:1], ((0.0, 0.0),) * 4, ((0.0, 1.0),) * 4),) * len(TOY_SCENARIOS),
    )  # fmt: skip
    model = TrainingModel(narrow)
    limited = with_limits(model, data)
    limits = limited.world_model.config.limits[0]
    assert limits == scenario_limits(data, 0, rewards, DELTAS) != narrow.limits[0]
    size = len(DELTAS[0])
    assert bool(limited.world_model.dynamics.possible_changes[0, 0, :size].all())
    assert not bool(model.world_model.dynamics.possible_changes[0, 0, :size].all())
    assert all(torch.equal(value, limited.state_dict()[key]) for key, value in model.state_dict().items())
