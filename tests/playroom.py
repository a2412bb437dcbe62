"""What the tests of playing share: sessions, windows, an agent that ships, keys and films."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pygame
import pytest
from conftest import make_agent

import doom_dream_env  # noqa: F401
from doom_dream_env.agents import Agent, agent
from doom_dream_env.envs import DreamBatch
from doom_dream_env.play.film import STEPS_PER_SECOND, Film
from doom_dream_env.play.session import PlayScenario, Session
from doom_dream_env.play.window import Window
from doom_dream_env.scenarios import SCENARIOS, press
from doom_dream_env.world_model import WorldModel

NOTHING = press()
LEFT = press("MOVE_LEFT")
RIGHT = press("MOVE_RIGHT")
STEP = 4  # tics
BRIGHTER = 12  # a frame of a film is so much brighter than the one before
TAKE_COVER = PlayScenario("take_cover")
FREEDOOM = PlayScenario("freedoom")


@pytest.fixture
def make(immortal: WorldModel) -> Iterator[Callable[..., Session]]:
    """Makes sessions, and closes them."""
    made: list[Session] = []

    def session(
        selected: PlayScenario = TAKE_COVER,
        mode: str = "dream",
        model: WorldModel = immortal,
        seed: int | None = 5,
        **more: Any,
    ) -> Session:
        made.append(Session(selected, model, mode, seed=seed, **more))
        return made[-1]

    yield session
    for one in made:
        one.close()


@pytest.fixture
def open_window(make: Callable[..., Session], tmp_path: Path) -> Iterator[Callable[..., Window]]:
    """Makes windows with sessions of their own, and closes them; films go to `tmp_path / "out"`."""
    made: list[Window] = []

    def window(*arguments: Any, **more: Any) -> Window:
        made.append(Window(make(*arguments, **more), tmp_path / "out", scale=2))
        pygame.event.clear()
        return made[-1]

    yield window
    for one in made:
        one.close()


@pytest.fixture
def shipped(immortal: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The agent of take_cover for the weights `immortal`: it always steps right."""
    right_only = make_agent(immortal, widths=(), bias=[0.0, 60.0, 0.0])
    right_only.save(tmp_path / "agents" / "take_cover")
    monkeypatch.setattr(agent, "SHIPPED", tmp_path / "agents")
    assert SCENARIOS["take_cover"].action_table()[1].tolist() == RIGHT.tolist()
    return right_only


def press_key(window: Window, key: int, down: bool = True) -> None:
    """A key event as the keyboard would send it, and one frame."""
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN if down else pygame.KEYUP, key=key))
    window.wait(0)
    window.frame()


def dream_of(session: Session) -> DreamBatch:
    """The batch of one behind a session's dream."""
    assert session._dream
    return session._dream.batch


def ticks(session: Session, buttons: np.ndarray, number: int) -> list[np.ndarray]:
    """The dream's or left picture after every tick."""
    seen = []
    for _ in range(number):
        session.tick(buttons)
        seen.append(session.pictures()[0])
    return seen


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    """Are two lists of pictures equal?"""
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def video(path: Path) -> list[np.ndarray]:
    """The frames of a film."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def grey(t: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Frame t: black left, grey right, the brighter the later."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, width // 2 :] = BRIGHTER * t
    return frame


def shoot(path: Path, frames: int, rate: float = STEPS_PER_SECOND, scale: int = 1) -> Path:
    """A film of so many grey frames."""
    with Film(path, rate, scale) as film:
        for t in range(frames):
            film.add(grey(t))
    return path


def brightness(frames: np.ndarray) -> np.ndarray:
    """Which t each frame shows, (T,)."""
    return frames[:, 10:100, frames.shape[2] // 2 + 10 : -10].mean((1, 2, 3)) / BRIGHTER
