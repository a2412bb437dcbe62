"""`dream-doom doctor`: is this installation sound, and what does a report of a bug need to say about the machine?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doom_dream_env import __version__
from doom_dream_env.errors import install_command
from doom_dream_env.processes import processor_name, usable_cores

MEMORY_GB = 2.0  # what a dream, an agent in training and some games take together
GAME_STEPS = 35 // 4  # a second of the game
DREAMS = 64
SECONDS = 1.0  # spent on each speed
SCREEN = """
import pygame
for name, start, driver in (
    ("window", pygame.display.init, pygame.display.get_driver),
    ("sound", pygame.mixer.init, lambda: "works"),
):
    try:
        start()
        print(name, driver(), sep=": ")
    except pygame.error as error:
        print(name, f"none ({error})", sep=": ")
"""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        text: for people.
        sound: nothing is wrong.
        essential: without it nothing works.
    """

    text: str
    sound: bool = True
    essential: bool = True


# ---- checks ----------------------------------------------------------------------------------------------------------


def check_python() -> Finding:
    """The interpreter and the package."""
    where = Path(__file__).parent.parent
    text = f"{platform.python_version()} on {platform.platform()}; doom-dream-env {__version__} in {where}"
    return Finding(text, sys.version_info >= (3, 11))


def check_libraries(extra: str = "") -> Finding:
    """What the package, or one of its extras, needs, with versions."""
    wanted = re.compile(rf"([\w.-]+)[^;]*; extra == .{extra}." if extra else r"([\w.-]+)[^;]*")
    missing = []
    found = []
    for requirement in importlib.metadata.requires("doom-dream-env") or []:
        if name := wanted.fullmatch(requirement):
            try:
                found.append(f"{name[1]} {importlib.metadata.version(name[1])}")
            except importlib.metadata.PackageNotFoundError:
                missing.append(name[1])
    text = ", ".join(found)
    if missing:
        text = f"missing: {', '.join(missing)}; install with {install_command(extra)}"
    return Finding(text, not missing, essential=not extra)


def check_processor() -> Finding:
    """Cores, threads, what else the machine does, and GPUs."""
    import torch

    cores = usable_cores()
    threads = torch.get_num_threads()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    settings = ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU that torch can use"
    text = f"{processor_name()}, {cores} cores, {threads} threads of torch, load {load:.1f}, {gpu}"
    if settings:
        text += f"; {settings}"
    if threads > cores:
        return Finding(f"{text}; more threads than cores slow each other down: unset OMP_NUM_THREADS", False, False)
    return Finding(text)


def check_memory() -> Finding:
    """Free memory, and room for temporary files."""
    disk = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    text = f"{disk:.0f} GB free for temporary files"
    information = Path("/proc/meminfo")
    if not information.is_file():
        return Finding(text)
    sizes = dict(line.split(":") for line in information.read_text().splitlines())
    free, total = (int(sizes[name].split()[0]) / 1e6 for name in ("MemAvailable", "MemTotal"))
    return Finding(f"{free:.1f} of {total:.1f} GB free, {text}", free >= MEMORY_GB and disk > 0.1, essential=False)


def check_screen() -> Finding:
    """Can a window be opened, and a sound be made? Tried in a process of its own: drivers can crash."""
    environment = {"PYGAME_HIDE_SUPPORT_PROMPT": "1"} | dict(os.environ)
    done = subprocess.run([sys.executable, "-c", SCREEN], env=environment, capture_output=True, text=True, timeout=60)
    lines = done.stdout.strip().splitlines()
    text = ", ".join(lines) or f"trying it ended with status {done.returncode}"
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "none"
    seen = bool(lines) and not any(word in lines[0] for word in ("none", "offscreen", "dummy"))
    hint = "" if seen else "; without a display use dream-doom record"
    return Finding(f"{text}, display {display}{hint}", seen, essential=False)


def check_game() -> Finding:
    """Play a second of ViZDoom."""
    from doom_dream_env.game.game import Game
    from doom_dream_env.scenarios import get_scenario, press

    started = time.perf_counter()
    game = Game(get_scenario("basic"))
    try:
        game.reset(0)
        for _ in range(GAME_STEPS):
            game.step(press())
        seen = len(set(game.frame.reshape(-1).tolist())) > 1
    finally:
        game.close()
    text = f"played a second of basic in {time.perf_counter() - started:.1f} s"
    return Finding(text if seen else f"{text}, but its picture is empty", seen)


def check_weights(weights: str | None) -> Finding:
    """Compare every file of the weights with its checksum."""
    from doom_dream_env.world_model import files

    names = [weights] if weights else files.shipped()
    if not names:
        return Finding("none ship with this installation: python -m training pipeline makes some", False)
    found = [f"{name} {files.check(files.find_weights(name))['fingerprint']}" for name in names]
    return Finding(f"whole: {', '.join(found)}")


def check_speed(weights: str | None) -> Finding:
    """Dream for a moment."""
    from doom_dream_env.commands.benchmark import random_step, rate
    from doom_dream_env.envs.batch import DreamBatch

    one, many = (rate(random_step(DreamBatch(count, weights=weights)), SECONDS) for count in (1, DREAMS))
    return Finding(f"{one:,.0f} steps/s of one dream, {many:,.0f} of {DREAMS} dreams")


# ---- all of them -----------------------------------------------------------------------------------------------------


def examine(weights: str | None = None) -> int:
    """Make all checks and print a line for each.

    Args:
        weights: as for `WorldModel.from_pretrained`; None: all that ship are checked, the best are measured.

    Returns:
        exit status: 1 if something essential is broken.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "Python": check_python,
        "libraries": check_libraries,
        "for training": lambda: check_libraries("train"),
        "processor": check_processor,
        "memory": check_memory,
        "screen": check_screen,
        "ViZDoom": check_game,
        "weights": lambda: check_weights(weights),
        "speed": lambda: check_speed(weights),
    }
    broken = 0
    for name, check in checks.items():
        try:
            finding = check()
        except Exception as error:  # whatever it is, it is what the report must say, and the other checks go on
            finding = Finding(f"{type(error).__name__}: {' '.join(str(error).split())}", False)
        mark = "ok" if finding.sound else "BROKEN" if finding.essential else "note"
        broken += mark == "BROKEN"
        print(f"{mark:6}  {name:12}  {finding.text}", flush=True)
    print(f"{broken} broken: put these lines into a report" if broken else "all that is essential works")
    return int(broken > 0)
