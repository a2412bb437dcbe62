"""Promises about ViZDoom's processes: none outlives Python, none hangs it, none writes where it was not asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, process_exists

from doom_dream_env.envs.games import GameBatch
from doom_dream_env.game import engine
from doom_dream_env.game.engine import EngineError
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import SCENARIOS

GAME = SCENARIOS["basic"]
SECONDS = 30.0  # for a process to end, on a busy machine

# Tests that run in the background inherit that SIGINT and SIGHUP are ignored.
START = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import SCENARIOS
def main():
    global games
    games = [Game(SCENARIOS["basic"]) for _ in range(2)]
    print(*(game._engine.pid for game in games), games[0]._engine._folder.parent, flush=True)
"""


@pytest.fixture
def game() -> Iterator[Game]:
    game = Game(GAME)
    game.reset(1)
    yield game
    game.close()


def wait_until_gone(pids: list[int], folder: Path | None = None) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not any(process_exists(pid) for pid in pids) and not (folder and folder.exists()):
            return True
        time.sleep(0.05)
    return False


def python(code: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START + code]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, start_new_session=True)


def started(process: subprocess.Popen[str]) -> tuple[list[int], Path]:
    """Processes and folder that a script of `START` has told."""
    assert process.stdout
    *pids, folder = process.stdout.readline().split()
    assert len(pids) == 2 and all(process_exists(int(pid)) for pid in pids) and Path(folder).is_dir()
    return [int(pid) for pid in pids], Path(folder)


@pytest.mark.parametrize("how", ["TERM", "KILL", "INT", "HUP", "end", "os._exit", "TERM to all", "crash"])
def test_no_engine_outlives_python_or_holds_its_output(how: str) -> None:
    ends = {
        "end": "main(); sys.stdin.read()",
        "os._exit": "import os; main(); sys.stdin.read(); os._exit(1)",
        "crash": "import ctypes; main(); sys.stdin.read(); ctypes.string_at(0)",
    }
    process = python(ends.get(how, "main(); time.sleep(600)"))
    pids, folder = started(process)
    if how == "TERM to all":
        os.killpg(process.pid, signal.SIGTERM)
    elif how not in ends:
        os.kill(process.pid, getattr(signal, f"SIG{how}"))
    process.communicate(timeout=SECONDS)  # returns when nobody has its standard output open any more
    assert wait_until_gone(pids, folder)


def test_a_forked_process_leaves_its_parents_games_alone(game: Game) -> None:
    child = os.fork()
    if child == 0:
        try:
            game.step(np.zeros(9))
        except EngineError as error:
            game.close()
            engine._close_all()
            os._exit(7 if "belongs to process" in str(error) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    game.step(np.zeros(9))


def test_a_game_that_is_forgotten_or_closed_takes_its_engine_and_files_along() -> None:
    games = [Game(GAME), Game(GAME)]
    pids = [game._engine.pid for game in games]
    folders = [game._engine._folder for game in games]
    shared = set(engine.SHARED_MEMORY.glob("ViZDoom*")) if engine.SHARED_MEMORY.is_dir() else set()
    games.pop().close()
    games.pop()
    assert wait_until_gone(pids) and not any(folder.exists() for folder in folders)
    assert len({path for path in shared if path.exists()}) <= max(len(shared) - 6, 0), "shared memory stays"


def test_games_of_a_batch_that_cannot_start_are_all_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = []
    start = Game._start

    def unlucky(self: Game, game: object) -> None:
        if len(pids) == 2:
            raise EngineError("no third one")
        start(self, game)
        pids.append(self._engine.pid)

    monkeypatch.setattr(Game, "_start", unlucky)
    with pytest.raises(EngineError, match="no third one"):
        GameBatch(3, "basic")
    assert wait_until_gone(pids)


def test_a_game_writes_nothing_into_the_working_folder() -> None:
    here = Path.cwd()
    here.chmod(0o555)
    game = Game(GAME)
    game.reset(1)
    game.close()
    here.chmod(0o755)
    assert not list(here.iterdir())


def test_a_full_disk_is_said_instead_of_suffered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(engine, "SHARED_BYTES", 2**60)
    with pytest.raises(OSError, match="MB left and a game needs .*--shm-size"):
        Game(GAME)
    monkeypatch.setattr(engine, "FILE_BYTES", 2**60)
    with pytest.raises(OSError, match="MB left and a game needs .*TMPDIR"):
        Game(GAME)


def test_an_engine_that_is_killed_is_one_error_and_reset_starts_another(game: Game) -> None:
    frame = game.frame
    for fault in ("step", "reset"):
        os.kill(game._engine.pid, signal.SIGKILL)
        assert wait_until_gone([game._engine.pid])
        if fault == "step":
            with pytest.raises(EngineError, match=r"engine \(process \d+\) failed: .*reset\(\) starts a new one"):
                game.step(np.zeros(9))
            with pytest.raises(EngineError):
                game.step(np.zeros(9))
        game.reset(1)
        assert np.array_equal(game.frame, frame), "the same seed begins another episode in a new engine"
        game.step(np.zeros(9))


def test_an_engine_that_is_killed_at_work_is_one_error(game: Game) -> None:
    """Often enough it dies with a lock in its hands, which library and engine share."""
    for turn in range(6):
        pid = game._engine.pid
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.{turn + 1}; kill -9 {pid}"])
        with pytest.raises(EngineError, match=r"reset\(\) starts a new one"):
            while True:
                game.step(np.zeros(9))
                if game.state is None:
                    game._engine.call(game._begin, 1)  # `reset` would start another engine
        killer.wait()
        game.reset(1)
        assert game._engine.pid != pid
        game.step(np.zeros(9))


def test_an_engine_that_does_not_answer_is_ended(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 2)
    os.kill(game._engine.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match="did not answer for 2 seconds"):
        game.step(np.zeros(9))
    game.reset(1)
    os.kill(game._engine.pid, signal.SIGSTOP)
    game.close()  # does not wait for it


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out of cheese; exit 3", "did not start: it ended at once .*out of cheese"),
        ("sleep 60", "was not ready after 2 seconds"),
    ],
)
def test_an_engine_that_does_not_start_leaves_python_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    import vizdoom

    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(vizdoom, "exe_path", str(broken))
    monkeypatch.setattr(engine, "PATIENCE", 2)
    with pytest.raises(EngineError, match=message):
        Game(GAME)


def test_a_closed_game_says_so(game: Game) -> None:
    game.close()
    game.close()
    for play in (lambda: game.reset(1), lambda: game.step(np.zeros(9)), game.pose):
        with pytest.raises(EngineError, match="closed"):
            play()
