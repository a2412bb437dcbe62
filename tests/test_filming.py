"""Promises of films: what was pressed fits the pictures, looks are what they say, the same command films the same.

Real ViZDoom at toy size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doom_dream_env.play.film import STEPS_PER_SECOND
from training.config import FilmConfig
from training.config.film import HELD_OUT_MAPS, LOOKS
from training.footage.filming import FilmJob, shoot_film
from training.footage.truth import keys_file, read_truth
from training.footage.video import Video
from training.stages.film import film, plan_films


def job(folder: Path, **changes: Any) -> FilmJob:
    settings: dict[str, Any] = {
        "path": folder / "a.mp4",
        "index": 3,
        "split": "train",
        "tics": 140,
        "map": "E1M1",
        "player": "scripted",
        "look": "poor",
        "appearance": LOOKS["poor"],
        "interludes": True,
        "hud": True,
    }
    return FilmJob(**(settings | changes))


def test_a_film_and_its_keys_are_of_the_same_moments_and_come_again(tmp_path: Path) -> None:
    first = job(tmp_path)
    assert not first.is_done
    assert shoot_film(first) == 140 and first.is_done
    truth, about = read_truth(keys_file(first.path))
    assert len(truth) == 140 and about["map"] == "E1M1" and about["player"] == "scripted" and about["look"] == "poor"
    assert truth.scene[0] != "play" and truth.scene[-1] == "play", "it opens with something else"
    assert not truth.actions[~truth.play].any() and truth.actions[truth.play].any()
    assert np.isnan(truth.health[~truth.play]).all() and (truth.health[truth.play] > 0).all()
    video = Video(first.path)
    assert video.picture == pytest.approx((0.125, 0, 0.875, 1), abs=0.01), "a game of 4:3 in a film of 16:9"
    frames = np.stack([step.frame for step in video.steps()])
    assert len(frames) == pytest.approx(140 / 35 * STEPS_PER_SECOND, abs=1)
    again = job(tmp_path, path=tmp_path / "again.mp4")
    shoot_film(again)
    assert again.path.read_bytes() == first.path.read_bytes()
    np.testing.assert_array_equal(read_truth(keys_file(again.path))[0].actions, truth.actions)


def test_finished_films_are_kept_and_a_film_without_keys_is_made_anew(tmp_path: Path) -> None:
    config = FilmConfig(out=tmp_path, films=2, minutes=1 / 30, maps=("MAP01",), players=("random",), workers=1)
    jobs = plan_films(config)
    for number, planned in enumerate(jobs):
        planned.path.write_bytes(b"film %d" % number)
    keys_file(jobs[0].path).write_bytes(b"keys")
    assert film(config) == 1
    assert jobs[0].path.read_bytes() == b"film 0" and len(read_truth(keys_file(jobs[1].path))[0]) == 70


def test_films_of_the_tests_share_neither_maps_nor_players_with_the_others() -> None:
    train, test = (plan_films(FilmConfig(films=80, split=split)) for split in ("train", "test"))  # type: ignore[arg-type]
    assert {one.map for one in test} == set(HELD_OUT_MAPS)
    assert not {one.map for one in train} & set(HELD_OUT_MAPS) and len({one.map for one in train}) > 60
    assert not {one.player for one in train} & {one.player for one in test}
    assert {one.look for one in train} == set(LOOKS)
    assert len({(one.look, one.player) for one in train}) > len(LOOKS), "a look is not one player's alone"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"looks": ("oily",)}, "look 'oily' is unknown; choose from clean"),
        ({"maps": ("MAP99",)}, "has no map 'MAP99'"),
        ({"players": ("me",)}, "behaviour 'me' is unknown"),
        ({"minutes": 0.01}, "--minutes 0.01 is less than a second"),
    ],
)
def test_mistakes_are_named_before_anything_is_filmed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        film(FilmConfig(out=tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_of_keys_is_named(tmp_path: Path) -> None:
    path = keys_file(tmp_path / "a.mp4")
    with pytest.raises(FileNotFoundError, match=f"there is no file {path}"):
        read_truth(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        read_truth(path)
