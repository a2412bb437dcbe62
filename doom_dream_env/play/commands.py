"""What `dream-doom play`, `autoplay` and `record` do with their arguments."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pygame
import torch
from tqdm import trange

from doom_dream_env.envs.base import shared_world_model
from doom_dream_env.play import hud
from doom_dream_env.play.film import Film, read_start
from doom_dream_env.play.keys import parse
from doom_dream_env.play.session import PlayScenario, Session
from doom_dream_env.play.window import Window
from doom_dream_env.scenarios import TICS_PER_SECOND, press

SECONDS = 10.0  # of a film for which no keys are given


def play_scenario(args: argparse.Namespace) -> PlayScenario:
    """The scenario that is asked for: free play if it is only a map or a WAD."""
    free_play = args.map is not None or args.wad is not None
    return PlayScenario(args.scenario or ("freedoom" if free_play else "take_cover"), args.map, args.wad)


def check_folder(folder: Path) -> None:
    """Can files be written there, when there are some?

    Raises:
        OSError: if not.
    """
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OSError(f"cannot write to {folder}: {there} is {'read-only' if there.is_dir() else 'not a folder'}")


def play(args: argparse.Namespace) -> None:
    """Open a window and let a person play."""
    torch.set_num_threads(1)  # one dream at a time is too little work for more
    check_folder(args.out)
    session = Session(
        play_scenario(args),
        start=read_start(args.start) if args.start else None,
        model=shared_world_model(args.weights),
        mode=args.mode,
        temperature=args.temperature,
        seed=args.seed,
        agent=args.agent,
        save=args.save,
    )
    show(session, args)


def autoplay(args: argparse.Namespace) -> None:
    """Open a window in which an agent plays the real game, with the dream beside it."""
    torch.set_num_threads(1)
    check_folder(args.out)
    session = Session(
        play_scenario(args),
        model=shared_world_model(args.weights),
        mode="both",
        temperature=args.temperature,
        seed=args.seed,
        agent=True,
        resync=args.resync,
    )
    show(session, args)


def show(session: Session, args: argparse.Namespace) -> None:
    """Run a window until it is closed."""
    try:
        Window(session, args.out, args.scale).run()
    finally:
        session.close()


def record(args: argparse.Namespace) -> None:
    """Film a session without a display, and print where the film is."""
    torch.set_num_threads(1)
    if args.scale < 1:
        raise ValueError(f"--scale must be 1 or more, got {args.scale}")
    check_folder(args.out.parent)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    session = Session(
        play_scenario(args),
        start=read_start(args.start) if args.start else None,
        model=shared_world_model(args.weights),
        mode=args.mode,
        temperature=args.temperature,
        seed=args.seed,
        agent=args.keys is None,
        resync=args.resync,
    )
    try:
        film(session, args)
    finally:
        session.close()
    print(args.out.resolve())


def film(session: Session, args: argparse.Namespace) -> None:
    """Press the keys that are given, or let the agent play, and film it.

    Raises:
        ValueError: on keys that mean nothing, or if the film would have no frame.
    """
    steps = parse(args.keys or "", session.scenario)
    planned = SECONDS if args.keys is None else len(steps) * session.scenario.seconds_per_step
    frames = round((args.seconds or planned) * TICS_PER_SECOND)
    if frames < 1:
        raise ValueError("there is nothing to film: give --seconds of more than 0, or --keys for a step or more")
    coming = iter(steps)
    buttons = press()
    drawing = hud.Hud()
    surface = pygame.Surface(hud.size(len(session.views), args.scale))
    with Film(args.out, TICS_PER_SECOND) as output:
        for _ in trange(frames, unit="frame", disable=None):
            if session.phase == 0 and not session.over:
                buttons = next(coming, press())
            session.tick(buttons)
            drawing.draw(surface, session.pictures(), session.status())
            output.add(hud.to_frame(surface))
