"""Promises of the commands of playing: windows and films are of what was asked for, mistakes are one clear line.

Legend: a step is four ticks of 1/35 s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from playroom import LEFT, STEP, ticks, video

from doom_dream_env.agents import Agent
from doom_dream_env.cli import main
from doom_dream_env.play import hud
from doom_dream_env.play.session import PlayScenario, Session
from doom_dream_env.play.window import Window
from doom_dream_env.scenarios import press
from doom_dream_env.world_model import WorldModel


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
        (["play", "--scenario", "take_covr"], "scenario 'take_covr' is unknown"),
        (["play", "--wad", "nowhere.wad"], "cannot read the WAD nowhere.wad"),
        (["play", "--map", "MAP99"], "no map 'MAP99'"),
        (["play", "--start", "nowhere.png"], "nowhere.png"),
        (["play", "--start", "broken.png"], "broken.png"),
        (["play", "--out", "broken.png/films"], "cannot write to broken.png/films"),
        (["play", "--agent"], "no agent ships for take_cover"),
        (["play", "--save", "data"], "only real play is recorded"),
        (["play", "--temperature", "3"], "temperature must be in 0…2"),
        (["autoplay", "--map", "MAP01"], "no agent ships for freedoom"),
        (["record", "--out", "film.avi", "--keys", "A"], "must end in .mp4 or .gif"),
        (["record", "--out", "broken.png/film.mp4", "--keys", "A"], "cannot write to broken.png"),
        (["record", "--keys", "JUMP*3"], "'JUMP'"),
        (["record", "--keys", ""], "nothing to film"),
        (["record", "--keys", "A", "--seconds", "-1"], "nothing to film"),
        (["record", "--keys", "A", "--scale", "0"], "--scale must be 1 or more"),
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
    assert main([*arguments, "--weights", str(weights)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dream-doom: ") and message in error and error.count("\n") == 1
