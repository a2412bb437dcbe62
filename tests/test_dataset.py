"""Promises of the dataset: lossless, objects as exact maps, errors that name the file, nothing half-written.

Legend: N rows, T steps per window.
"""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import random_frames

from doom_dream_env import shards
from doom_dream_env.shards import ShardWriter, compress_frame
from training.dataset import HEAT_SHAPE, Dataset, Objects, heat_maps, nearest_object, object_class, read_shard, under_crosshair

PROJECTILE, MONSTER, ITEM = range(3)
BALL, IMP, KIT = ("DoomImpBall", ""), ("DoomImp", "Monster"), ("CustomMedikit", "Health")


def label(kind: tuple[str, str], x: int, y: int, width: int, height: int) -> SimpleNamespace:
    """A visible object as ViZDoom describes it."""
    return SimpleNamespace(
        object_name=kind[0], object_category=kind[1], x=x, y=y, width=width, height=height,
        object_position_x=1.5, object_position_y=-2.0, object_position_z=0.0,
    )  # fmt: skip


def step(frame: np.ndarray, episode: int, **changes: Any) -> dict[str, Any]:
    """The columns of one step."""
    row = {
        "frame": compress_frame(frame), "action": np.zeros(9, np.uint8), "reward": np.float32(1), "terminated": False,
        "truncated": False, "variables": np.array([100, 0, 0, 0], np.float32), "next_variables": np.array([90, 0, 0, 0], np.float32),
        "pose": np.arange(4, dtype=np.float32), "episode": episode, "behaviour": "random",
    }  # fmt: skip
    return row | changes


def shard(path: Path, lengths: list[int], labels: list[list[Any]] | None = None, seed: int = 0) -> tuple[np.ndarray, ShardWriter]:
    """Write a shard of episodes of noise; returns its frames."""
    frames, writer, row = random_frames(sum(lengths), seed=seed), ShardWriter(), 0
    for episode, length in enumerate(lengths):
        for t in range(length):
            action = (np.arange(9) == row % 9).astype(np.uint8)
            seen = labels[row] if labels else []
            writer.add(seen, **step(frames[row], 10 * seed + episode, action=action, reward=np.float32(row), terminated=t == length - 1))
            row += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path, path.parent.name, f"{path.parent.name}:MAP01")
    return frames, writer


def table_of(*labels: list[Any]) -> pa.Table:
    writer = ShardWriter()
    for seen in labels:
        writer.add(seen, **step(np.zeros((120, 160, 3), np.uint8), 0))
    return writer.table()


# ---- round trip --------------------------------------------------------------------------------------------------------


def test_a_round_trip_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "take_cover"
    first, _ = shard(root / "train-00000.parquet", [7, 1, 5])
    second, _ = shard(root / "train-00001.parquet", [4], seed=1)
    shard(root / "val-00000.parquet", [9], seed=2)
    data = Dataset(tmp_path, ["take_cover"])
    assert len(data) == 17
    rows = np.random.default_rng(0).permutation(17).reshape(1, 17)
    assert np.array_equal(data.frames(rows)[0], np.concatenate([first, second])[rows[0]])
    assert np.array_equal(Dataset(tmp_path, ["take_cover"], keep_frames=False).frames(rows), data.frames(rows))
    order = np.r_[0:13, 0:4]
    assert np.array_equal(data.actions.argmax(1), order % 9) and np.array_equal(data.actions.sum(1), np.ones(17))
    assert np.array_equal(data.rewards, order)
    assert np.array_equal(data.variables, [[100, 0, 0, 0]] * 17) and np.array_equal(data.next_variables, [[90, 0, 0, 0]] * 17)
    assert np.array_equal(data.pose, [[0, 1, 2, 3]] * 17)
    assert data.first.tolist() == [0] * 7 + [7] + [8] * 5 + [13] * 4
    assert data.last.tolist() == [6] * 7 + [7] + [12] * 5 + [16] * 4
    assert np.flatnonzero(data.terminated).tolist() == [6, 7, 12, 16] and not data.truncated.any()
    assert set(data.behaviour) == {"random"} and set(data.starts) == {"take_cover:MAP01"} and data.heat.shape == (17, *HEAT_SHAPE)


def test_frames_are_readable_without_this_package(tmp_path: Path) -> None:
    frames, _ = shard(tmp_path / "x.parquet", [3])
    blob = pq.read_table(tmp_path / "x.parquet")["frame"][1].as_py()
    assert np.array_equal(np.frombuffer(pa.decompress(blob, 57600, codec="lz4_raw"), np.uint8).reshape(120, 160, 3), frames[1])


def test_windows_stay_within_an_episode(tmp_path: Path) -> None:
    shard(tmp_path / "take_cover" / "train-00000.parquet", [7, 1, 5])
    data = Dataset(tmp_path, ["take_cover"])
    assert data.windows(4).tolist() == [0, 1, 2, 3, 8, 9]
    assert data.windows(1).tolist() == list(range(13)) and data.windows(8).tolist() == []


def test_scenarios_are_numbered_in_the_order_asked_for(tmp_path: Path) -> None:
    shard(tmp_path / "take_cover" / "train-00000.parquet", [3])
    shard(tmp_path / "health_gathering" / "train-00000.parquet", [2])
    assert Dataset(tmp_path, ["health_gathering", "take_cover"]).scenario.tolist() == [0, 0, 1, 1, 1]


def test_places_are_counted_as_the_run_counts_them(tmp_path: Path) -> None:
    """A read-out of the pose belongs to a map by name, whatever else the data hold."""
    for name in ("take_cover", "health_gathering"):
        table = shard(tmp_path / name / "train-00000.parquet", [2])[1]
        table.write(tmp_path / name / "train-00000.parquet", name, name)
    data = Dataset(tmp_path, ["take_cover", "health_gathering"])
    assert data.places == ["health_gathering", "take_cover"] and data.place.tolist() == [1, 1, 0, 0]
    data.count_places_as(["basic", "health_gathering", "my_way_home", "take_cover"])
    assert data.place.tolist() == [3, 3, 1, 1]
    with pytest.raises(ValueError, match="the data have health_gathering, which the run did not begin with"):
        data.count_places_as(["take_cover"])


def test_a_limit_stops_after_the_shard_that_reaches_it(tmp_path: Path) -> None:
    for index in range(3):
        shard(tmp_path / "take_cover" / f"train-{index:05d}.parquet", [4], seed=index)
    assert [len(Dataset(tmp_path, ["take_cover"], limit=limit)) for limit in (1, 4, 5, None)] == [4, 4, 8, 12]


# ---- objects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (BALL, PROJECTILE), (("Rocket", ""), PROJECTILE), (IMP, MONSTER), (KIT, ITEM), (("Clip", "Ammo"), ITEM),
        (("DoomPlayer", "Self"), -1), (("BulletPuff", ""), -1), (("TallTorch", "Decoration"), -1),
    ],
)  # fmt: skip
def test_objects_are_sorted_into_classes(kind: tuple[str, str], expected: int) -> None:
    assert object_class(*kind) == expected


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
def test_a_heat_map_marks_exactly_the_cells_of_the_box(box: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    expected = np.zeros((3, 12, 16), np.uint8)
    expected[MONSTER, slice(*rows), slice(*columns)] = 1
    assert np.array_equal(heat_maps(Objects.of(table_of([label(IMP, *box)])))[0], expected)


def test_heat_maps_keep_rows_and_classes_apart_and_overlaps_at_one() -> None:
    maps = heat_maps(
        Objects.of(
            table_of(
                [label(BALL, 0, 0, 5, 5), label(BALL, 3, 3, 5, 5), label(KIT, 40, 40, 10, 10), label(("BulletPuff", ""), 80, 80, 10, 10)],
                [],
                [label(IMP, 100, 20, 10, 20)],
            )
        )
    )
    assert maps.shape == (3, *HEAT_SHAPE) and maps.dtype == np.uint8
    assert sorted(map(tuple, np.argwhere(maps))) == [(0, PROJECTILE, 0, 0), (0, ITEM, 4, 4), (2, MONSTER, 2, 10), (2, MONSTER, 3, 10)]


def test_shards_without_any_object_are_fine(tmp_path: Path) -> None:
    shard(tmp_path / "take_cover" / "train-00000.parquet", [3])
    data = Dataset(tmp_path, ["take_cover"])
    assert not data.heat.any() and np.isnan(data.projectile).all() and not data.crosshair.any()


def test_the_nearest_object_is_the_tallest_of_its_class() -> None:
    table = table_of(
        [label(BALL, 70, 0, 20, 8), label(BALL, 150, 0, 10, 30), label(IMP, 0, 0, 10, 90)],
        [label(IMP, 0, 0, 10, 10)],
        [label(BALL, 150, 0, 10, 30), label(BALL, 70, 0, 20, 40)],
    )
    np.testing.assert_allclose(nearest_object(Objects.of(table), PROJECTILE), [[(155 - 80) / 80, 30], [np.nan, np.nan], [0, 40]])
    np.testing.assert_allclose(nearest_object(Objects.of(table), MONSTER)[:2], [[-75 / 80, 90], [-75 / 80, 10]])


def test_the_crosshair_is_the_middle_column() -> None:
    table = table_of(
        [label(IMP, 60, 0, 19, 5)], [label(IMP, 60, 0, 20, 5)], [label(IMP, 80, 0, 5, 5)], [label(IMP, 81, 0, 5, 5)],
        [label(KIT, 70, 0, 20, 5)], [],
    )  # fmt: skip
    assert under_crosshair(Objects.of(table)).tolist() == [False, True, True, False, False, False]


# ---- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_one_flipped_bit_is_found_and_the_shard_named(tmp_path: Path, at: float) -> None:
    path = tmp_path / "take_cover" / "train-00000.parquet"
    shard(path, [6])
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        Dataset(tmp_path, ["take_cover"])


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_cut_shard_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "take_cover" / "train-00000.parquet"
    shard(path, [6])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        Dataset(tmp_path, ["take_cover"])


def test_somebody_elses_parquet_and_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        read_shard(path)
    monkeypatch.setattr(shards, "FORMAT_VERSION", 99)
    shard(path, [2])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format version 99, this code reads 2"):
        read_shard(path)


def test_missing_data_says_which_command_makes_some(tmp_path: Path) -> None:
    shard(tmp_path / "take_cover" / "train-00000.parquet", [2])
    with pytest.raises(FileNotFoundError, match=f"python -m training.collect --out {tmp_path} --scenarios take_cover --split val"):
        Dataset(tmp_path, ["take_cover"], "val")
    with pytest.raises(FileNotFoundError, match="--scenarios health_gathering --split train"):
        Dataset(tmp_path, ["take_cover", "health_gathering"])


def test_a_full_disk_names_the_file_and_leaves_the_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished, unlucky = tmp_path / "train-00000.parquet", tmp_path / "train-00001.parquet"
    shard(finished, [3])
    before = finished.read_bytes()

    def full(table: pa.Table, file: Any, **_: Any) -> None:
        file.write(b"half a shard")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.pq, "write_table", full)
    with pytest.raises(OSError, match=f"could not write {unlucky}: No space left on device") as error:
        shard(unlucky, [3])
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == [finished] and finished.read_bytes() == before
