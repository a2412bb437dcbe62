"""Promises of the dataset: lossless, errors that name the file, nothing half-written.

Legend: N rows, T steps per window.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_world import write_shard

from doom_dream_env.game.recording import FREEDOOM
from training.data.annotations import OBJECT_MAP_SHAPE
from training.data.dataset import Dataset, read_shard


def test_a_round_trip_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "take_cover"
    first, _ = write_shard(root / "train-00000.parquet", [7, 1, 5])
    second, _ = write_shard(root / "train-00001.parquet", [4], seed=1)
    write_shard(root / "val-00000.parquet", [9], seed=2)
    data = Dataset(tmp_path, ["take_cover"])
    assert len(data) == 17
    rows = np.random.default_rng(0).permutation(17).reshape(1, 17)
    assert np.array_equal(data.frames(rows)[0], np.concatenate([first, second])[rows[0]])
    assert np.array_equal(Dataset(tmp_path, ["take_cover"], keep_frames=False).frames(rows), data.frames(rows))
    order = np.r_[0:13, 0:4]
    assert np.array_equal(data.actions.argmax(1), order % 9) and np.array_equal(data.actions.sum(1), np.ones(17))
    assert np.array_equal(data.rewards, order)
    assert np.array_equal(data.variables, [[100, 0, 0, 0]] * 17)
    assert np.array_equal(data.next_variables, [[90, 0, 0, 0]] * 17)
    assert np.array_equal(data.pose, [[0, 1, 2, 3]] * 17)
    assert data.first.tolist() == [0] * 7 + [7] + [8] * 5 + [13] * 4
    assert data.last.tolist() == [6] * 7 + [7] + [12] * 5 + [16] * 4
    assert data.elapsed.tolist() == [*range(7), 0, *range(5), *range(4)]
    assert np.flatnonzero(data.terminated).tolist() == [6, 7, 12, 16] and not data.truncated.any()
    assert set(data.behaviour) == {"random"} and set(data.place_names) == {"take_cover:MAP01"}
    assert data.object_maps.shape == (17, *OBJECT_MAP_SHAPE)


def test_frames_are_readable_without_this_package(tmp_path: Path) -> None:
    frames, _ = write_shard(tmp_path / "x.parquet", [3])
    blob = pq.read_table(tmp_path / "x.parquet")["frame"][1].as_py()
    frame = np.frombuffer(pa.decompress(blob, 57600, codec="lz4_raw"), np.uint8).reshape(120, 160, 3)
    assert np.array_equal(frame, frames[1])


def test_windows_stay_within_an_episode(tmp_path: Path) -> None:
    write_shard(tmp_path / "take_cover" / "train-00000.parquet", [7, 1, 5])
    data = Dataset(tmp_path, ["take_cover"])
    assert data.windows(4).tolist() == [0, 1, 2, 3, 8, 9]
    assert data.windows(1).tolist() == list(range(13)) and data.windows(8).tolist() == []


def test_places_are_counted_as_the_run_counts_them(tmp_path: Path) -> None:
    """A readout of the pose belongs to a map by name, whatever else the data hold."""
    for name in ("take_cover", "health_gathering"):
        path = tmp_path / name / "train-00000.parquet"
        _, writer = write_shard(path, [2])
        writer.write(path, name, name, FREEDOOM)
    data = Dataset(tmp_path, ["take_cover", "health_gathering"])
    assert data.places == ["health_gathering", "take_cover"] and data.place.tolist() == [1, 1, 0, 0]
    data.count_places_as(["basic", "health_gathering", "my_way_home", "take_cover"])
    assert data.place.tolist() == [3, 3, 1, 1]
    with pytest.raises(ValueError, match="the data have health_gathering, which the run did not begin with"):
        data.count_places_as(["take_cover"])


def test_a_limit_stops_after_the_shard_that_reaches_it(tmp_path: Path) -> None:
    for index in range(3):
        write_shard(tmp_path / "take_cover" / f"train-{index:05d}.parquet", [4], seed=index)
    assert [len(Dataset(tmp_path, ["take_cover"], limit=limit)) for limit in (1, 4, 5, None)] == [4, 4, 8, 12]


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_one_flipped_bit_is_found_and_the_shard_named(tmp_path: Path, at: float) -> None:
    path = tmp_path / "take_cover" / "train-00000.parquet"
    write_shard(path, [6])
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        Dataset(tmp_path, ["take_cover"])


def test_missing_data_says_which_command_makes_some(tmp_path: Path) -> None:
    write_shard(tmp_path / "take_cover" / "train-00000.parquet", [2])
    command = f"python -m training collect --out {tmp_path} --scenarios take_cover --split val"
    with pytest.raises(FileNotFoundError, match=command):
        Dataset(tmp_path, ["take_cover"], "val")
    with pytest.raises(FileNotFoundError, match="--scenarios health_gathering --split train"):
        Dataset(tmp_path, ["take_cover", "health_gathering"])


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a shard anew: a well-formed file of other contents."""
    pq.write_table(change(pq.read_table(path)), path, compression="NONE", use_dictionary=False)


def about(table: pa.Table, **changes: Any) -> pa.Table:
    """A shard that says something else of itself."""
    said = json.loads(table.schema.metadata[b"doom_dream_env"]) | changes
    return table.replace_schema_metadata({"doom_dream_env": json.dumps(said)})


def with_value(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Put a value into a column."""

    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row] = value
        index = table.column_names.index(name)
        return table.set_column(index, name, pa.array(values, table[name].type))

    return change


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [
        ("reward", 2, 1e9),
        ("reward", 2, float("nan")),
        ("reward", 2, None),
        ("variables", 1, [1e9, 0, 0, 0]),
        ("pose", 1, [0, 0, float("inf"), 0]),
        ("action", 3, [2, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("terminated", 1, True),
        ("truncated", 5, True),
        ("elapsed", 0, -1),
        ("elapsed", 3, 7),
        ("frame", 0, None),
    ],
)
def test_what_no_game_gives_is_found_when_a_shard_is_read(tmp_path: Path, name: str, row: int, value: Any) -> None:
    path = tmp_path / "take_cover" / "train-00000.parquet"
    write_shard(path, [6, 3])
    rewrite(path, with_value(name, row, value))
    with pytest.raises(ValueError, match=f"{path} is damaged .(terminated|{name}) is"):
        Dataset(tmp_path, ["take_cover"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["reward"]), "lacks the columns reward"),
        (lambda table: table.slice(0, 0), "has no rows"),
        (lambda table: table.set_column(2, "reward", pa.array(["1"] * len(table))), "is damaged"),
        (lambda table: about(table, scenario="basic"), "it holds basic, not take_cover"),
        (lambda table: about(table, format_version=99), "format version 99, this code reads 3"),
        (lambda table: pa.table({"a": [1]}), "is damaged"),
    ],
)
def test_a_shard_of_another_shape_is_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    path = tmp_path / "take_cover" / "train-00000.parquet"
    write_shard(path, [3])
    rewrite(path, change)
    with pytest.raises(ValueError, match=f"{path} .*{message}|{message}"):
        Dataset(tmp_path, ["take_cover"])


@pytest.mark.parametrize("key", ["buttons", "variables", "frame", "scenario", "place", "format_version"])
def test_what_a_shard_says_of_itself_is_compared(tmp_path: Path, key: str) -> None:
    path = tmp_path / "take_cover" / "train-00000.parquet"
    write_shard(path, [3])
    for value in (None, [], 7):
        rewrite(path, functools.partial(about, **{key: value}))
        with pytest.raises(ValueError, match=f"{path} "):
            read_shard(path)
