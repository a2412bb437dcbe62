"""Promises of the benchmark: dream and game are measured in one run, and a step counts once per environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, process_exists

from doom_dream_env import benchmark, busy
from doom_dream_env.cli import main
from doom_dream_env.envs import DreamBatch
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel


def test_a_rate_counts_steps_over_time() -> None:
    def step() -> int:
        time.sleep(0.002)
        return 10

    assert 1000 < benchmark.rate(step, 0.2) < 5000
    p50, p99 = benchmark.latency(step, 0.05)
    assert 2 <= p50 <= p99


def test_the_command_prints_dream_and_game_and_keeps_a_row(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "ENV_COUNTS", (1, 64, 256))
    monkeypatch.setattr(benchmark, "PIXEL_ENV_COUNTS", (1,))
    table = tmp_path / "results.md"
    table.write_text(f"# Speed\n\n{benchmark.TABLE}| another machine |\n\nThe end.\n")
    assert main(["bench", "--weights", str(weights), "--seconds", "0.1", "--table", str(table)]) == 0
    lines = table.read_text().splitlines()
    assert [line.count("|") for line in lines] == [0, 0, 7, 7, 7, 2, 0, 0]
    printed = " ".join(capsys.readouterr().out.split())  # the console breaks lines
    for part in ("dreams at once: 256", "with pixels", "window, frames/s", "from a key to the picture"):
        assert part in printed
    for part in ("SubprocVecEnv", "p99", "GFLOP/s", "kB", "matrix products", "copies", "the rest"):
        assert part in printed


def test_the_window_is_measured_while_somebody_types(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    fps, (p50, p99) = benchmark.window_rates(model, "take_cover", 1.0)
    assert fps > 1 and 0 < p50 <= p99 and os.environ["SDL_VIDEODRIVER"] == "x11"


def test_the_games_own_environment_is_found(tmp_path: Path) -> None:
    assert benchmark.vizdoom_id(get_scenario("defend_the_center")) == "VizdoomDefendCenter-v1"
    assert benchmark.vizdoom_id(get_scenario("health_gathering")) == "VizdoomHealthGathering-v1"
    own = tmp_path / "own.cfg"
    own.write_text("available_buttons = { ATTACK }\n")
    with pytest.raises(ValueError, match="no Gymnasium environment of own"):
        benchmark.vizdoom_id(get_scenario(str(own)))


def test_free_play_has_no_benchmark(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--scenario", "freedoom", "--weights", str(weights)]) == 2
    assert "'freedoom' is unknown here" in capsys.readouterr().err


def test_a_step_counts_once_per_environment(model: WorldModel) -> None:
    batch = DreamBatch(3, "take_cover", weights=model)
    step = benchmark.random_step(batch)
    assert [step() for _ in range(30)] == [3] * 30, "ended dreams stopped it"


def test_the_scorecards_speeds_are_of_dream_and_game(model: WorldModel) -> None:
    scores = benchmark.speed_scores(model, "take_cover", seconds=0.02)
    assert list(scores) == ["dream_steps_per_s_1", "dream_steps_per_s_256", "real_steps_per_s"]
    assert all(value > 0 for value in scores.values())


def test_the_dream_is_measured_beside_busy_processes_of_its_own(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(busy, "ENV_COUNTS", (4, 128))
    assert main(["bench", "--busy", "--weights", str(weights), "--seconds", "0.1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "128, alone" in printed and "4, beside" in printed and "one thread's speed" in printed


def test_busy_processes_end_with_whoever_started_them() -> None:
    code = (
        "import os, time\n"
        "from doom_dream_env.busy import busy_processes\n"
        "with busy_processes(1) as processes:\n"
        "    print(processes[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -9
    until = time.monotonic() + 30
    while process_exists(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not process_exists(int(done.stdout))
    with busy.busy_processes(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
    assert all(process.returncode is not None for process in processes)
