"""What `dream-doom play`, `autoplay` and `record` do with their arguments.

Torch is loaded when there is a window that says so, and when no argument is wrong.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat, starmap
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pygame

from doom_dream_env.agents.quality import best_world
from doom_dream_env.errors import UserError
from doom_dream_env.options import LONGEST, why_not_writable
from doom_dream_env.play import hud
from doom_dream_env.play.clip import read_start
from doom_dream_env.play.display import open_window, while_loading
from doom_dream_env.play.film import Film, check_name
from doom_dream_env.play.keys import parse
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import TICS_PER_SECOND, Buttons, Scenario, get_scenario, press

if TYPE_CHECKING:
    from doom_dream_env.play.session import Session
    from doom_dream_env.world_model import WorldModel

SECONDS = 10.0  # of a film for which no keys are given
ENDING = ("SIGTERM", "SIGHUP")  # what is sent to a program that shall end, and when its terminal is closed


# ---- arguments -------------------------------------------------------------------------------------------------------


def selected(args: argparse.Namespace) -> tuple[str, str | None, str | None]:
    """Arguments of `get_scenario`: free play if it is only a map or a WAD that is asked for."""
    free_play = args.map is not None or args.wad is not None
    return args.scenario or ("freedoom" if free_play else best_world(args.weights)), args.map, args.wad


def check_folder(folder: Path) -> None:
    """Can files be written there, when there are some?

    Raises:
        OSError: if not.
    """
    if reason := why_not_writable(folder):
        raise OSError(f"cannot write to {folder}: {reason}")


def film_frames(args: argparse.Namespace, keys: list[tuple[Buttons, int]], scenario: Scenario) -> int:
    """Frames of the film that is asked for.

    Raises:
        ValueError: if it would have none, or no end.
    """
    planned = SECONDS if args.keys is None else sum(count for _, count in keys) * scenario.seconds_per_step
    seconds = planned if args.seconds is None else args.seconds
    if seconds > LONGEST:
        raise UserError(f"these keys last {seconds:,.0f} seconds: give --seconds, at most {LONGEST}")
    frames = round(seconds * TICS_PER_SECOND)
    if frames < 1:
        raise UserError("there is nothing to film: give --seconds, or --keys for a step or more")
    return frames


# ---- commands --------------------------------------------------------------------------------------------------------


@contextmanager
def ending_properly() -> Iterator[None]:
    """Whoever is told to end (`kill`, a closed terminal) closes the window, the film and the game first."""

    def end(number: int, frame: FrameType | None) -> None:
        for name in ENDING:
            signal.signal(getattr(signal, name), signal.SIG_IGN)  # closing is not to be disturbed
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only that one is told
        return
    before = {name: signal.signal(getattr(signal, name), end) for name in ENDING if hasattr(signal, name)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def load(weights: str | None) -> WorldModel:
    """The world model; this loads torch, and all that a session needs."""
    import doom_dream_env.play.session  # noqa: F401
    from doom_dream_env.envs.base import shared_world_model

    return shared_world_model(weights)


def make_session(args: argparse.Namespace, model: WorldModel, start: Any, **more: Any) -> Session:
    """A session of what is asked for; this starts the game if one is played."""
    import torch

    from doom_dream_env.play.session import PlayScenario, Session

    torch.set_num_threads(1)  # one dream at a time is too little work for more
    return Session(
        PlayScenario(*selected(args)), model, temperature=args.temperature, seed=args.seed, start=start, **more
    )


def play(args: argparse.Namespace) -> None:
    """Open a window and let a person play."""
    if args.licence is not None and args.save is None:
        raise UserError("--licence is that of what is recorded: give --save FOLDER, too")
    show(args, mode=args.mode, agent=args.agent, save=args.save, licence=args.licence)


def autoplay(args: argparse.Namespace) -> None:
    """Open a window in which an agent plays the real game, with the dream beside it."""
    args.start = None
    show(args, mode="both", agent=args.agent, resync=args.resync)


def show(args: argparse.Namespace, **more: Any) -> None:
    """Run a window until it is closed; `more` are arguments of the session."""
    get_scenario(*selected(args))
    check_folder(args.out)
    if more.get("save"):
        check_folder(more["save"])
    start = read_start(args.start) if args.start else None
    with ending_properly():
        try:
            open_window(args.scale, pictures=2 if more["mode"] == "both" else 1)
            model = while_loading(partial(load, args.weights))
            session = make_session(args, model, start, **more)
            try:
                from doom_dream_env.play.window import Window

                Window(session, args.out, args.scale).run()
            finally:
                session.close()
        finally:
            pygame.display.quit()


def record(args: argparse.Namespace) -> None:
    """Film a session without a display, and print where the film is."""
    scenario = get_scenario(*selected(args))
    keys = parse(args.keys or "", scenario)
    frames = film_frames(args, keys, scenario)
    check_name(args.out)
    check_folder(args.out.parent)
    start = read_start(args.start) if args.start else None
    with ending_properly():
        agent = args.agent if args.keys is None else None
        session = make_session(args, load(args.weights), start, mode=args.mode, agent=agent, resync=args.resync)
        try:
            film(session, args.out, args.scale, keys, frames)
        finally:
            session.close()
    print(args.out.resolve())


def film(session: Session, out: Path, scale: int, keys: list[tuple[Buttons, int]], frames: int) -> None:
    """Press keys, each for so many steps, and then nothing, or let the agent play, and film it."""
    coming = chain.from_iterable(starmap(repeat, keys))
    buttons = press()
    drawing = hud.Hud()
    surface = pygame.Surface(hud.size(len(session.views), scale))
    out.parent.mkdir(parents=True, exist_ok=True)
    with Film(out, TICS_PER_SECOND) as output:
        for _ in progress(range(frames), desc="film", unit="frame", leave=False):
            if session.phase == 0 and not session.over:
                buttons = next(coming, press())
            session.tick(buttons)
            drawing.draw(surface, session.pictures(), session.status())
            output.add(hud.to_frame(surface))
