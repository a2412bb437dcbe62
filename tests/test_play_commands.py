"""Promises of the commands of playing: windows and films are of what was asked for, mistakes are one clear line.

Legend: a step is four ticks of 1/35 s.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pygame
import pytest
from playroom import LEFT, STEP, ticks, video

from doom_dream_env.agents import Agent
from doom_dream_env.commands.cli import main
from doom_dream_env.play import commands, display, hud
from doom_dream_env.play.film import Film
from doom_dream_env.play.session import PlayScenario, Session
from doom_dream_env.play.window import Window
from doom_dream_env.scenarios import press
from doom_dream_env.world_model import WorldModel


def status(words: list[str]) -> int:
    """The exit status of a command."""
    try:
        return main(words)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


@pytest.fixture
def few_frames(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows close after five frames; returns those that did."""
    seen: list[Window] = []
    frame = Window.frame

    def short(self: Window, show: bool = True) -> None:
        frame(self, show)
        self.running = self.session._time < 5
        if not self.running:
            seen.append(self)

    monkeypatch.setattr(Window, "frame", short)
    return seen


def test_play_opens_a_window_on_the_scenario_that_is_asked_for(weights: Path, few_frames: list[Window]) -> None:
    common = ["--weights", str(weights), "--seed", "1", "--scale", "1"]
    assert main(["play", "--scenario", "basic", "--temperature", "0.5", *common]) == 0
    assert main(["play", "--map", "map02", *common]) == 0
    assert [window.session.status().scenario for window in few_frames] == ["basic", "freedoom MAP02"]
    assert few_frames[0].session.temperature == 0.5 and few_frames[0].session._time == 5
    assert not Path("dream-doom-films").exists()


def test_autoplay_shows_an_agent_in_the_real_game_and_its_dream(
    shipped: Agent, immortal: WorldModel, few_frames: list[Window]
) -> None:
    assert main(["autoplay", "--weights", immortal.source, "--scale", "1"]) == 0
    (window,) = few_frames
    assert window.session.mode == "both" and window.session.agent and window.session.resync == 3


def test_a_film_of_keys_is_that_session(
    weights: Path, make: Callable[..., Session], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"weights": weights, "seed": 5, "scenario": "basic", "scale": 2, "keys": "A*2 D+CTRL"}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = ["record", *words, "--out"]
    assert main([*command, "films/one.mp4"]) == 0
    assert capsys.readouterr().out.strip() == str(Path("films/one.mp4").resolve())
    frames = video(Path("films/one.mp4"))
    assert len(frames) == 3 * STEP and frames[0].shape == (*hud.size(1, 2)[::-1], 3)
    session = make(PlayScenario("basic"), model=WorldModel.from_pretrained(weights))
    pictures = ticks(session, LEFT, 2 * STEP) + ticks(session, press("MOVE_RIGHT", "ATTACK"), STEP)
    top = hud.BAR * 2
    for frame, picture in zip(frames, pictures, strict=True):
        shown = frame[top : top + 240 : 2, ::2].astype(int)[10:90]  # without messages and banners
        assert np.abs(shown - picture[10:90]).mean() < 12
    assert main([*command, "two.gif", "--seconds", "0.4"]) == 0
    with av.open("two.gif") as container:
        assert sum(1 for _ in container.decode(video=0)) > 5


def test_a_film_of_dream_and_real_game_shows_both(shipped: Agent, immortal: WorldModel) -> None:
    options = ["--mode", "both", "--seconds", "0.3", "--scale", "1", "--out", "pair.mp4"]
    assert main(["record", "--weights", immortal.source, *options]) == 0
    frames = video(Path("pair.mp4"))
    assert len(frames) == 10 and frames[0].shape == (*hud.size(2, 1)[::-1], 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "--map", "MAP99"], "no map 'MAP99'"),
        (["play", "--start", "broken.png"], "broken.png"),
        (["play", "--out", "broken.png/films"], "cannot write to broken.png/films"),
        (["play", "--real", "--save", "broken.png/data"], "cannot write to broken.png/data"),
        (["play", "--agent"], "no agent ships for take_cover"),
        (["play", "--agent", "plannner"], "'plannner' is nobody who can play: choose from agent, clone, noop"),
        (["play", "--save", "data"], "only real play is recorded"),
        (["play", "--licence", "mit"], "give --save FOLDER, too"),
        (["autoplay", "--map", "MAP01"], "no agent ships for freedoom"),
        (["record", "--out", "film.avi", "--keys", "A"], "must end in .mp4 or .gif"),
        (["record", "--keys", "JUMP*3"], "'JUMP'"),
        (["record", "--keys", ""], "nothing to film"),
        (["record", "--keys", "A", "--seconds", "nan"], "--seconds: must be"),
        (["record", "--keys", "A*" + "9" * 5000], "need a number of steps"),
        (["record", "--start", "/dev/null"], "'/dev/null' is a device or a pipe: give a file"),
        (["record"], "no agent ships for take_cover"),
        (["play"], "no display"),
    ],
)
def test_mistakes_are_one_clear_line(
    weights: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("broken.png").write_bytes(b"no picture")
    if message == "no display":
        monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    assert status([*arguments, "--weights", str(weights)]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith(("dream-doom: ", f"dream-doom {arguments[0]}: "))
        and message in error
        and error.count("\n") == 1
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_program_that_is_told_to_end_finishes_its_film_first(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, commands.ending_properly(), Film(Path("a.mp4"), 35) as film:
        for _ in range(10):
            film.add(np.zeros((120, 160, 3), np.uint8))
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert ended.value.code == 128 + number and signal.getsignal(number) == before
    assert len(video(Path("a.mp4"))) == 10 and [path.name for path in Path().iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("end", ["escape", "close", "SIGTERM"])
def test_a_window_obeys_while_everything_is_loaded(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        never.set()
        raise SystemExit(status)

    def load() -> None:
        if end == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            key = {"key": pygame.K_ESCAPE} if end == "escape" else {}
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN if key else pygame.QUIT, key))
        assert never.wait(60)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit), commands.ending_properly():
        display.open_window(1)
        display.while_loading(load)
    assert statuses == [128 + signal.SIGTERM if end == "SIGTERM" else 0] and not pygame.display.get_init()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_recorded_play_survives_the_program(weights: Path, name: str) -> None:
    """A real program in a window that nobody sees; the file it leaves is read, and no game goes on."""
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["play", "--real", "--scenario", "basic", "--weights", str(weights), "--save", "data", "--scale", "1"]
    program = subprocess.Popen([sys.executable, "-m", "doom_dream_env.commands.cli", *words])
    until = time.monotonic() + 120
    while not list(Path("data").rglob("*.parquet")):  # an episode of ten seconds has ended
        assert program.poll() is None and time.monotonic() < until
        time.sleep(0.2)
    program.send_signal(getattr(signal, name))
    assert program.wait(30) == (128 + signal.SIGTERM if name == "SIGTERM" else -signal.SIGKILL)
    (shard,) = Path("data").rglob("*.parquet")
    assert len(parquet.read_table(shard)) >= 50
    assert not list(Path("data").rglob("*.partial"))
