"""Promises about processes: one writer to a folder, nothing outlives its parent, a log gets few whole lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, process_exists

from doom_dream_env import progress as module
from doom_dream_env.progress import progress
from training.__main__ import main
from training.config import CollectConfig, DynamicsConfig, PipelineConfig
from training.data import collect
from training.engine.launch import run_folder
from training.processes import sole_writer

HOLD = """
import sys, time
from pathlib import Path
from training.processes import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(600)
"""


def python(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment)


def test_a_second_writer_is_told_who_the_first_is_until_that_is_killed(tmp_path: Path) -> None:
    holder = python("-c", HOLD, str(tmp_path))
    assert holder.stdout and holder.stdout.readline() == "holds\n"
    message = rf"{tmp_path} is being written by process {holder.pid} since 20\d\d-.* \(.*python.*\); wait for"
    with pytest.raises(BlockingIOError, match=message), sole_writer(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with sole_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir()), "the lock's file stays"


def test_a_stage_may_write_to_the_folder_of_the_pipeline_that_started_it(tmp_path: Path) -> None:
    with sole_writer(tmp_path):
        child = python("-c", HOLD.replace("600", "0"), str(tmp_path))
        assert child.communicate(timeout=60)[0] == "holds\n"
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"), sole_writer(tmp_path):
            pass


WORKERS = """
import multiprocessing, os, sys, time
method, *where = sys.argv[1:]
def load():  # as if it loaded torch
    print(os.getpid(), flush=True)
    time.sleep(600)
def work():
    import doom_dream_env
    load()
if __name__ == "__main__":
    os.chdir(os.path.dirname(__file__))  # where the server finds what it is to load
    if where == ["server"]:
        multiprocessing.set_forkserver_preload(["loads"])
    if where == ["package"]:
        multiprocessing.set_forkserver_preload(["doom_dream_env"])
    worker = multiprocessing.get_context(method).Process(target=work)
    worker.start()
    worker.join()
elif where == ["script"]:
    work()
"""


FORKS = [f"forkserver {where}" for where in ("", "script", "server", "package")]


@pytest.mark.parametrize("how", ["spawn", "spawn script", *FORKS])
def test_workers_that_still_load_are_gone_when_their_parent_is_killed(tmp_path: Path, how: str) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    (tmp_path / "loads.py").write_text(
        "import doom_dream_env, os, time; print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = python(str(tmp_path / "workers.py"), *how.split())
    assert parent.stdout
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate(timeout=20)  # returns when nobody holds its standard output any more
    assert not process_exists(worker)


def test_two_collectors_of_one_split_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collected: list[CollectConfig] = []
    monkeypatch.setattr(collect, "_collect", lambda config: collected.append(config) or 0)
    words = ["collect", "--out", str(tmp_path), "--scenarios", "basic", "take_cover"]
    with sole_writer(tmp_path / "basic", "train"):
        with pytest.raises(SystemExit):
            main(words)
        assert "basic is being written by process" in capsys.readouterr().err
        main([*words, "--split", "val"])
    assert [config.split for config in collected] == ["val"]


def test_two_stages_of_one_run_do_not_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_folder(PipelineConfig(preset="tiny")) == Path("runs/tiny")
    assert run_folder(DynamicsConfig(out=tmp_path)) == run_folder(PipelineConfig(out=tmp_path)) == tmp_path
    with sole_writer(tmp_path), pytest.raises(SystemExit):
        main(["dynamics", "--out", str(tmp_path)])
    assert "training dynamics: " in (error := capsys.readouterr().err) and "is being written by process" in error


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_the_pipeline_that_started_it(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\n"
        "from training.engine import launch\n"
        "from training.config import ScorecardConfig\n"
        "def work(config):\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(600)\n"
        "launch.launch = work\n"
        "if __name__ == '__main__':\n"
        "    launch.run_stage(ScorecardConfig())\n"
    )
    pipeline = python(str(script))
    assert pipeline.stdout
    assert "training scorecard" in pipeline.stdout.readline() and pipeline.stdout.readline() == "at work\n"
    started = time.monotonic()
    pipeline.send_signal(how)
    pipeline.communicate(timeout=60)  # until the stage, too, has let go of standard output
    assert time.monotonic() - started < 60


def test_a_log_gets_one_line_of_a_bar_that_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(1000), desc="steps")) == list(range(1000))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "\r" not in error
    assert "steps: 100%" in error and "1000/1000" in error


def test_a_long_one_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 1e-6)
    with progress(desc="games", total=13, initial=3, unit="game", leave=False) as bar:
        for _ in range(10):
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and "13/13" in lines[-1] and all(line.startswith("games:") for line in lines)
