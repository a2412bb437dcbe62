"""Promises of training data: windows end with their episode, objects become maps, models take what they can say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_model
from toy_world import BALL, EPISODES, IMP, KIT, LENGTH, TOY_SCENARIOS, WINDOW, label, table_of

from doom_dream_env.origins import FREEDOOM, Origin
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import PRESETS, WorldModel
from doom_dream_env.world_model.config import ScenarioLimits
from doom_dream_env.world_model.files import write_checked
from training.data.annotations import (
    ITEM,
    MONSTER,
    NEITHER,
    OBJECT_MAP_SHAPE,
    PROJECTILE,
    Objects,
    item_ahead,
    nearest_object,
    object_class,
    object_maps,
    under_crosshair,
)
from training.data.batch import make_batch, rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.data.latents import cached_states
from training.models.packing import (
    CLIP_STEPS,
    new_training_model,
    scenario_limits,
    store_initial_states,
    supports,
    warm_start,
    with_limits,
)
from training.models.training_model import TrainingModel, load_training_model
from training.stages import REPRESENTATION_CHECKPOINT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(toy: Path) -> Dataset:
    return Dataset(toy, TOY_SCENARIOS)


def test_a_window_past_the_end_is_marked_not_filled(data: Dataset) -> None:
    batch = make_batch(data, np.array([0, LENGTH - 2]), 4, CPU)
    assert batch.frames is not None
    assert batch.valid.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]] and batch.follows.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.elapsed.tolist() == [0, LENGTH - 2]
    assert batch.terminated[1, 1] == 1 and batch.terminated[0].sum() == 0
    assert torch.equal(batch.frames[0], torch.from_numpy(data.frames(np.arange(4))))
    assert torch.equal(batch.actions[0], torch.from_numpy(data.actions[:4]).float())
    assert torch.equal(batch.object_maps[0, 1], torch.from_numpy(data.object_maps[1]).float())
    assert batch.object_maps.sum() > 0


def test_every_scenario_gets_the_same_share_of_a_batch(data: Dataset) -> None:
    windows = data.windows(WINDOW)
    pool = np.r_[windows[data.scenario[windows] == 0], windows[-3:]]  # uneven
    groups = rows_by_scenario(data, pool)
    drawn = [sample_rows(groups, 11, np.random.default_rng(seed)) for seed in range(40)]
    shares = [tuple(np.bincount(data.scenario[rows]).tolist()) for rows in drawn]
    assert set(shares) == {(6, 5), (5, 6)}, "the odd one goes to either by lot"
    assert set(np.concatenate(drawn)) <= set(pool)


def test_cached_states_are_reused_only_for_the_same_encoder_and_shards(
    representation_run: Path, data: Dataset, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "states.safetensors"
    model = load_training_model(representation_run / REPRESENTATION_CHECKPOINT).world_model
    states = cached_states(model, data, path)
    with torch.inference_mode():
        expected = model.encode(data.frames(np.arange(9))[None])[0]
    torch.testing.assert_close(states[:9].float(), expected, atol=0.05, rtol=0.05)  # half precision
    written = path.stat().st_mtime_ns
    assert torch.equal(cached_states(model, data, path), states) and path.stat().st_mtime_ns == written

    with torch.no_grad():
        model.encoder.projector[-1].bias += 1
    moved = cached_states(model, data, path)
    difference = (moved.float() - states.float()).mean()
    assert difference == pytest.approx(1, abs=0.05), "states of another encoder were used"

    half = Dataset(toy, TOY_SCENARIOS[:1])
    path.unlink()
    torch.testing.assert_close(cached_states(model, half, path), moved[: len(half)])
    encoded: list[int] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda frames: encoded.append(frames.shape[1]) or encode(frames))
    torch.testing.assert_close(cached_states(model, data, path), moved)
    assert sum(encoded) == len(data) - len(half), "shards that were known were encoded again"

    path.write_bytes(path.read_bytes()[:1000])
    assert torch.equal(cached_states(model, data, path), moved), "a damaged file was not made anew"
    path.unlink()


# ---- annotations ---------------------------------------------------------------------------------------------------
def test_objects_are_sorted_into_classes() -> None:
    assert {object_class(*kind) for kind in (BALL, ("Rocket", ""))} == {PROJECTILE}
    assert object_class(*IMP) == MONSTER
    assert {object_class(*kind) for kind in (KIT, ("Clip", "Ammo"))} == {ITEM}
    others = (("DoomPlayer", "Self"), ("BulletPuff", ""), ("TallTorch", "Decoration"))
    assert {object_class(*kind) for kind in others} == {NEITHER}


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0, 0, 10, 10), (0, 1), (0, 1)),
        ((0, 0, 11, 10), (0, 1), (0, 2)),
        ((9, 19, 2, 1), (1, 2), (0, 2)),
        ((70, 50, 20, 30), (5, 8), (7, 9)),
        ((159, 119, 1, 1), (11, 12), (15, 16)),
        ((150, 110, 40, 40), (11, 12), (15, 16)),
        ((0, 0, 160, 120), (0, 12), (0, 16)),
        ((25, 33, 0, 0), (3, 4), (2, 3)),
    ],
)
def test_an_object_map_marks_exactly_the_cells_of_the_box(
    box: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    expected = np.zeros((3, 12, 16), np.uint8)
    expected[MONSTER, slice(*rows), slice(*columns)] = 1
    assert np.array_equal(object_maps(Objects.of(table_of([label(IMP, *box)])))[0], expected)


def test_object_maps_keep_rows_and_classes_apart_and_overlaps_at_one() -> None:
    puff = ("BulletPuff", "")
    table = table_of(
        [label(BALL, 0, 0, 5, 5), label(BALL, 3, 3, 5, 5), label(KIT, 40, 40, 10, 10), label(puff, 80, 80, 10, 10)],
        [],
        [label(IMP, 100, 20, 10, 20)],
    )
    maps = object_maps(Objects.of(table))
    assert maps.shape == (3, *OBJECT_MAP_SHAPE) and maps.dtype == np.uint8
    expected = [(0, PROJECTILE, 0, 0), (0, ITEM, 4, 4), (2, MONSTER, 2, 10), (2, MONSTER, 3, 10)]
    assert sorted(map(tuple, np.argwhere(maps))) == expected


def test_the_nearest_object_is_the_tallest_of_its_class() -> None:
    table = table_of(
        [label(BALL, 70, 0, 20, 8), label(BALL, 150, 0, 10, 30), label(IMP, 0, 0, 10, 90)],
        [label(IMP, 0, 0, 10, 10)],
        [label(BALL, 150, 0, 10, 30), label(BALL, 70, 0, 20, 40)],
    )
    objects = Objects.of(table)
    projectiles = nearest_object(objects, PROJECTILE)
    np.testing.assert_allclose(projectiles, [[(155 - 80) / 80, 30], [np.nan, np.nan], [0, 40]])
    np.testing.assert_allclose(nearest_object(objects, MONSTER)[:2], [[-75 / 80, 90], [-75 / 80, 10]])


def test_the_crosshair_is_the_middle_column_and_items_are_ahead_in_the_middle_quarter() -> None:
    monsters = [[label(IMP, x, 0, width, 5)] for x, width in ((60, 19), (60, 20), (80, 5), (81, 5))]
    table = table_of(*monsters, [label(KIT, 70, 0, 20, 5)], [])
    assert under_crosshair(Objects.of(table)).tolist() == [False, True, True, False, False, False]
    items = [[label(KIT, x, y, 10, 10)] for x, y in ((50, 60), (60, 60), (90, 0), (100, 60))]
    table = table_of(*items, [label(IMP, 70, 60, 10, 10)])
    assert item_ahead(object_maps(Objects.of(table))).tolist() == [False, True, True, False, False]


# ---- packing ---------------------------------------------------------------------------------------------------------
DELTAS = ((-10.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))  # of the toy's health; nothing else ever changes


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
