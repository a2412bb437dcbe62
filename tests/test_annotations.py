"""Promises of the annotations: objects are sorted into classes, and become exact maps.

Legend: N rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shard_tools import BALL, IMP, KIT, label, table_of, write_shard

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
from training.data.dataset import Dataset


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (BALL, PROJECTILE),
        (("Rocket", ""), PROJECTILE),
        (IMP, MONSTER),
        (KIT, ITEM),
        (("Clip", "Ammo"), ITEM),
        (("DoomPlayer", "Self"), NEITHER),
        (("BulletPuff", ""), NEITHER),
        (("TallTorch", "Decoration"), NEITHER),
    ],
)
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


def test_shards_without_any_object_are_fine(tmp_path: Path) -> None:
    write_shard(tmp_path / "take_cover" / "train-00000.parquet", [3])
    data = Dataset(tmp_path, ["take_cover"])
    assert not data.object_maps.any() and np.isnan(data.projectile).all() and not data.crosshair.any()


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


def test_the_crosshair_is_the_middle_column() -> None:
    table = table_of(
        [label(IMP, 60, 0, 19, 5)],
        [label(IMP, 60, 0, 20, 5)],
        [label(IMP, 80, 0, 5, 5)],
        [label(IMP, 81, 0, 5, 5)],
        [label(KIT, 70, 0, 20, 5)],
        [],
    )
    assert under_crosshair(Objects.of(table)).tolist() == [False, True, True, False, False, False]


def test_an_item_is_ahead_in_the_middle_quarter_alone() -> None:
    table = table_of(
        [label(KIT, 50, 60, 10, 10)],
        [label(KIT, 60, 60, 10, 10)],
        [label(KIT, 90, 0, 10, 10)],
        [label(KIT, 100, 60, 10, 10)],
        [label(IMP, 70, 60, 10, 10)],
    )
    assert item_ahead(object_maps(Objects.of(table))).tolist() == [False, True, True, False, False]
