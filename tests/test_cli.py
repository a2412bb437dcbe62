"""Promises of the command line: an option is checked and named before torch is loaded, a mistake is one line."""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from doom_dream_env.agents import Agent
from doom_dream_env.agents.quality import Quality, TransferScores, qualities
from doom_dream_env.commands import demo
from doom_dream_env.commands.cli import main, make_parser
from doom_dream_env.errors import UserError, status_of
from doom_dream_env.evaluation import EpisodeStatistics
from doom_dream_env.scenarios import SCENARIOS, get_scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import files

WRONG = [
    *(
        (command, "--seed", value)
        for command in ("demo", "play", "autoplay", "record")
        for value in ("-1", "1e9", str(2**31))
    ),
    *(("bench", "--seconds", value) for value in ("0", "-1", "nan", "inf", "long")),
    *(("demo", "--steps", value) for value in ("0", "-5", "1e5", "2.5")),
    *(("demo", "--episodes", value) for value in ("0", "1", "many")),
    *(
        (command, "--temperature", value)
        for command in ("demo", "play", "record")
        for value in ("-1", "nan", "inf", "x")
    ),
    *((command, "--resync", value) for command in ("autoplay", "record") for value in ("-1", "nan", "inf")),
    *((command, "--scenario", "take_covr") for command in ("demo", "bench", "play", "autoplay", "record")),
    *((command, "--scenario", "freedoom") for command in ("demo", "bench")),
    *((command, "--scenario", "nowhere.cfg") for command in ("play", "autoplay", "record")),
    *((command, "--wad", "nowhere.wad") for command in ("play", "autoplay", "record")),
    *((command, "--start", "nowhere.png") for command in ("play", "record")),
    *(
        ("web", *wrong)
        for wrong in (("--port", "70000"), ("--port", "x"), ("--scenario", "take_covr"), ("--out", "file"))
    ),
    ("demo", "--out", "file/below"),
    ("demo", "--out", "file"),
    *((command, "--nonsense", "1") for command in ("demo", "bench", "doctor", "play", "autoplay", "record")),
]


@pytest.mark.parametrize(("command", "option", "value"), WRONG)
def test_a_wrong_option_is_named_in_one_line(
    command: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("no folder")
    assert main([command, option, value]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dream-doom: ") and option in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "demo --steps 0",
        "bench --seconds nan",
        "play --weights nowhere",
        "info --weights nowhere",
        "record --seed -1",
        "--help",
        "info",
    ],
)
def test_what_is_wrong_is_said_before_torch_is_loaded(line: str) -> None:
    code = (
        "import sys; from doom_dream_env.commands.cli import main; status = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *line.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (0 if line in ("--help", "info") else 2), done.stderr
    assert "Traceback" not in done.stderr


def on_purpose() -> None:
    get_scenario("take_covr")


def a_bug() -> None:
    files.checksum({"a": None}, {})  # type: ignore[dict-item]


def a_bug_that_is_a_value_error() -> None:
    EpisodeStatistics(np.zeros(3), np.zeros(3, np.int64)).returns.reshape(2, 2)


@pytest.mark.parametrize("where", ["here", "in a pool"])
def test_a_mistake_is_one_line_and_a_bug_keeps_its_traceback(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run(function: object) -> object:
        if where == "here":
            return function()  # type: ignore[operator]
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            return pool.submit(function).result()  # type: ignore[arg-type]

    assert status_of("program", lambda: run(on_purpose)) == 2
    assert capsys.readouterr().err.startswith("program: scenario 'take_covr' is unknown")
    for bug in (a_bug, a_bug_that_is_a_value_error):
        with pytest.raises((AttributeError, ValueError)):
            status_of("program", lambda bug=bug: run(bug))


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m doom_dream_env.commands.cli info basic | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_a_terminal_without_the_characters_gets_others() -> None:
    command = [sys.executable, "-m", "doom_dream_env.commands.cli", "info", "basic"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and "75.9 ? 2.0" in done.stdout


def test_a_home_folder_is_found_where_the_shell_leaves_it_alone(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(weights.parent))
    assert files.find_weights(f"~/{weights.name}") == weights
    assert main(["info", "basic", f"--weights=~/{weights.name}"]) == 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_about_one_world(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["info", name]) == 0
    text = capsys.readouterr().out
    assert all(button in text for button in SCENARIOS[name].buttons)
    assert f"The dream of {name} is {qualities()[name].text}." in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_demo_plays_the_games_that_were_asked_for(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(demo, "train_in_dream", lambda *_, **__: (Agent.load("basic"), []))

    def compare(*arguments: Any) -> None:
        asked.append(arguments[-1])
        raise UserError("no more is needed")

    monkeypatch.setattr(demo, "compare_dream_and_game", compare)
    for more in ([], ["--first-seed", "90000"]):
        assert main(["demo", "--scenario", "basic", "--weights", str(weights), *more]) == 2
    assert asked == [EVALUATION, 90_000]


@pytest.mark.slow
def test_a_demo_into_a_file_writes_few_whole_lines(weights: Path, tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "doom_dream_env.commands.cli",
        "demo",
        "--steps",
        "5000",
        "--episodes",
        "2",
        "--out",
        "demo",
    ]
    done = subprocess.run(
        [*line, "--weights", str(weights)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "\r" not in done.stdout and done.stdout.count("\n") < 40 and "━━" not in done.stdout.splitlines()[0]
    assert "dream-trained against routine" in done.stdout
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "agent",
        "dream_and_real.gif",
        "dream_and_real.mp4",
        "scores.png",
    }


def test_one_word_says_what_a_person_sees_and_what_an_agent_gets() -> None:
    good = TransferScores(random=(0, 1), blind=(10, 3), agent=(20, 4), dream=(21, 2))
    blind = TransferScores((0, 1), (10, 3), (14, 4), (14, 2))  # within the interval
    flattered = TransferScores((0, 1), (10, 3), (20, 4), (30, 2))
    found = [(0.6, good), (0.6, None), (None, good), (0.6, flattered), (0.6, blind), (0.3, good), (0.1, good)]
    assert [Quality(*one).word for one in found] == ["good", "good", "good", "fair", "poor", "fair", "poor"]
    assert Quality().word == "unknown" and "follows the keys at first; agents learn" in Quality(0.3, good).text


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Every option of every command, with the words that call it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options(command)
        else:
            yield f"{parser.prog} {action.option_strings or action.dest}", action


def test_every_option_has_a_meaning_and_a_default() -> None:
    said = 0
    for name, action in options(make_parser()):
        assert action.help and not action.help.startswith("the same"), name
        if action.option_strings and not action.required and action.nargs != 0:
            assert "(default: " in action.help, name
            said += 1
        if isinstance(action.default, int | float | Path) and not isinstance(action.default, bool):
            value = f"{action.default:g}" if isinstance(action.default, float) else str(action.default)
            assert f"(default: {value}" in action.help, name
    assert said > 30
