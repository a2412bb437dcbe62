"""Promises of recorded play: a person's episodes are data like the collector's, nothing is lost, nothing overwritten.

Real ViZDoom; a fixed rule is the person.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_world import write_shard

from doom_dream_env.game import recording
from doom_dream_env.game.game import Game
from doom_dream_env.game.recording import FREEDOOM, Origin
from doom_dream_env.play import human
from doom_dream_env.play.human import HumanRecorder
from doom_dream_env.scenarios import SCENARIOS, get_scenario, press
from training.config import DynamicsConfig
from training.data import collect
from training.data.batch import make_batch
from training.data.collect import Job, collect_shard
from training.data.dataset import Dataset, read_shard
from training.stages.dynamics import chosen_rows

SCENARIO = SCENARIOS["take_cover"]


@pytest.fixture(scope="module")
def game() -> Iterator[Game]:
    game = Game(SCENARIO, privileged=True)
    yield game
    game.close()


def keys(t: int) -> np.ndarray:
    """What the person presses at step t: three steps left, three right, and always USE, which take_cover has not."""
    return press("MOVE_LEFT" if t // 3 % 2 else "MOVE_RIGHT", "USE")


def play(recorder: HumanRecorder, seed: int, steps: int = 10**6) -> tuple[list[np.ndarray], list[float], bool]:
    """An episode, or its first steps: the frame before every step, its reward, whether it has ended."""
    recorder.begin(seed)
    frames = []
    rewards = []
    ended = False
    while not ended and len(rewards) < steps:
        frames.append(recorder.game.frame)
        reward, terminated, truncated = recorder.step(keys(len(rewards)))
        rewards.append(reward)
        ended = terminated or truncated
    return frames, rewards, ended


def test_two_episodes_are_recorded_as_they_were_played(game: Game, tmp_path: Path) -> None:
    recorder = HumanRecorder(tmp_path, SCENARIO, game)
    episodes = [play(recorder, seed) for seed in (7, 8)]
    recorder.close()
    recorder.close()
    written = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")]
    assert written == ["take_cover/train-human-00000.parquet"]
    data = Dataset(tmp_path, ["take_cover"])
    lengths = [len(rewards) for _, rewards, _ in episodes]
    assert len(data) == sum(lengths) and min(lengths) > 10 and set(data.behaviour) == {"human"}
    assert np.array_equal(data.frames(np.arange(len(data))), np.concatenate([frames for frames, _, _ in episodes]))
    assert np.array_equal(data.rewards, np.concatenate([rewards for _, rewards, _ in episodes]))
    steps = np.concatenate([np.arange(length) for length in lengths])
    assert np.array_equal(data.elapsed, steps)
    pressed = np.stack([keys(t) for t in steps]) * (press("USE") == 0)
    assert np.array_equal(data.actions, pressed), "a button that the scenario lacks is recorded"
    assert np.flatnonzero(data.terminated).tolist() == [lengths[0] - 1, sum(lengths) - 1] and not data.truncated.any()
    assert (data.next_variables[data.terminated, 0] == 0).all() and data.object_maps.any()


def test_it_is_what_the_collector_records(game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tic by tic or four at once: the same rows in the same columns."""
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", 1)
    monkeypatch.setattr(collect, "_games", {SCENARIO: game})
    collect_shard(Job(SCENARIO, "train", 1, {"alternating": 1.0}, tmp_path / "collected.parquet", FREEDOOM))
    collected = read_shard(tmp_path / "collected.parquet").to_pydict()
    recorder = HumanRecorder(tmp_path, SCENARIO, game)
    recorder.begin(collected["episode"][0])
    for action in collected["action"]:
        recorder.step(action)
    recorder.close()
    recorded = read_shard(tmp_path / "take_cover" / "train-human-00000.parquet").to_pydict()
    assert set(recorded.pop("behaviour")) == {"human"} and set(collected.pop("behaviour")) == {"alternating"}
    assert recorded == collected


def test_a_licence_that_is_said_later_is_that_of_all_that_was_recorded_of_the_wad(
    game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "ViZDoom with mine.wad"
    monkeypatch.setattr(recording, "game_origin", lambda scenario, licence=None: Origin(source, licence))
    other = tmp_path / "take_cover" / "train-human-00000.parquet"
    write_shard(other, [3])
    recording.state_origin(other, Origin("another"))
    for licence in (None, "cc-by-4.0"):
        recorder = HumanRecorder(tmp_path, SCENARIO, game, licence)
        play(recorder, 7, steps=2)
        recorder.close()
    origins = [recording.read_origin(path) for path in sorted(other.parent.iterdir())]
    assert origins == [Origin("another"), *[Origin(source, "cc-by-4.0")] * 2]


def test_an_episode_that_is_left_is_kept_and_simply_stops(game: Game, tmp_path: Path) -> None:
    recorder = HumanRecorder(tmp_path, SCENARIO, game)
    left = play(recorder, 7, steps=6)
    recorder.tic(press())  # of a step that is never finished
    other = play(recorder, 8, steps=5)
    recorder.close()
    data = Dataset(tmp_path, ["take_cover"])
    assert np.array_equal(data.frames(np.arange(11)), left[0] + other[0])
    assert np.array_equal(data.rewards, left[1] + other[1])
    assert data.elapsed.tolist() == [*range(6), *range(5)] and not (data.terminated | data.truncated).any()
    assert data.windows(5).tolist() == [0, 1, 6]
    batch = make_batch(data, np.array([3]), 5, torch.device("cpu"), frames=False)
    assert batch.valid.tolist() == [[1, 1, 1, 0, 0]] and batch.follows.tolist() == [[1, 1, 0, 0]]
    assert not batch.terminated.any()


def test_a_later_session_appends(game: Game, tmp_path: Path) -> None:
    for seed in (1, 2):
        recorder = HumanRecorder(tmp_path, SCENARIO, game)
        play(recorder, seed, steps=3)
        recorder.close()
        if seed == 1:
            before = (tmp_path / "take_cover" / "train-human-00000.parquet").read_bytes()
    files = sorted((tmp_path / "take_cover").iterdir())
    assert [path.name for path in files] == ["train-human-00000.parquet", "train-human-00001.parquet"]
    assert files[0].read_bytes() == before and set(read_shard(files[1])["episode"].to_pylist()) == {2}
    HumanRecorder(tmp_path, SCENARIO, game).close()
    assert sorted((tmp_path / "take_cover").iterdir()) == files, "a session without a step left something"


def test_a_killed_program_loses_no_more_than_a_minute(
    game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody calls `close` here."""
    recorder = HumanRecorder(tmp_path, SCENARIO, game)
    _, rewards, ended = play(recorder, 7)
    (shard,) = (tmp_path / "take_cover").iterdir()
    assert ended and len(read_shard(shard)) == len(rewards), "an episode that has ended is not on the disk"
    monkeypatch.setattr(human, "LOSS", 5 * SCENARIO.seconds_per_step)
    play(recorder, 8, steps=13)
    assert len(read_shard(shard)) == len(rewards) + 10, "of a long episode, all but the last minute"
    recorder.begin(9)
    assert len(read_shard(shard)) == len(rewards) + 13, "an episode that was left"
    assert list((tmp_path / "take_cover").iterdir()) == [shard]
    assert Dataset(tmp_path, ["take_cover"]).elapsed[-13:].tolist() == list(range(13))


def test_free_play_is_named_after_its_map(tmp_path: Path) -> None:
    scenario = get_scenario("freedoom", map="MAP02")
    game = Game(scenario, privileged=True)
    recorder = HumanRecorder(tmp_path, scenario, game)
    recorder.begin(0)
    recorder.step(press("MOVE_FORWARD", "SPEED"))
    recorder.close()
    game.close()
    path = tmp_path / "freedoom" / "train-human-MAP02-00000.parquet"
    assert json.loads(read_shard(path).schema.metadata[b"doom_dream_env"])["place"] == "freedoom:MAP02"
    assert Dataset(tmp_path, ["freedoom"]).actions.tolist() == [press("MOVE_FORWARD", "SPEED").tolist()]


def test_recorded_play_is_new_whatever_training_has_seen(game: Game, tmp_path: Path) -> None:
    for seed in (1, 2):
        recorder = HumanRecorder(tmp_path, SCENARIO, game)
        play(recorder, seed, steps=3)
        recorder.close()
    data = Dataset(tmp_path, ["take_cover"])
    seen = DynamicsConfig(seen_shards={"take_cover": 2}, scripted_share={"take_cover": 0.0})
    assert chosen_rows(data, seen).tolist() == list(range(6))
    data.behaviour = np.full(len(data), "random")
    assert chosen_rows(data, DynamicsConfig(seen_shards={"take_cover": 2})).tolist() == [0, 1, 2]


def test_what_cannot_be_recorded_is_said_at_once(game: Game, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=f"cannot record in {tmp_path}/file/take_cover: "):
        HumanRecorder(tmp_path / "file", SCENARIO, game)
    recorder = HumanRecorder(tmp_path, SCENARIO, game)
    for seed in (50_000, -1):
        with pytest.raises(ValueError, match=f"0 to 49999, not {seed}"):
            recorder.begin(seed)
    with pytest.raises(RuntimeError, match=r"call begin\(seed\)"):
        recorder.step(keys(0))
