"""How fast the dream is, and how fast the real game on the same cores, in one run."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import tempfile
import threading
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from doom_dream_env.envs.base import shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.policies import RandomPolicy
from doom_dream_env.processes import processor_name, usable_cores
from doom_dream_env.scenarios import BUTTONS, Scenario, get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import write_atomically
from doom_dream_env.world_model.flops import parameters_and_flops, shares_of_time
from doom_dream_env.world_model.threads import at_most

ENV_COUNTS = (1, 16, 64, 256, 1024)
PIXEL_ENV_COUNTS = (1, 64)
REFERENCE_ENVS = 256  # of the ratio to the real game
SCORECARD_ENVS = (1, REFERENCE_ENVS)
SCORECARD_SECONDS = 1.5
TABLE = (
    "| processor, cores | 64 dreams, steps/s | 256 | over SubprocVecEnv | of the matrix-product peak | one step |\n"
    "|---|---|---|---|---|---|\n"
)

# ---- what is measured how ------------------------------------------------------------------------------------------


def rate(step: Callable[[], int], seconds: float) -> float:
    """Calls `step`, which returns how many steps it made, for about `seconds`; steps/s after one call to warm up."""
    step()
    made = 0
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        made += step()
    return made / spent


def latency(step: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of single calls, milliseconds."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < until:
        started = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - started))
    p50, p99 = np.percentile(times, [50, 99])
    return float(p50), float(p99)


def random_step(batch: DreamBatch, pixels: bool = False) -> Callable[[], int]:
    """A step of random play in every environment, those that ended reset and, if asked for, all pictures decoded.

    Returns:
        a function that takes such a step and returns the number of environments.
    """
    policy = RandomPolicy()
    batch.reset(seed=0)

    def step() -> int:
        batch.step(policy(batch))
        if bool(batch.done.any()):
            batch.reset(batch.done)
        if pixels:
            batch.pixels()
        return batch.num_envs

    return step


def game_rate(scenario: Scenario, seconds: float) -> float:
    """Steps/s of one real game under random play, nothing encoded or recorded."""
    rng = np.random.default_rng(0)
    table = scenario.action_table()
    game = Game(scenario)
    game.reset(0)

    def step() -> int:
        if scenario.discrete:
            buttons = table[rng.integers(len(table))]
        else:
            buttons = rng.integers(2, size=len(BUTTONS), dtype=np.uint8)
        _, terminated, truncated = game.step(buttons)
        if terminated or truncated:
            game.reset(int(rng.integers(2**31)))
        return 1

    try:
        return rate(step, seconds)
    finally:
        game.close()


def vizdoom_id(scenario: Scenario) -> str:
    """The id of ViZDoom's own environment of a scenario.

    Raises:
        ValueError: if it has none.
    """
    import gymnasium as gym
    import vizdoom.gymnasium_wrapper  # noqa: F401

    for identifier, spec in gym.registry.items():
        if spec.kwargs.get("scenario_config_file") == scenario.config and "MultiBinary" not in identifier:
            return identifier
    raise UserError(f"ViZDoom has no Gymnasium environment of {scenario.name}: choose another scenario")


def _vizdoom_env(identifier: str, folder: str) -> Any:
    import gymnasium as gym
    import vizdoom.gymnasium_wrapper  # noqa: F401

    os.chdir(folder)  # ViZDoom writes where it is started, and dies of meeting another engine that does the same
    return gym.make(identifier, frame_skip=4)


def subproc_rate(scenario: Scenario, seconds: float) -> float:
    """Steps/s of random play in ViZDoom's own Gymnasium environments, one per core in a SubprocVecEnv."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    rng = np.random.default_rng(0)
    actions = len(scenario.action_table())
    cores = usable_cores()
    identifier = vizdoom_id(scenario)
    with contextlib.ExitStack() as opened:
        folders = [opened.enter_context(tempfile.TemporaryDirectory()) for _ in range(cores)]
        makers: list[Callable[[], Any]] = [functools.partial(_vizdoom_env, identifier, folder) for folder in folders]
        envs = opened.enter_context(contextlib.closing(SubprocVecEnv(makers, start_method="spawn")))

        def step() -> int:
            envs.step(rng.integers(actions, size=cores))
            return cores

        envs.reset()
        return rate(step, seconds)


def matrix_peak(seconds: float, size: int = 1024) -> float:
    """GFLOP/s of a float32 matrix product."""
    a = torch.rand(size, size)

    def product() -> int:
        torch.mm(a, a)
        return 1

    return rate(product, seconds) * 2 * size**3 / 1e9


def window_rates(model: WorldModel, scenario: str, seconds: float) -> tuple[float, tuple[float, float]]:
    """Frames/s of the window on one thread while somebody types, and from a key to its picture, (p50, p99) ms.

    Nothing is shown.
    """
    import pygame

    from doom_dream_env.play.session import PlayScenario, Session
    from doom_dream_env.play.window import Window

    def type_on() -> None:
        rng = np.random.default_rng(0)
        kind = pygame.KEYUP
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            time.sleep(rng.uniform(0.05, 0.25))
            kind = pygame.KEYUP if kind == pygame.KEYDOWN else pygame.KEYDOWN
            pygame.event.post(pygame.event.Event(kind, key=pygame.K_a))
        pygame.event.post(pygame.event.Event(pygame.QUIT))

    with (
        at_most(1),
        unittest.mock.patch.dict(os.environ, {"SDL_VIDEODRIVER": "dummy"}),
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Session(PlayScenario(scenario), model, seed=0)) as session,
    ):
        window = Window(session, Path(folder))
        typist = threading.Thread(target=type_on)
        typist.start()
        window.run()
        typist.join()
    p50, p99 = np.percentile(window.latencies or [0.0], [50, 99])
    return window.fps(), (1000 * float(p50), 1000 * float(p99))


# ---- all of it -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def measure(
    scenario: str = "take_cover", weights: str | None = None, seconds: float = 3.0
) -> tuple[dict[str, str], str]:
    """Everything, one after another on the same cores.

    Args:
        scenario: one with an action table.
        weights: as for `WorldModel.from_pretrained`.
        seconds: spent on each figure.

    Returns:
        what was measured, for people, and the row of a table that begins with `TABLE`.

    Raises:
        UserError: if the scenario has no action table or ViZDoom no environment of it.
    """
    played = get_scenario(scenario)
    if not played.discrete:
        raise UserError(f"the benchmark presses one button at a time, {scenario} takes nine: choose another scenario")
    model = shared_world_model(weights)

    def dreams(count: int, pixels: bool = False) -> Callable[[], int]:
        return random_step(DreamBatch(count, scenario, weights=model), pixels)

    with torch.inference_mode(False):
        gflop = parameters_and_flops(model)["predictor (cached step)"][1] / 1e9
    peak = matrix_peak(seconds)
    steps = {count: rate(dreams(count), seconds) for count in ENV_COUNTS}
    found = {
        f"{count} dreams, steps/s": f"{each:,.0f} ({each * gflop / peak:.0%} of the peak)"
        for count, each in steps.items()
    }
    for count in PIXEL_ENV_COUNTS:
        found[f"{count} dreams with pixels, steps/s"] = f"{rate(dreams(count, pixels=True), seconds):,.0f}"
    one_step = latency(dreams(1), seconds)
    fps, keys = window_rates(model, scenario, 4 * seconds)
    games = subproc_rate(played, seconds)
    ratio = steps[REFERENCE_ENVS] / games
    with at_most(1):
        shares = shares_of_time(dreams(REFERENCE_ENVS))
    found |= {
        "real game, bare, one, steps/s": f"{game_rate(played, seconds):,.0f}",
        "real game, Gymnasium in SubprocVecEnv, one per core, steps/s": f"{games:,.0f}",
        f"{REFERENCE_ENVS} dreams over SubprocVecEnv": f"{ratio:.1f} times",
        "one step, median and 99th percentile": "{:.2f} and {:.2f} ms".format(*one_step),
        "one step with its picture": "{:.2f} and {:.2f} ms".format(*latency(dreams(1, pixels=True), seconds)),
        "window, frames/s": f"{fps:.1f}",
        "window, from a key to the picture it changes": "{:.0f} and {:.0f} ms".format(*keys),
        "peak, float32 matrix product": f"{peak:.0f} GFLOP/s on {torch.get_num_threads()} threads",
        f"time of {REFERENCE_ENVS} dreams on one thread": ", ".join(
            f"{name} {each:.0%}" for name, each in shares.items()
        ),
        "memory at most": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB",
    }
    row = (
        f"| {processor_name()}, {usable_cores()} | {steps[64]:,.0f} | {steps[REFERENCE_ENVS]:,.0f} | {ratio:.1f} "
        f"| {steps[REFERENCE_ENVS] * gflop / peak:.0%} of {peak:.0f} GFLOP/s | {one_step[0]:.2f} ms |"
    )
    return found, row


def speed_scores(model: WorldModel, scenario: str, seconds: float = SCORECARD_SECONDS) -> dict[str, float]:
    """For the scorecard: steps/s of one dream and of many, and of the real game, in one run on the same cores."""
    scores = {
        f"dream_steps_per_s_{count}": rate(random_step(DreamBatch(count, scenario, weights=model)), seconds)
        for count in SCORECARD_ENVS
    }
    return scores | {"real_steps_per_s": game_rate(get_scenario(scenario), seconds)}


def run(scenario: str, weights: str | None, seconds: float, table: Path | None) -> None:
    """Print what was measured, and put the row of this machine on top of the table of a Markdown file.

    Raises:
        UserError: as `measure` does, and if the file holds no such table.
    """
    found, row = measure(scenario, weights, seconds)
    for what, value in found.items():
        print(f"{what}: {value}")
    if table is not None:
        before, there, after = table.read_text().partition(TABLE)
        if not there:
            raise UserError(f"{table} holds no table of speeds: it needs these lines\n{TABLE}")
        write_atomically(table, f"{before}{TABLE}{row}\n{after}".encode())
