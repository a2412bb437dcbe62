"""Promises of the collector: same seed, same data; a killed run goes on; nothing zeroed is stored.

Real ViZDoom at toy size; on a Ray cluster, the same bytes as here, also when a node is lost.
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
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import ROOT

from doom_dream_env.game.game import Game
from doom_dream_env.game.recording import FREEDOOM, decompress_frame
from doom_dream_env.scenarios import BUTTONS, SCENARIOS, VARIABLES, get_scenario
from doom_dream_env.seeds import SPLITS
from training.config import CollectConfig, Split
from training.data import collect
from training.data.batch import make_batch
from training.data.collect import EPISODES_PER_SHARD, Job, collect_shard, plan_jobs
from training.data.dataset import Dataset, read_shard
from training.players.handover import HandoverPlayer
from training.players.roster import make_player

STEPS = 12  # a shard ends after the first episode
RANDOM = {"random": 1.0}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shards of one episode, played in this process."""
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", STEPS)
    monkeypatch.setattr(collect, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(1))
    yield
    collect._close_games()


def job(
    folder: Path,
    scenario: str = "take_cover",
    split: Split = "train",
    index: int = 0,
    behaviour: str = "random",
    tics: bool = False,
) -> Job:
    path = folder / f"{scenario}-{split}-{index:05d}.parquet"
    return Job(SCENARIOS[scenario], split, index, {behaviour: 1.0}, path, FREEDOOM, tics)


def config(out: Path, steps: int, **settings: Any) -> CollectConfig:
    chosen: dict[str, Any] = {"scenarios": ("take_cover",), "mix": RANDOM}
    return CollectConfig(out=out, steps=steps, **(chosen | settings))


def decoded(table: pa.Table) -> np.ndarray:
    """All frames of a shard, (N, 120, 160, 3)."""
    return np.stack([decompress_frame(block) for block in table["frame"].to_pylist()])


def matrix(table: pa.Table, column: str, width: int) -> np.ndarray:
    return table[column].combine_chunks().flatten().to_numpy().reshape(-1, width)


# ---- shards ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_shard_holds_whole_episodes_as_the_game_played_them(small: None, tmp_path: Path, scenario: str) -> None:
    work = job(tmp_path, scenario, index=1)
    seed = EPISODES_PER_SHARD
    steps = collect_shard(work)
    table = read_shard(work.path)
    assert steps == len(table) >= STEPS
    terminated = table["terminated"].to_numpy()
    truncated = table["truncated"].to_numpy()
    assert not (terminated & truncated).any()
    assert (terminated | truncated).tolist() == [False] * (len(table) - 1) + [True], "an episode is not whole"
    assert table["elapsed"].to_pylist() == list(range(len(table)))
    frames = decoded(table)
    assert (frames.reshape(len(frames), -1).mean(1) > 5).all(), "a zeroed frame was stored"
    assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) > len(frames) / 2
    actions = matrix(table, "action", len(BUTTONS))
    if SCENARIOS[scenario].discrete:
        assert {tuple(action) for action in actions} <= {tuple(row) for row in SCENARIOS[scenario].action_table()}
    else:
        assert actions.sum(1).max() > 1, "free play presses several buttons at once"
    now = matrix(table, "variables", len(VARIABLES))
    after = matrix(table, "next_variables", len(VARIABLES))
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


@pytest.mark.parametrize("behaviour", ["random", "perturbed"])
def test_the_same_seed_gives_the_same_data(small: None, tmp_path: Path, behaviour: str) -> None:
    first = job(tmp_path / "a", behaviour=behaviour)
    again = job(tmp_path / "b", behaviour=behaviour)
    other = job(tmp_path / "c", index=1, behaviour=behaviour)
    for work in (first, other, again):  # another shard in between changes nothing
        work.path.parent.mkdir()
        collect_shard(work)
    assert first.path.read_bytes() == again.path.read_bytes()
    assert not np.array_equal(decoded(read_shard(first.path))[:STEPS], decoded(read_shard(other.path))[:STEPS])


def test_a_shard_does_not_depend_on_what_its_process_has_played_before(small: None, tmp_path: Path) -> None:
    """These two shards left the weapon a pixel aside in the next one's first frames."""
    work = job(tmp_path, "basic", index=2)
    collect_shard(work)
    from_a_new_engine = work.path.read_bytes()
    for before in (21, 22):
        collect_shard(job(tmp_path, "basic", index=before))
        collect_shard(work)
        assert work.path.read_bytes() == from_a_new_engine, f"it does after shard {before}"


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_keeps_to_its_own_seeds(small: None, tmp_path: Path, split: Split) -> None:
    seeds = SPLITS[split]
    work = job(tmp_path, split=split, index=2)
    collect_shard(work)
    assert set(read_shard(work.path)["episode"].to_pylist()) == {seeds.start + 2 * EPISODES_PER_SHARD}
    beyond = job(tmp_path, split=split, index=len(seeds) // EPISODES_PER_SHARD)
    with pytest.raises(ValueError, match=f"beyond {seeds.stop} of split '{split}'"):
        collect_shard(beyond)
    assert not beyond.path.exists()


def test_tics_between_two_steps_are_stored_on_demand(small: None, tmp_path: Path) -> None:
    plain = job(tmp_path / "plain")
    fine = job(tmp_path / "fine", tics=True)
    for work in (plain, fine):
        work.path.parent.mkdir()
        collect_shard(work)
    left = read_shard(plain.path)
    right = read_shard(fine.path)
    assert "tics" not in left.column_names
    assert all(len(tics) == 3 for tics in right["tics"].to_pylist()[:-1])
    assert np.array_equal(decoded(left)[:5], decoded(right)[:5]), "four steps of a tic are not one step of four"


def test_a_handover_is_recorded_from_shortly_before_it_stops_looking(
    small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", 150)
    scenario = SCENARIOS["take_cover"]
    (tmp_path / "take_cover").mkdir()
    work = Job(scenario, "train", 0, {"handover": 1.0}, tmp_path / "take_cover" / "train-00000.parquet", FREEDOOM)
    collect_shard(work)
    data = Dataset(tmp_path, ["take_cover"], "train")
    firsts = np.unique(data.first)
    seeds = read_shard(work.path)["episode"].to_numpy()[firsts]
    elapsed = data.elapsed[firsts]
    for seed, steps in zip(seeds.tolist(), elapsed.tolist(), strict=True):
        player = make_player("handover", scenario, np.random.default_rng(seed))
        assert isinstance(player, HandoverPlayer) and steps == max(0, player.change - 16)
    assert elapsed.max() > 0 and len(firsts) > 1, "every episode is recorded from its beginning"
    rows = np.arange(len(data))
    np.testing.assert_array_equal(data.elapsed, data.elapsed[data.first] + rows - data.first)
    trained = make_batch(data, firsts, 5, torch.device("cpu"), frames=False)
    assert trained.elapsed.tolist() == elapsed.tolist(), "the clock of a window begins at its first recorded row"


# ---- who plays -------------------------------------------------------------------------------------------------------
def test_the_mix_is_kept_in_steps(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "STEPS_PER_SHARD", 1500)
    steps: dict[str, int] = {}
    for index in range(2):
        path = tmp_path / f"{index}.parquet"
        mix = {"random": 0.75, "alternating": 0.25}
        collect_shard(Job(SCENARIOS["health_gathering"], "train", index, mix, path, FREEDOOM))
        for name in read_shard(path)["behaviour"].to_pylist():
            steps[name] = steps.get(name, 0) + 1
    assert steps["random"] / sum(steps.values()) == pytest.approx(0.75, abs=0.2)


# ---- going on --------------------------------------------------------------------------------------------------------
def test_collecting_again_keeps_what_is_there_and_makes_what_is_not(small: None, tmp_path: Path) -> None:
    settings = config(tmp_path, 3 * STEPS)
    folder = tmp_path / "take_cover"
    new = collect.collect(settings)
    shards = sorted(folder.iterdir())
    assert [path.name for path in shards] == [f"train-{i:05d}.parquet" for i in range(3)]
    assert new == len(Dataset(tmp_path, ["take_cover"])) >= settings.steps
    assert collect.collect(settings) == 0
    assert json.loads((tmp_path / "collect-train.config.json").read_text())["mix"] == RANDOM

    contents = [path.read_bytes() for path in shards]
    times = [path.stat().st_mtime_ns for path in shards]
    shards[1].rename(shards[1].with_suffix(".partial"))  # as a killed run leaves it, but for its length
    others = folder / "val-00000.partial"
    others.write_bytes(b"another collector is at work on this")
    collect.collect(settings)
    assert [path.read_bytes() for path in shards] == contents, "the shard made anew differs"
    assert [path.stat().st_mtime_ns for path in shards][::2] == times[::2], "a finished shard was touched"
    assert sorted(folder.iterdir()) == [*shards, others]


@pytest.mark.slow
def test_a_killed_collector_goes_on_where_it_was(tmp_path: Path) -> None:
    options = {"out": tmp_path, "scenarios": "take_cover", "steps": 4500, "workers": 1}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "training", "collect", *words, "--mix", "random", "1"]
    folder = tmp_path / "take_cover"
    first = folder / "train-00000.parquet"
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
    assert sorted(path.name for path in folder.iterdir()) == [f"train-{i:05d}.parquet" for i in range(3)]
    assert first.stat().st_mtime_ns == before
    assert len(Dataset(tmp_path, ["take_cover"])) >= 4500


def test_a_collector_leaves_no_game_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "collect", "--out", str(tmp_path), "--scenarios", "basic"]
    command += ["--steps", "1", "--mix", "random", "1"]
    # A game left behind would hold the pipe open.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


# ---- free play, and scenarios of the user's own ----------------------------------------------------------------------
def test_free_play_goes_where_it_is_told(small: None, tmp_path: Path) -> None:
    collect.collect(config(tmp_path, 1, scenarios=("freedoom",), maps=("MAP02", "E1M1")))
    shards = [read_shard(path) for path in (tmp_path / "freedoom").iterdir()]
    places = {json.loads(shard.schema.metadata[b"doom_dream_env"])["place"] for shard in shards}
    assert places == {"freedoom:MAP02", "freedoom:E1M1"}
    assert set(Dataset(tmp_path, ["freedoom"]).place_names) == places
    frames = []
    for name in ("MAP02", "E1M1"):
        game = Game(get_scenario("freedoom", map=name))
        game.reset(1)
        frames.append(game.frame)
        game.close()
    assert (frames[0] != frames[1]).mean() > 0.3, "two maps look the same"


def test_a_configuration_of_ones_own_is_a_scenario(small: None, tmp_path: Path) -> None:
    import vizdoom

    shipped = Path(vizdoom.scenarios_path)
    own = tmp_path / "my_basic.cfg"  # ViZDoom looks for the WAD beside it
    own.write_text((shipped / "basic.cfg").read_text())
    (tmp_path / "basic.wad").symlink_to(shipped / "basic.wad")
    scenario = get_scenario(own)
    expected = ("my_basic", SCENARIOS["basic"].buttons, ("AMMO2",))
    assert (scenario.name, scenario.buttons, scenario.variables) == expected
    assert scenario.time_limit == SCENARIOS["basic"].time_limit
    collect.collect(config(tmp_path / "data", 1, scenarios=(str(own),)))
    assert len(Dataset(tmp_path / "data", [str(own)])) > 0
    own.write_text("available_buttons = { SELECT_WEAPON1 }")
    with pytest.raises(ValueError, match="none of the buttons"):
        get_scenario(own)
    with pytest.raises(ValueError, match="no configuration"):
        get_scenario(tmp_path / "missing.cfg")


# ---- Ray -------------------------------------------------------------------------------------------------------------
NODES = 3
SHARDS = 6


def ray_config(out: Path, **settings: Any) -> CollectConfig:
    steps = SHARDS * collect.STEPS_PER_SHARD
    return CollectConfig(out=out, scenarios=("basic",), mix={"random": 1.0}, steps=steps, **settings)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that computes nothing, and some nodes of one core."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "600")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        made.add_node(num_cpus=1, wait=True)
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_makes_the_same_shards_though_a_node_is_lost(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[int] = []
    made = collect.finished_shards

    def losing_a_node(*arguments: Any) -> Iterator[int]:
        for steps in made(*arguments):
            finished.append(steps)
            if len(finished) == 1:
                cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
            yield steps

    monkeypatch.setattr(collect, "finished_shards", losing_a_node)
    on_ray = ray_config(tmp_path / "ray", ray=cluster.address)
    steps = collect.collect(on_ray)
    assert len(finished) == SHARDS and steps == sum(finished) >= SHARDS * collect.STEPS_PER_SHARD
    monkeypatch.setattr(collect, "finished_shards", made)
    collect.collect(ray_config(tmp_path / "here"))
    for here, there in zip(plan_jobs(ray_config(tmp_path / "here"), "basic"), plan_jobs(on_ray, "basic"), strict=True):
        assert here.path.read_bytes() == there.path.read_bytes(), here.path.name
    left = {path.name for path in (tmp_path / "ray" / "basic").iterdir()}
    assert left == {job.path.name for job in plan_jobs(on_ray, "basic")}
    assert collect.collect(on_ray) == 0, "finished shards were made again"


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"--ray needs the extra 'ray': pip install .*\[ray\]"):
        collect.collect(ray_config(tmp_path, ray="auto"))
