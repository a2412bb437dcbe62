"""Promises of training data: windows end with their episode, objects become maps, models take what they can say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model
from toy_world import (
    BALL,
    EPISODES,
    IMP,
    KIT,
    LENGTH,
    TOY_SCENARIOS,
    WINDOW,
    label,
    row,
    table_of,
    toy_config,
    write_shard,
)

from doom_dream_env.game.recording import FREEDOOM, Origin, ShardWriter
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
from training.data.batch import Batch, make_batch, rows_by_scenario, sample_rows
from training.data.dataset import Dataset, read_shard
from training.data.latents import cached_states
from training.evaluation.held_out import load_split
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
from training.ranks import SampleGenerator
from training.stages import REPRESENTATION_CHECKPOINT
from training.stages.representation import losses

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


# ---- what was read off videos ----------------------------------------------------------------------------------------
def soft(**changes: Any) -> dict[str, Any]:
    columns = {
        "confidence": np.float32(0.5),
        "variables_confidence": np.array([0.25, 0, 0, 0], np.float32),
        "outcome_confidence": np.float32(0.75),
        "annotated": False,
        "elapsed": -1,
    }
    return columns | changes


def write_footage(
    path: Path, steps: int = 6, place: str = "take_cover:MAP01", origin: Origin | None = None, **changes: Any
) -> Path:
    writer = ShardWriter()
    for _ in range(steps):
        writer.add([], **row(np.zeros((120, 160, 3), np.uint8), 0, **soft(**changes)))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path, "take_cover", place, origin or Origin())
    return path


def test_collected_play_is_in_no_doubt_and_videos_say_how_sure_they_are(tmp_path: Path) -> None:
    write_shard(tmp_path / "take_cover" / "train-00000.parquet", [4])
    write_footage(tmp_path / "take_cover" / "train-a-00001.parquet")
    data = Dataset(tmp_path, ["take_cover"])
    assert data.confidence.tolist() == [1] * 4 + [0.5] * 6 and data.annotated.tolist() == [True] * 4 + [False] * 6
    assert data.variables_confidence[[0, 4]].tolist() == [[1] * 4, [0.25, 0, 0, 0]]
    assert data.outcome_confidence.tolist() == [1] * 4 + [0.75] * 6
    batch = make_batch(data, np.array([0, 4]), 4, CPU)
    assert batch.known_transitions.tolist() == [[1] * 3, [0.5] * 3] and batch.annotated[:, 0].tolist() == [1, 0]
    assert batch.elapsed.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotated": True}, "elapsed is negative"),
        ({"elapsed": -2}, "elapsed is negative"),
        ({"confidence": np.float32(1.5)}, "confidence is not from 0 to 1"),
        ({"outcome_confidence": np.float32(np.nan)}, "outcome_confidence is not from 0 to 1"),
        ({"variables_confidence": np.array([0, 0, -1, 0], np.float32)}, "variables_confidence is not from 0 to 1"),
    ],
)
def test_a_shard_that_cannot_be_right_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_footage(tmp_path / "x" / "train-00000.parquet", **changes)
    with pytest.raises(ValueError, match=f"{path} is damaged .*{message}"):
        read_shard(path)


def test_scores_refuse_what_was_labelled_from_videos(tmp_path: Path, model: WorldModel) -> None:
    write_footage(tmp_path / "take_cover" / "val-a-00000.parquet")
    with pytest.raises(ValueError, match="a score needs what only the game knows, and take_cover/val-a-00000 was lab"):
        load_split(model, tmp_path, ["take_cover"], "val")


def terms_of(toy: Path, *changes: dict[str, torch.Tensor], press: bool = False) -> list[dict[str, torch.Tensor]]:
    """The terms of the representation loss on the same two windows with some columns changed.

    With `press`, the other buttons are pressed in the second window.
    """
    config = toy_config("representation", toy, Path("unused"), 1)
    data = Dataset(toy, config.scenarios, "train")
    model = new_training_model("tiny", data, 0, None).eval()
    batch = make_batch(data, np.array([0, LENGTH]), WINDOW, CPU)
    if press:
        batch.actions[1] = 1 - batch.actions[1]
    with torch.no_grad():
        return [
            losses(model, dataclasses.replace(batch, **change), SampleGenerator.alone(2, 0))[0] for change in changes
        ]


def test_what_only_the_game_knows_is_not_asked_of_videos(toy: Path) -> None:
    unknown = {
        "annotated": torch.zeros(2, WINDOW),
        "variables_confidence": torch.zeros(2, WINDOW, 4),
        "outcome_confidence": torch.zeros(2, WINDOW),
    }
    noise = torch.rand(2, WINDOW, 3, 12, 16).round()
    some, others = terms_of(toy, unknown, unknown | {"object_maps": noise, "pose": torch.rand(2, WINDOW, 4)})
    for name in ("objects", "objects_predicted", "objects_trunk", "readouts", "readouts_predicted", "outcome"):
        assert some[name] == 0 and others[name] == 0, name
    assert some["prediction"] > 0 and some["inverse"] > 0


def test_a_step_counts_as_much_as_its_action_is_sure(toy: Path) -> None:
    """Of two windows only the first is sure: the loss is that of the first, and the second's buttons do not matter."""
    sure = torch.tensor([[1.0] * WINDOW, [0.0] * WINDOW])
    whole, half = terms_of(toy, {}, {"confidence": sure})
    other = terms_of(toy, {"confidence": sure}, press=True)[0]
    assert half["inverse"] != whole["inverse"] and half["prediction"] != whole["prediction"]
    first = terms_of(toy, {"follows": sure[:, 1:]})[0]
    torch.testing.assert_close(half["inverse"], first["inverse"])
    torch.testing.assert_close(other["inverse"], half["inverse"])


def test_a_rollout_counts_as_much_as_the_least_sure_action_that_led_there(tmp_path: Path) -> None:
    write_shard(tmp_path / "take_cover" / "train-00000.parquet", [6])
    batch: Batch = make_batch(Dataset(tmp_path, ["take_cover"]), np.array([0]), 8, CPU)
    confidence = torch.tensor([[0.1, 0.9, 0.5, 0.8, 1.0, 1.0, 1.0, 1.0]])
    batch = dataclasses.replace(batch, confidence=confidence)
    np.testing.assert_allclose(batch.known_rollout(1, 4), [[0.9, 0.5, 0.5, 0.5]])
    np.testing.assert_allclose(batch.known_rollout(3, 4), [[0.8, 0.8, 0, 0]], err_msg="the episode has six steps")


def test_dreams_of_footage_begin_where_the_scenario_does_unless_it_was_recorded_there(tmp_path: Path) -> None:
    write_footage(tmp_path / "take_cover" / "train-a.parquet", 6, place="take_cover:footage")

    def starts() -> dict[str, int]:
        data = Dataset(tmp_path, ["take_cover"])
        model: Any = SimpleNamespace(initial_states={}, context_clips={})
        store_initial_states(model, data, torch.zeros(len(data), 3))
        return {place: len(z) for place, (z, _) in model.initial_states.items()}

    assert starts() == {"take_cover": 1}
    _, writer = write_shard(tmp_path / "take_cover" / "train-b.parquet", [2, 3, 4])
    writer.write(tmp_path / "take_cover" / "train-b.parquet", "take_cover", "take_cover", FREEDOOM)
    assert starts() == {"take_cover": 3}
