"""The inverse dynamics model: labels of streams, decoding, files, augmentation, scores, its stage."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_frames
from toy_world import row

from doom_dream_env.game.recording import FREEDOOM, ShardWriter, compress_frame
from doom_dream_env.idm import IDM_PRESETS, InverseDynamics, Labels
from doom_dream_env.idm import model as idm_model
from doom_dream_env.idm.decoding import viterbi
from doom_dream_env.idm.labels import CHAINS, effective, from_chains, to_chains
from doom_dream_env.scenarios import BUTTONS, press
from training.config import IDMScoreConfig, IDMTrainingConfig
from training.data.augment import Augmentation, augment, mirrored
from training.data.dataset import Dataset
from training.data.key_windows import KeyWindow, KeyWindows
from training.data.own_motion import MotionWindows, own_motion
from training.engine.launch import launch
from training.evaluation.key_events import key_scores, match_events, persistence

LENGTH = 60  # steps of the toy episodes


@pytest.fixture(scope="module")
def model() -> InverseDynamics:
    torch.manual_seed(0)
    model = InverseDynamics(IDM_PRESETS["tiny"]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def same(one: Labels, two: Labels) -> bool:
    return all(
        np.allclose(getattr(one, field.name), getattr(two, field.name), atol=1e-4, equal_nan=True)
        for field in dataclasses.fields(Labels)
    )


# ---- labels ----------------------------------------------------------------------------------------------------------
def test_a_stream_has_the_labels_of_the_whole_whatever_its_chunks(model, monkeypatch) -> None:
    for name, value in (("BLOCK", 12), ("LAG", 6), ("FRAMES_AT_ONCE", 8)):
        monkeypatch.setattr(idm_model, name, value)
    frames = random_frames(50)
    whole = model.label(frames)
    assert len(whole) == 50
    assert whole.actions.any() and not whole.actions.all()
    for cuts in ([1, 2, 3, 30], [25], [0, 49]):
        parts = list(model.label_stream(np.split(frames, cuts)))
        assert same(whole, Labels.joined(parts))
    monkeypatch.setattr(idm_model, "BLOCK", 1000)
    assert same(whole, model.label(frames))


def test_a_step_depends_on_the_frames_before_and_after_it_and_on_none_far_away(model) -> None:
    frames = random_frames(40)
    whole = model.label(frames)
    margin = model.config.margin
    for near, changed in ((18, True), (21, True), (20 - margin - 2, False), (20 + margin + 2, False)):
        other = frames.copy()
        other[near] = 255 - other[near]
        difference = np.abs(model.label(other).play[20] - whole.play[20])
        assert (difference > 1e-6) == changed, near


@pytest.mark.parametrize("frames", [np.zeros((3, 60, 80, 3), np.uint8), np.zeros((3, 120, 160, 3), np.float32), None])
def test_frames_of_another_shape_or_type_are_refused_with_what_was_expected(model, frames) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \(T, 120, 160, 3\)"):
        model.label(frames)


def test_opposite_keys_cancel_and_speed_counts_with_a_move() -> None:
    both = press("TURN_LEFT", "TURN_RIGHT", "ATTACK", "SPEED")
    assert (effective(both) == press("ATTACK")).all()
    running = press("MOVE_BACKWARD", "SPEED")
    assert (effective(running) == running).all()
    every = np.array([press(name) for name in BUTTONS])
    assert (from_chains(to_chains(every)) == every).all()


def test_a_flicker_costs_more_than_it_is_worth_and_a_held_key_does_not() -> None:
    log_p = np.full((40, len(CHAINS), 3), np.log(0.1))
    log_p[..., 0] = np.log(0.8)
    log_p[10, 2] = np.log([0.3, 0.6, 0.1])  # one step of a little doubt
    log_p[20:30, 2] = np.log([0.3, 0.6, 0.1])  # ten of them
    assert (viterbi(log_p, [0.0] * 6)[:, 2] > 0).sum() == 11
    held = viterbi(log_p, [1.0] * 6)[:, 2]
    assert held[10] == 0
    assert (held[20:30] == 1).all() and held.sum() == 10


# ---- files -----------------------------------------------------------------------------------------------------------
def test_saved_weights_label_alike(model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = InverseDynamics.from_pretrained(tmp_path)
    assert again.config == model.config
    frames = random_frames(12)
    assert np.allclose(again.label(frames).play, model.label(frames).play, atol=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "idm.safetensors"]


def test_damaged_and_foreign_files_are_named(model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        InverseDynamics.from_pretrained(tmp_path / "nothing-here")
    model.save_pretrained(tmp_path)
    weights = tmp_path / "idm.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="idm.safetensors is damaged"):
        InverseDynamics.from_pretrained(tmp_path)
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"format_version": 99}, "format version 99"),
        ({"heads": 3}, "heads must divide"),
        ({"reach": 5}, "is not the one"),
        ({"extra": 1}, "extra is unknown"),
        ({"switch_costs": [0.0, 1.0]}, "switch_costs .*at least 6"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=message):
            InverseDynamics.from_pretrained(tmp_path)


# ---- data ------------------------------------------------------------------------------------------------------------
def write_play(path: Path, episodes: int = 2, seed: int = 0, tics: bool = False) -> None:
    """Episodes of turning and walking: a bright column that moves with the turns, on a floor that shows the step."""
    rng = np.random.default_rng(seed)
    shard = ShardWriter()
    for episode in range(episodes):
        angle = 0.0
        place = np.zeros(2)
        for t in range(LENGTH):
            action = press(*rng.choice(["TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD", "MOVE_LEFT"], 1))

            def seen(turned: float) -> np.ndarray:
                frame = np.full((120, 160, 3), 40, np.uint8)
                left = int(turned * 160 / 90) % 150
                frame[:100, left : left + 10] = 220
                return frame

            turn = 14.0 * (action[4] - float(action[5]))
            between = {"tics": [compress_frame(seen(angle + turn * tic / 4)) for tic in (1, 2, 3)]} if tics else {}
            columns = row(seen(angle), 10 * seed + episode, t, action=action, terminated=t == LENGTH - 1)
            columns |= {
                "pose": np.array([*place, 0.0, angle % 360], np.float32),
                "behaviour": ("random", "scripted")[episode % 2],
            }
            shard.add([], **columns, **between)
            way = np.radians(angle + turn / 2 + (90 if action[2] else 0))
            place = place + 33.0 * (action[0] + action[2]) * np.array([np.cos(way), np.sin(way)])
            angle += turn
    path.parent.mkdir(parents=True, exist_ok=True)
    shard.write(path, "freedoom", f"freedoom:{path.stem.split('-')[1]}", FREEDOOM)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("play")
    write_play(root / "freedoom" / "train-MAP01-00000.parquet", tics=True)
    write_play(root / "freedoom" / "train-E1M1-00000.parquet", seed=1)
    write_play(root / "freedoom" / "val-MAP12-00000.parquet", seed=2)
    return root


def test_own_motion_is_what_the_keys_did(play: Path) -> None:
    data = Dataset(play, ["freedoom"])
    motion = own_motion(data)
    pressed = data.actions.astype(float)
    expected = np.stack([pressed[:, 4] - pressed[:, 5], pressed[:, 0], pressed[:, 2] - pressed[:, 3]], 1)
    known = np.isfinite(motion[:, 0])
    assert (known == (np.arange(len(data)) != data.last)).all()
    assert np.allclose(motion[known], expected[known], atol=1e-4)


def test_windows_between_the_steps_show_other_frames_with_the_keys_of_most_of_each(play: Path) -> None:
    data = Dataset(play, ["freedoom"])
    windows = KeyWindows(data, 8, between_share=1.0)
    start = int(np.flatnonzero(data.place_names == "freedoom:MAP01")[0])
    rng = np.random.default_rng(0)
    drawn = [windows.window(start, rng) for _ in range(20)]
    plain = windows.window(start)
    assert any((window.frames != plain.frames).any() for window in drawn)
    assert {tuple(window.actions.flatten()) for window in drawn} == {
        tuple(data.actions[start : start + 8].flatten()),
        tuple(data.actions[start + 1 : start + 9].flatten()),
    }


def test_barred_maps_and_players_are_not_trained_on(play: Path) -> None:
    data = Dataset(play, ["freedoom"])
    for windows in (
        KeyWindows(data, 8, without=("MAP*", "scripted")),
        MotionWindows(data, 8, (0.01, 0.1), without=("MAP*", "scripted")),
    ):
        assert set(data.place_names[windows.starts]) == {"freedoom:E1M1"}
        assert set(data.behaviour[windows.starts]) == {"random"}
    with pytest.raises(ValueError, match="no episode of 8 steps is left"):
        KeyWindows(data, 8, without=("*",))


def a_window(length: int = 6) -> KeyWindow:
    frames = random_frames(length)
    actions = np.tile(press("TURN_LEFT", "MOVE_RIGHT"), (length, 1))
    ones = np.ones(length, np.float32)
    return KeyWindow(frames, actions, np.ones((length, 3), np.float32), ones, 0 * ones, ones)


def test_a_mirrored_window_turns_the_other_way_and_twice_mirrored_is_itself() -> None:
    window = a_window()
    other = mirrored(window)
    assert (other.actions == press("TURN_RIGHT", "MOVE_LEFT")).all()
    assert other.motion[0].tolist() == [-1, 1, -1]
    assert (mirrored(other).frames == window.frames).all()


def test_every_look_keeps_shape_and_keys_and_menus_are_no_play() -> None:
    window = a_window()
    names = [name.name for name in dataclasses.fields(Augmentation) if name.name.endswith("_share")]
    never = Augmentation(**dict.fromkeys(names, 0.0))
    assert (augment(window, never, np.random.default_rng(0)).frames == window.frames).all()
    for name in set(names) - {"mirror_share", "between_share"}:
        settings = dataclasses.replace(never, **{name: 1.0})
        looks = [augment(window, settings, np.random.default_rng(seed)) for seed in range(6)]
        assert all(look.frames.shape == window.frames.shape and look.frames.dtype == np.uint8 for look in looks)
        assert any((look.frames != window.frames).any() for look in looks), name
        assert all((look.actions == window.actions).all() for look in looks)
        assert (min(look.play.min() for look in looks) == 0) == (name == "menu_share")
        assert np.isnan(looks[0].health).all() == (name == "no_hud_share") or name == "menu_share"


# ---- scores ----------------------------------------------------------------------------------------------------------
def test_an_event_is_found_within_a_step_and_once() -> None:
    true = np.zeros((30, 9), np.uint8)
    true[10:20, 0] = 1
    late = np.roll(true, 1, 0)
    later = np.roll(true, 2, 0)
    assert match_events(true, late)[:, 0].tolist() == [2, 2, 2]
    assert match_events(true, later)[:, 0].tolist() == [0, 2, 2]
    flicker = true.copy()
    flicker[12, 0] = 0
    assert match_events(true, flicker)[:, 0].tolist() == [2, 2, 4]


def test_whoever_holds_what_was_pressed_finds_few_events_and_whoever_knows_finds_all() -> None:
    rng = np.random.default_rng(0)
    held = np.repeat((rng.random((150, 9)) < 0.3).astype(np.uint8), 8, 0)
    perfect = key_scores([held], [held])
    stale = key_scores([held], persistence([held]))
    assert perfect.mean_f1 == perfect.accuracy == perfect.accuracy_of_all == 1.0
    assert stale.mean_f1 < 0.05
    assert stale.accuracy > 0.5
    assert "USE" not in perfect.in_use and "SPEED" in perfect.in_use


# ---- stage -----------------------------------------------------------------------------------------------------------
def test_the_stage_learns_writes_weights_and_they_are_scored(
    play: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    config = IDMTrainingConfig(
        data=play, out=tmp_path / "idm", preset="tiny", steps=8, batch=2, threads=1, device="cpu"
    )
    for name, value in {"WINDOW": 8, "MOTION_STEPS": 4, "MOTION_BATCH": 4, "MOTION_WINDOW": 12}.items():
        monkeypatch.setattr(f"training.stages.idm.{name}", value)
    monkeypatch.setattr("training.engine.fit.CHECKPOINT_EVERY", 4)
    launch(config)
    weights = tmp_path / "idm" / "weights"
    assert len(InverseDynamics.from_pretrained(weights).config.switch_costs) == len(CHAINS)
    score = IDMScoreConfig(weights=weights, data=play, split="val", out=tmp_path / "score", threads=1, device="cpu")
    launch(score)
    scores = json.loads((tmp_path / "score" / "scores.json").read_text())
    assert set(scores) == {"all", "map MAP12", "player random", "player scripted", "look recorded"}
    assert scores["all"]["steps"] == 2 * LENGTH
    assert (tmp_path / "score" / "scores.md").read_text() in capsys.readouterr().out
    with pytest.raises(SystemExit):
        launch(dataclasses.replace(score, maps=("MAP31",)))
    assert "nothing to score" in capsys.readouterr().err
