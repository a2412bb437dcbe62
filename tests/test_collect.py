"""Promises of the collector and its players: same seed, same data; a killed run goes on; nothing zeroed is stored.

Real ViZDoom at toy size.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import ROOT

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import BUTTONS, SCENARIOS, VARIABLES, get_scenario, press, shipped_wad
from doom_dream_env.shards import CODEC, FRAME_BYTES
from training import collect
from training.collect import EPISODES_PER_SHARD, SEEDS, Job, collect_shard, parse_mix
from training.dataset import Dataset, read_shard
from training.players import BEHAVIOURS, TEACHERS, BlindSweep, RandomPlayer, Relay, make_player, random_action
from training.world_model import make_batch

STEPS = 12  # a shard ends after the first episode


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shards of one episode, played in this process."""
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", STEPS)
    monkeypatch.setattr(collect, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(1))
    yield
    for game in collect._games.values():
        game.close()
    collect._games.clear()


def job(folder: Path, scenario: str = "take_cover", split: str = "train", index: int = 0, mix: str = "random", tics: bool = False) -> Job:
    return Job(SCENARIOS[scenario], split, index, parse_mix(mix), folder / f"{scenario}-{split}-{index:05d}.parquet", tics)


def decoded(table: pa.Table) -> np.ndarray:
    """All frames of a shard, (N, 120, 160, 3)."""
    blobs = table["frame"].to_pylist()
    return np.stack([np.frombuffer(CODEC.decompress(blob, FRAME_BYTES), np.uint8).reshape(120, 160, 3) for blob in blobs])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_shard_holds_whole_episodes_as_the_game_played_them(small: None, tmp_path: Path, scenario: str) -> None:
    work, seed = job(tmp_path, scenario, index=1), EPISODES_PER_SHARD
    steps = collect_shard(work)
    table = read_shard(work.path)
    assert steps == len(table) >= STEPS
    terminated, truncated = table["terminated"].to_numpy(), table["truncated"].to_numpy()
    assert not (terminated & truncated).any()
    assert (terminated | truncated).tolist() == [False] * (len(table) - 1) + [True], "an episode is not whole"
    frames = decoded(table)
    assert (frames.reshape(len(frames), -1).mean(1) > 5).all(), "a zeroed frame was stored"
    assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) > len(frames) / 2
    actions = table["action"].combine_chunks().flatten().to_numpy().reshape(-1, len(BUTTONS))
    if SCENARIOS[scenario].discrete:
        assert {tuple(action) for action in actions} <= {tuple(row) for row in SCENARIOS[scenario].action_table()}
    else:
        assert actions.sum(1).max() > 1, "free play presses several buttons at once"
    now, after = (table[k].combine_chunks().flatten().to_numpy().reshape(-1, len(VARIABLES)) for k in ("variables", "next_variables"))
    assert np.array_equal(now[1:], after[:-1]), "variables after a step are not those before the next one"
    mask = SCENARIOS[scenario].variable_mask()
    assert np.all(now[:, ~mask] == 0) and (not mask[0] or 90 < now[0, 0] <= 100)
    assert set(table["episode"].to_pylist()) == {seed} and set(table["behaviour"].to_pylist()) == {"random"}
    assert sum(table["objects"].combine_chunks().value_lengths().to_pylist()) > 0

    # replay: frame[t], then action[t], then reward[t] and frame[t + 1]
    game = Game(SCENARIOS[scenario])
    game.reset(seed)
    for t in range(len(table) - 1):
        assert np.array_equal(game.frame, frames[t]), f"frame {t} is not the one the action of step {t} follows"
        reward, *_ = game.step(actions[t])
        assert np.float32(reward) == np.float32(table["reward"][t].as_py())
    game.close()


@pytest.mark.parametrize("mix", ["random", "noisy"])
def test_the_same_seed_gives_the_same_data(small: None, tmp_path: Path, mix: str) -> None:
    first, again, other = job(tmp_path / "a", mix=mix), job(tmp_path / "b", mix=mix), job(tmp_path / "c", index=1, mix=mix)
    for work in (first, other, again):  # another shard in between changes nothing
        work.path.parent.mkdir()
        collect_shard(work)
    assert first.path.read_bytes() == again.path.read_bytes()
    assert not np.array_equal(decoded(read_shard(first.path))[:STEPS], decoded(read_shard(other.path))[:STEPS])


@pytest.mark.parametrize("split", SEEDS)
def test_every_split_keeps_to_its_own_seeds(small: None, tmp_path: Path, split: str) -> None:
    low, high = SEEDS[split]
    work = job(tmp_path, split=split, index=2)
    collect_shard(work)
    assert set(read_shard(work.path)["episode"].to_pylist()) == {low + 2 * EPISODES_PER_SHARD}
    beyond = job(tmp_path, split=split, index=(high - low) // EPISODES_PER_SHARD)
    with pytest.raises(ValueError, match=f"beyond {high} of split '{split}'"):
        collect_shard(beyond)
    assert not beyond.path.exists()


def test_the_splits_share_no_seed_and_leave_the_last_to_nobody() -> None:
    assert sorted(SEEDS.values()) == [(0, 50_000), (50_000, 60_000), (60_000, 90_000)]


def test_tics_between_two_steps_are_stored_on_demand(small: None, tmp_path: Path) -> None:
    plain, fine = job(tmp_path / "plain"), job(tmp_path / "fine", tics=True)
    for work in (plain, fine):
        work.path.parent.mkdir()
        collect_shard(work)
    left, right = read_shard(plain.path), read_shard(fine.path)
    assert "tics" not in left.column_names
    assert all(len(tics) == 3 for tics in right["tics"].to_pylist()[:-1])
    assert np.array_equal(decoded(left)[:5], decoded(right)[:5]), "four steps of a tic are not one step of four"


def test_collecting_again_keeps_what_is_there_and_makes_what_is_not(small: None, tmp_path: Path) -> None:
    steps = 3 * STEPS
    new = collect.collect(tmp_path, ["take_cover"], "train", steps, "random")
    shards = sorted((tmp_path / "take_cover").iterdir())
    assert [path.name for path in shards] == [f"train-{i:05d}.parquet" for i in range(3)]
    assert new == len(Dataset(tmp_path, ["take_cover"])) >= steps
    assert collect.collect(tmp_path, ["take_cover"], "train", steps, "random") == 0

    contents, times = [p.read_bytes() for p in shards], [p.stat().st_mtime_ns for p in shards]
    shards[1].rename(shards[1].with_suffix(".partial"))  # as a killed run leaves it, but for its length
    others = tmp_path / "take_cover" / "val-00000.partial"
    others.write_bytes(b"another collector is at work on this")
    collect.collect(tmp_path, ["take_cover"], "train", steps, "random")
    assert [p.read_bytes() for p in shards] == contents, "the shard made anew differs"
    assert [p.stat().st_mtime_ns for p in shards][::2] == times[::2], "a finished shard was touched"
    assert sorted((tmp_path / "take_cover").iterdir()) == [*shards, others]


def test_a_shard_that_fails_is_reported_and_the_others_stay(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = collect.ShardWriter.write

    def unlucky(self: collect.ShardWriter, path: Path, scenario: str, starts: str) -> None:
        if path.name == "train-00001.parquet":
            raise OSError(28, f"could not write {path}: No space left on device")
        write(self, path, scenario, starts)

    monkeypatch.setattr(collect.ShardWriter, "write", unlucky)
    with pytest.raises(OSError, match="train-00001.parquet"):
        collect.collect(tmp_path, ["take_cover"], "train", 2 * STEPS, "random")
    assert [p.name for p in (tmp_path / "take_cover").iterdir()] == ["train-00000.parquet"]
    monkeypatch.undo()


def test_the_mix_is_kept_in_steps(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", 1500)
    steps: dict[str, int] = {}
    for index in range(2):
        work = job(tmp_path, "health_gathering", index=index, mix="random=0.75,sweep=0.25")
        collect_shard(work)
        for name in read_shard(work.path)["behaviour"].to_pylist():
            steps[name] = steps.get(name, 0) + 1
    assert steps["random"] / sum(steps.values()) == pytest.approx(0.75, abs=0.2)


def test_mix_is_parsed_and_its_mistakes_named() -> None:
    assert parse_mix("random=0.5, runs/agent=2,sweep") == (("random", 0.5), ("runs/agent", 2.0), ("sweep", 1.0))
    with pytest.raises(ValueError, match="random=lots.*expected name=weight"):
        parse_mix("random=lots")


@pytest.mark.slow
def test_a_killed_collector_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.collect", "--out", str(tmp_path), "--scenarios", "take_cover", "--steps", "4500",
               "--workers", "1", "--mix", "random"]  # fmt: skip
    first, folder = tmp_path / "take_cover" / "train-00000.parquet", tmp_path / "take_cover"
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    try:  # its worker and the worker's game, a process group of their own, follow it
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("a killed collector left processes behind")
    except ProcessLookupError:
        pass
    assert first.exists() and len(list(folder.glob("*.parquet"))) < 3
    before = first.stat().st_mtime_ns
    (folder / "train-00001.partial").write_bytes(b"half")
    subprocess.run(command, cwd=ROOT, check=True, timeout=500, stderr=subprocess.DEVNULL)
    assert sorted(p.name for p in folder.iterdir()) == [f"train-{i:05d}.parquet" for i in range(3)]
    assert first.stat().st_mtime_ns == before
    assert len(Dataset(tmp_path, ["take_cover"])) >= 4500


# ---- the game ----------------------------------------------------------------------------------------------------------


def test_frames_are_rgb_not_bgr() -> None:
    """Against ViZDoom's own planes: CRCGCB is red, green, blue, one after the other."""
    import vizdoom as vzd

    game = Game(SCENARIOS["health_gathering"])
    game.reset(3)
    planes = vzd.DoomGame()
    planes.load_config(os.path.join(vzd.scenarios_path, "health_gathering.cfg"))
    planes.set_screen_resolution(vzd.ScreenResolution.RES_160X120)
    planes.set_screen_format(vzd.ScreenFormat.CRCGCB)
    planes.set_window_visible(False)
    planes.set_seed(3)
    planes.init()
    planes.set_seed(3)
    planes.new_episode()
    expected = np.moveaxis(planes.get_state().screen_buffer, 0, -1)
    assert np.array_equal(game.frame, expected) and not np.array_equal(game.frame, expected[..., ::-1])
    game.close()
    planes.close()


def test_engines_that_start_together_find_their_folder_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to make it themselves, one of them now and then dies of the other having been quicker."""
    import vizdoom as vzd

    found = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vzd.DoomGame, "init", lambda game: found.append(Path("_vizdoom").is_dir()))
    for _ in range(2):
        Game(SCENARIOS["basic"])
    assert found == [True, True]
    (tmp_path / "_vizdoom").rmdir()
    (tmp_path / "_vizdoom").write_text("in the way")
    with pytest.raises(OSError, match="start from a folder that can be written"):
        Game(SCENARIOS["basic"])


def test_an_ended_game_keeps_its_last_frame_and_tells_the_final_variables() -> None:
    game = Game(SCENARIOS["health_gathering"])
    game.reset(0)
    ended, frame = False, game.frame
    while not ended:
        frame = game.frame.copy()
        reward, terminated, truncated = game.step(np.zeros(9))
        ended = terminated or truncated
    assert terminated and not truncated and reward < -90
    assert np.array_equal(game.frame, frame) and game.frame.any()
    assert game.variables[0] <= 0 and game.variables[1] == 0
    game.close()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_players_whole_life_ends_by_time_at_the_declared_limit(scenario: str) -> None:
    """Every real scenario truncates at `time_limit`, whatever its own configuration says about time."""
    spec = SCENARIOS[scenario]
    game, limits = Game(spec, privileged=True), set()
    for seed in range(6):
        player = TEACHERS[scenario](spec, np.random.default_rng(seed))
        game.reset(70_000 + seed)
        steps, ended = 0, False
        while not ended:
            _, terminated, truncated = game.step(player(game))
            assert not (terminated and truncated)
            steps, ended = steps + 1, terminated or truncated
        assert steps <= spec.time_limit
        limits |= {steps} if truncated else set()
    game.close()
    assert limits <= {spec.time_limit}


# ---- free play, and worlds of the user's own ----


def test_free_play_goes_where_it_is_told(small: None, tmp_path: Path) -> None:
    collect.collect(tmp_path, ["freedoom"], "train", 1, "random", maps=["MAP02", "E1M1"])
    starts = {json.loads(read_shard(f).schema.metadata[b"doom_dream_env"])["starts"] for f in (tmp_path / "freedoom").iterdir()}
    assert starts == {"freedoom:MAP02", "freedoom:E1M1"}
    assert set(Dataset(tmp_path, ["freedoom"]).starts) == starts
    frames = []
    for name in ("MAP02", "E1M1"):
        game = Game(get_scenario("freedoom", map=name))
        game.reset(1)
        frames.append(game.frame)
        game.close()
    assert (frames[0] != frames[1]).mean() > 0.3, "two maps look the same"


def test_a_wad_of_ones_own_is_played_as_a_whole_game_or_as_an_addition(tmp_path: Path) -> None:
    own = tmp_path / "own.wad"
    own.symlink_to(shipped_wad("MAP01"))
    world = get_scenario("freedoom", wad=own)
    assert (world.map, world.starts) == ("MAP01", "freedoom:freedoom2:MAP01")
    game = Game(world)
    game.reset(1)
    assert game.frame.any() and game.variables[0] == 100
    game.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "only 0 bytes"), (b"ZIP!" + bytes(20), "begins with"), (b"PWAD" + bytes([9, 0, 0, 0, 12, 0, 0, 0]), "cut off")],
)
def test_what_is_no_wad_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.wad"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        get_scenario("freedoom", wad=path)
    assert "broken.wad" in str(error.value)


def test_maps_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no map 'MAP99'; it has MAP01, MAP02"):
        get_scenario("freedoom", map="MAP99")
    with pytest.raises(ValueError, match="map of its own"):
        get_scenario("take_cover", map="MAP01")
    with pytest.raises(ValueError, match="cannot read the WAD"):
        get_scenario("freedoom", wad="/nowhere/doom2.wad")


def test_a_configuration_of_ones_own_is_a_world(small: None, tmp_path: Path) -> None:
    import vizdoom

    own = tmp_path / "my_basic.cfg"  # ViZDoom looks for the WAD beside it
    own.write_text((Path(vizdoom.scenarios_path) / "basic.cfg").read_text())
    (tmp_path / "basic.wad").symlink_to(Path(vizdoom.scenarios_path) / "basic.wad")
    world = get_scenario(own)
    assert (world.name, world.buttons, world.variables) == ("my_basic", SCENARIOS["basic"].buttons, ("AMMO2",))
    assert world.time_limit == SCENARIOS["basic"].time_limit
    collect.collect(tmp_path / "data", [str(own)], "train", 1, "random")
    assert len(Dataset(tmp_path / "data", [str(own)])) > 0
    own.write_text("available_buttons = { SELECT_WEAPON1 }")
    with pytest.raises(ValueError, match="none of the buttons"):
        get_scenario(own)
    with pytest.raises(ValueError, match="no configuration"):
        get_scenario(tmp_path / "missing.cfg")


def test_a_collector_leaves_no_game_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.collect", "--out", str(tmp_path), "--scenarios", "basic", "--steps", "1", "--mix", "random"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)  # a game left behind would hold the pipe open
    assert done.returncode == 0, done.stderr[-2000:]


# ---- players -----------------------------------------------------------------------------------------------------------


def test_press_names_buttons_and_random_play_stays_within_the_world() -> None:
    assert press().tolist() == [0] * 9 and np.flatnonzero(press("ATTACK", "USE")).tolist() == [6, 7]
    dice = np.random.default_rng(0)
    for spec in SCENARIOS.values():
        drawn = {random_action(spec, dice).tobytes() for _ in range(300)}
        assert (drawn == {row.tobytes() for row in spec.action_table()}) if spec.discrete else len(drawn) > 30, spec.name


def test_random_and_sweeping_players_do_as_they_say() -> None:
    spec = SCENARIOS["take_cover"]
    player = RandomPlayer(spec, np.random.default_rng(0), hold=4)
    played = np.array([player(None) @ (0, 0, 1, 2, 0, 0, 0, 0, 0) for _ in range(3000)])  # type: ignore[arg-type]
    assert np.bincount(played, minlength=3) == pytest.approx([1000] * 3, abs=200)
    runs = np.diff(np.flatnonzero(np.r_[True, played[1:] != played[:-1], True]))
    assert 2.5 < runs.mean() < 5  # holds of 2.5 steps on average, a third of them repeated
    left, right = press("MOVE_LEFT"), press("MOVE_RIGHT")
    sweep = BlindSweep((left, right), (3, 2))
    assert [sweep(None) is left for _ in range(7)] == [True, True, True, False, False, True, True]  # type: ignore[arg-type]
    dice = np.random.default_rng(0)
    drawn = [BlindSweep.random(spec, dice) for _ in range(200)]
    same = np.mean([np.array_equal(*sweep.actions) for sweep in drawn])
    assert 0.2 < same < 0.5 and min(min(sweep.steps) for sweep in drawn) >= 2  # a third do the same all the time


def test_a_relay_is_recorded_from_shortly_before_it_stops_looking(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", 150)
    (tmp_path / "take_cover").mkdir()
    work = Job(SCENARIOS["take_cover"], "train", 0, parse_mix("relay=1"), tmp_path / "take_cover" / "train-00000.parquet")
    collect_shard(work)
    data = Dataset(tmp_path, ["take_cover"], "train")
    firsts = np.unique(data.first)
    seeds, ages = read_shard(work.path)["episode"].to_numpy()[firsts], data.age[firsts]
    for seed, age in zip(seeds.tolist(), ages.tolist(), strict=True):
        player = make_player("relay", SCENARIOS["take_cover"], np.random.default_rng(seed))
        assert isinstance(player, Relay) and age == max(0, player.change - 16)
    assert ages.max() > 0 and len(firsts) > 1, "every episode is recorded from its beginning"
    at = np.arange(len(data))
    np.testing.assert_array_equal(data.age, data.age[data.first] + at - data.first)
    trained = make_batch(data, firsts, 5, torch.device("cpu"), frames=False)
    assert trained.age.tolist() == ages.tolist(), "the clock of a window begins at its first recorded row"


def test_an_unknown_behaviour_lists_the_known() -> None:
    with pytest.raises(ValueError) as error:
        make_player("brave", SCENARIOS["take_cover"], np.random.default_rng(0))
    assert "brave" in str(error.value) and all(name in str(error.value) for name in BEHAVIOURS)


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "margin"), [("take_cover", 400), ("defend_the_center", 5), ("health_gathering", 300)])
def test_scripted_players_beat_random_ones_by_far(scenario: str, margin: float) -> None:
    spec, episodes = SCENARIOS[scenario], 6
    game, returns = Game(spec, privileged=True), {}
    for behaviour in ("random", "scripted"):
        returns[behaviour] = []
        for seed in range(70_100, 70_100 + episodes):
            player = make_player(behaviour, spec, np.random.default_rng(seed))
            game.reset(seed)
            total, ended = 0.0, False
            while not ended:
                reward, terminated, truncated = game.step(player(game))
                total, ended = total + reward, terminated or truncated
            returns[behaviour].append(total)
    game.close()
    assert np.mean(returns["scripted"]) > np.mean(returns["random"]) + margin, returns
