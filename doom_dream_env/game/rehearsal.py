"""A first start of what the user has brought, in a process that may crash.

ViZDoom 1.3 crashes Python (a segmentation fault, no exception) when its engine starts and then cannot play what it was
given: a damaged map, say, or one without a place for a single player. What ships with ViZDoom, and is played here, can.
"""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from doom_dream_env.errors import UserError
from doom_dream_env.game.engine import LOG_VARIABLE, PATIENCE, WORDS, EngineError
from doom_dream_env.game.janitor import home
from doom_dream_env.scenarios import SCENARIOS, Scenario

PLAY = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from doom_dream_env.game.game import Game
game = Game(pickle.load(sys.stdin.buffer), rehearsed=True)
game.reset(0)
game.step([0] * 9)
game.close()
"""


def rehearse(scenario: Scenario) -> None:
    """Start a scenario of the user's own once in another process; the first time only.

    Raises:
        ValueError: if ViZDoom cannot play it; the message has the engine's last words.
    """
    if scenario.wad is not None or scenario.config not in {known.config for known in SCENARIOS.values()}:
        _rehearse(scenario)


@functools.cache
def _rehearse(scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory(dir=home()) as folder:
        log = Path(folder) / "log"
        played = subprocess.Popen(
            [sys.executable, "-c", PLAY, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {LOG_VARIABLE: str(log)},
        )
        (Path(folder) / "pid").write_text(f"{played.pid}\n")  # the janitor ends it, if this process is killed
        try:
            _, complaints = played.communicate(pickle.dumps(sys.path) + pickle.dumps(scenario), 3 * PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{_what(scenario)} did not start within {3 * PATIENCE} seconds") from error
        finally:
            played.kill()
        if played.returncode == 0:
            return
        words = log.read_text(errors="replace") if log.exists() else ""
    said = [line.strip() for line in words.splitlines() if line.strip()]
    complaint = complaints.decode(errors="replace").strip().rpartition("\n")[2]
    raise UserError(
        f"ViZDoom cannot play {_what(scenario)}; its engine said last: "
        f"{said[-1][:WORDS] if said else complaint or f'nothing (exit status {played.returncode})'}"
    )


def _what(scenario: Scenario) -> str:
    return scenario.config if scenario.wad is None else f"{scenario.map} of {scenario.wad}"
