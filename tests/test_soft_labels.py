"""Promises of what was read off videos: readers see no difference but how sure it is; no loss learns what is unknown.

Legend: B windows, T steps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from shard_tools import row, write_shard
from toy_world import LENGTH, WINDOW, toy_config, write_toy

from doom_dream_env.recording import FREEDOOM, Origin, ShardWriter
from doom_dream_env.world_model import WorldModel
from training.data.batch import Batch, make_batch
from training.data.dataset import Dataset, read_shard
from training.evaluation.held_out import load_split
from training.models.packing import new_training_model, store_initial_states
from training.ranks import SampleGenerator
from training.stages.representation import losses

CPU = torch.device("cpu")


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


# ---- shards ----------------------------------------------------------------------------------------------------------


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


def test_dreams_begin_where_episodes_do_or_else_where_uncut_play_does(tmp_path: Path) -> None:
    write_shard(tmp_path / "take_cover" / "train-00000.parquet", [3, 2])
    write_footage(tmp_path / "take_cover" / "train-a-00001.parquet", 2)
    write_footage(tmp_path / "take_cover" / "train-b-00002.parquet", 3, place="take_cover:MAP02")
    data = Dataset(tmp_path, ["take_cover"])
    assert np.flatnonzero(data.beginnings()).tolist() == [0, 3, 7]


# ---- losses ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy(root, "train", 0)
    return root


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
