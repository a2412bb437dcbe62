"""Promises of labelling: play becomes rows, the rest does not; a killed run goes on; a bad video stops no other.

The model is a stand-in that reads everything off the brightness of a frame. Bright frames are play. Legend: T steps.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from doom_dream_env.game.recording import METADATA, Origin
from doom_dream_env.play.film import STEPS_PER_SECOND, Film
from doom_dream_env.scenarios import BUTTONS
from training.__main__ import main
from training.config import LabelConfig
from training.data.dataset import Dataset
from training.footage import labelling
from training.footage.labelling import Block, LabelledBlock, episodes, label_block
from training.footage.scenes import scene_cuts
from training.footage.truth import TruthWriter, keys_file
from training.stages import label as stage

BLOCK = 40  # steps
DARK = 20  # brightness of what is no play


class StandIn(torch.nn.Module):
    """Presses forward at an even level of brightness; remembers how long the stretches were that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.stretches: list[int] = []
        self.labelled = 0

    def label_stream(self, chunks: Iterator[np.ndarray]) -> Iterator[SimpleNamespace]:
        self.stretches.append(0)
        for frames in chunks:
            self.stretches[-1] += len(frames)
            self.labelled += 1
            level = frames.mean((1, 2, 3))
            actions = np.zeros((len(frames), len(BUTTONS)), np.uint8)
            actions[:, 0] = level.round().astype(int) % 2 == 0
            yield SimpleNamespace(
                actions=actions,
                confidence=np.full((len(frames), len(BUTTONS)), 0.9, np.float32),
                play=(level > 2 * DARK).astype(np.float32),
                health=np.where(level > 100, level, np.nan).astype(np.float32),
                health_confidence=np.full(len(frames), 0.8, np.float32),
                died=np.zeros(len(frames), np.float32),
            )


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Small blocks, and the stand-in instead of the model."""
    model = StandIn()
    for module in (labelling, stage):
        monkeypatch.setattr(module, "STEPS_PER_SHARD", BLOCK)
    monkeypatch.setattr(labelling, "MARGIN", 6)
    monkeypatch.setattr(stage, "load_model", lambda weights: model)
    return model


def halved(level: int) -> np.ndarray:
    """A frame with something to see in it."""
    frame = np.full((120, 160, 3), level, np.uint8)
    frame[:60] += 20
    frame[60:] -= 20
    return frame


def shoot(path: Path, levels: list[int]) -> Path:
    """A film of a frame per step; levels change by a little, or else the picture would stand still."""
    with Film(path, STEPS_PER_SECOND, quality=10) as film:
        for step, level in enumerate(levels):
            film.add(halved(level + 2 * (step % 3)))
    return path


def config(folder: Path, *videos: Path, **settings: Any) -> LabelConfig:
    return LabelConfig(videos=videos, out=folder / "data", **settings)


def read(folder: Path, split: str = "train") -> Dataset:
    return Dataset(folder / "data", ["freedoom"], split)


# ---- rows ------------------------------------------------------------------------------------------------------------
def test_play_becomes_rows_and_the_rest_does_not(tmp_path: Path) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 25 + [DARK] * 20 + [150] * 20)
    stage.label(config(tmp_path, path))
    data = read(tmp_path)
    brightness = data.frames(np.arange(len(data))).mean((1, 2, 3))
    assert brightness.min() > 100 and 40 <= len(data) <= 47
    ends = np.unique(data.last)
    assert not data.annotated.any() and (data.elapsed == -1).all() and not data.terminated.any()
    assert (data.confidence[ends] == 0).all(), "no frame shows what was pressed after the last one"
    others = np.setdiff1d(np.arange(len(data)), ends)
    np.testing.assert_allclose(data.confidence[others], 0.9**9, rtol=1e-3)
    assert set(data.behaviour) == {"video"} and data.places == ["freedoom:footage"]
    np.testing.assert_array_equal(data.actions[others, 0], brightness[others].round().astype(int) % 2 == 0)


def test_health_is_read_and_what_is_not_seen_is_not_claimed(tmp_path: Path) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 20 + [130] * 10)
    stage.label(config(tmp_path, path))
    data = read(tmp_path)
    health, ammunition, armour, rounds = data.variables.T
    assert 115 < health.min() and health.max() < 140 and (health == health.round()).all()
    assert (ammunition == 0).all() and (armour == 100).all() and (rounds == 50).all()
    others = np.arange(len(data)) < data.last
    np.testing.assert_allclose(data.variables_confidence[others, 0], 0.8)
    assert not data.variables_confidence[:, 1:].any(), "nobody has read these"
    np.testing.assert_array_equal(data.next_variables[:-1][others[:-1]], data.variables[1:][others[:-1]])


def labelled(steps: int, **columns: np.ndarray) -> LabelledBlock:
    frames = np.zeros((steps, 120, 160, 3), np.uint8)
    block = Block(0, slice(0, steps), np.arange(steps) / STEPS_PER_SECOND, frames)
    zeros = np.zeros(steps, np.float32)
    values: dict[str, Any] = {
        "actions": np.zeros((steps, 9), np.uint8),
        "confidence": zeros + 1,
        "play": zeros + 1,
        "keep": np.ones(steps, bool),
        "cuts": np.zeros(steps, bool),
        "health": zeros + 50,
        "health_confidence": zeros + 1,
        "died": zeros,
    }
    return LabelledBlock(block=block, **(values | columns))


def at(steps: int, *places: int) -> np.ndarray:
    return np.isin(np.arange(steps), places)


def test_an_episode_ends_where_the_scene_changes_and_with_a_death() -> None:
    assert episodes(labelled(50)) == [(0, 50, False)]
    assert episodes(labelled(50, cuts=at(50, 0, 20))) == [(0, 20, False), (20, 50, False)]
    assert episodes(labelled(50, keep=~at(50, 30))) == [(0, 30, False), (31, 50, False)]
    died = at(90, 20, 21).astype(np.float32)
    assert episodes(labelled(90, died=died)) == [(0, 21, True), (22, 90, False)]
    assert episodes(labelled(40, died=died[:40])) == [(0, 21, True)], "what is left after a death is the death screen"
    assert episodes(labelled(50, cuts=at(50, 20, 24))) == [(0, 20, False), (24, 50, False)], "four steps are too few"


def test_a_death_costs_what_the_scenario_says(tmp_path: Path) -> None:
    died = at(30, 29).astype(np.float32) * 0.9
    shard = labelling.ShardWriter()
    labelling.add_rows(shard, labelled(30, died=died), stage.get_scenario("freedoom"))
    path = tmp_path / "data" / "freedoom" / "train-00000.parquet"
    path.parent.mkdir(parents=True)
    shard.write(path, "freedoom", "freedoom:footage", Origin())
    data = read(tmp_path)
    assert np.flatnonzero(data.terminated).tolist() == [29] and data.rewards.tolist() == [0] * 29 + [-10]
    assert data.next_variables[-1, 0] == 0 and data.outcome_confidence[-1] == pytest.approx(0.8)


# ---- blocks ----------------------------------------------------------------------------------------------------------
def test_the_model_begins_anew_in_each_scene(tmp_path: Path, small: StandIn) -> None:
    room = textured()
    frames = np.stack([room] * 20 + [title()] * 15)
    label_block(small, Block(0, slice(0, 35), np.arange(35.0), frames), 0.5)
    assert small.stretches == [20, 15]


def textured() -> np.ndarray:
    """A room: bright at the bottom, with a texture."""
    ramp = np.linspace(20, 160, 120)[:, None, None]
    grain = np.random.default_rng(0).integers(0, 60, (120, 160, 3))
    return (ramp + grain).astype(np.uint8)


def title() -> np.ndarray:
    """A few bright letters on a dark ground."""
    frame = np.full((120, 160, 3), 8, np.uint8)
    frame[20:30, 40:120] = 220
    return frame


def tinted(frame: np.ndarray, red: int, green: int, blue: int, share: float) -> np.ndarray:
    """A frame under a colour, as DOOM shows pain and pick-ups."""
    return ((1 - share) * frame + share * np.array([red, green, blue])).astype(np.uint8)


def test_turning_tints_and_fire_are_no_cuts_and_another_view_is_one() -> None:
    room = textured()
    turned = np.roll(room, 45, 1)
    hurt = tinted(turned, 255, 0, 0, 0.85)
    taken = tinted(turned, 215, 186, 68, 0.25)
    fire = room.copy()
    fire[10:110, 30:150] = (240, 200, 60)
    uncut = [room, turned, hurt, hurt, turned, taken, turned, room, fire, fire, room, room, room]
    assert not scene_cuts(np.stack(uncut)).any()
    assert np.flatnonzero(scene_cuts(np.stack([*uncut, *[title()] * 5, *[room] * 5]))).tolist() == [13, 18]


def test_whose_a_video_is_can_be_said_later_and_is_not_forgotten(
    tmp_path: Path, small: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 30)

    def said() -> tuple[Any, Any]:
        (file,) = (tmp_path / "data" / "freedoom").iterdir()
        about = json.loads(pq.read_schema(file).metadata[METADATA])
        return about["source"], about["licence"]

    stage.label(config(tmp_path, path))
    assert said() == (None, None) and "--source and --licence" in capsys.readouterr().out
    labelled = small.labelled
    for _ in range(2):
        stage.label(config(tmp_path, path, source="my channel", licence="cc-by-4.0"))
        stage.label(config(tmp_path, path))
        assert said() == ("my channel", "cc-by-4.0") and small.labelled == labelled


def test_what_stands_still_is_no_play(small: StandIn) -> None:
    frames = np.stack([halved(120 + 3 * (t % 2)) for t in range(40)] + [halved(120)] * 40)
    found = label_block(small, Block(0, slice(0, 80), np.arange(80.0), frames), 0.5)
    assert found.keep[:39].all() and not found.keep[41:].any()


# ---- runs ------------------------------------------------------------------------------------------------------------
def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "data" / "freedoom").iterdir())}


def test_a_killed_run_goes_on_and_makes_the_same(
    tmp_path: Path, small: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 130)
    stage.label(config(tmp_path / "whole", path))
    write_notes = stage.write_notes

    def killed(folder: Path, notes: Any) -> None:
        if notes.index == 2:
            raise KeyboardInterrupt
        write_notes(folder, notes)

    monkeypatch.setattr(stage, "write_notes", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.label(config(tmp_path / "killed", path))
    monkeypatch.setattr(stage, "write_notes", write_notes)
    before = small.labelled
    stage.label(config(tmp_path / "killed", path))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    again = small.labelled - before
    assert again <= 2 * 2, "blocks that were finished are not labelled again"
    stage.label(config(tmp_path / "killed", path))
    assert small.labelled == before + again, "nor is a finished video"


def test_a_bad_video_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = shoot(tmp_path / "good.mp4", [120] * 30)
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 99)
    with pytest.raises(SystemExit) as end:
        main(["label", str(tmp_path / "bad.mp4"), str(good), "--out", str(tmp_path / "data")])
    assert end.value.code == 2
    assert f"1 of 2 videos: {tmp_path / 'bad.mp4'} is not a video" in capsys.readouterr().err
    assert len(read(tmp_path)) >= 28


def test_a_video_is_known_by_its_bytes_whatever_it_is_called(tmp_path: Path, small: StandIn) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 30)
    other = shoot(tmp_path / "b.mp4", [150] * 30)
    (tmp_path / "more").mkdir()
    strange = other.rename(os.fsdecode(os.fsencode(tmp_path / "more") + b"/a\xe9.mp4"))
    same = Path(shutil.copy(path, tmp_path / "more" / "a.mp4"))
    stage.label(config(tmp_path, path, strange))
    before = contents(tmp_path)
    pages = [page.read_text() for page in (tmp_path / "data").rglob("report.html")]
    assert len(before) == 2 and sum("a\ufffd.mp4" in page for page in pages) == 1
    stage.label(config(tmp_path, same))
    assert contents(tmp_path) == before
    with pytest.raises(ValueError, match="labelled before with another split"):
        stage.label(config(tmp_path, same, split="val"))


def test_a_share_of_a_long_video_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 150)
    monkeypatch.setattr(stage, "VAL_SHARE", 0.25)
    stage.label(config(tmp_path, path))
    assert 30 <= len(read(tmp_path, "val")) <= BLOCK
    assert len(read(tmp_path)) + len(read(tmp_path, "val")) >= 145
    monkeypatch.setattr(stage, "VAL_SHARE", 0.1)
    splits = [stage.split_of(block, LabelConfig()) for block in range(40)]
    assert [block for block, split in enumerate(splits) if split == "val"] == [4, 14, 24, 34]


def test_the_report_warns_of_another_game_and_knows_the_truth_of_a_film(tmp_path: Path) -> None:
    path = shoot(tmp_path / "a.mp4", [120] * 40 + [DARK] * 40)
    truth = TruthWriter()
    for tic in range(4 * 80):
        truth.add(np.zeros(9, np.uint8), "play" if tic < 4 * 40 else "menu")
    truth.write(keys_file(path), {})
    stage.label(config(tmp_path, path, least_confidence=0.95))
    folder = next((tmp_path / "data" / "labelling").glob("a-*"))
    report = json.loads((folder / "report.json").read_text())
    assert report["play_dropped"] < 0.15 and report["other_kept"] < 0.15 and report["other"] == 0.5
    assert any("not the game that it knows" in warning for warning in report["warnings"])
    page = (folder / "report.html").read_text()
    assert "not the game that it knows" in page and page.count("data:image") == 3
