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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from doom_dream_env.doctor import processor_name, usable_cores
from doom_dream_env.envs.base import shared_world_model
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.envs.game import Game
from doom_dream_env.mistakes import UserError
from doom_dream_env.policies import RandomPolicy
from doom_dream_env.scenarios import BUTTONS, Scenario, get_scenario
from doom_dream_env.threads import at_most
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import write_atomically
from doom_dream_env.world_model.flops import parameters_and_flops, shares_of_time

ENV_COUNTS = (1, 16, 64, 256, 1024)
PIXEL_ENV_COUNTS = (1, 64)
REFERENCE_ENVS = 256  # of the ratio to the real game
SCORECARD_ENVS = (1, REFERENCE_ENVS)
SCORECARD_SECONDS = 1.5
TABLE = (
    "| processor, cores | 64 dreams, steps/s | 256 | over SubprocVecEnv | of the matrix-product peak | one step |\n"
    "|---|---|---|---|---|---|\n"
)

Percentiles = tuple[float, float]  # 50th and 99th


@dataclass
class Speed:
    """What one run measured.

    Attributes:
        weights: name and fingerprint.
        scenario: its name.
        threads: of torch.
        dream: number of environments → steps/s.
        dream_pixels: the same with every picture decoded.
        latency_ms: of a single step of one dream, (p50, p99).
        latency_pixels_ms: the same with its picture.
        window_fps: frames/s that the window of `dream-doom play` displays, without a screen.
        key_ms: from a key to the picture it changes, (p50, p99).
        real_raw: steps/s of one real game at 160x120.
        real_vec: steps/s of one game per core through ViZDoom's Gymnasium wrapper in Stable-Baselines3's SubprocVecEnv.
        processor: its name.
    shares: of the time of a step of `REFERENCE_ENVS` on one thread: see `shares_of_time`.
    peak_gflops: of a float32 matrix product.
        step_mflop: a dreamed step.
        memory_mb: of this process at most.
        state_kb: of one dream.
    """

    weights: str
    scenario: str
    threads: int
    dream: dict[int, float] = field(default_factory=dict)
    dream_pixels: dict[int, float] = field(default_factory=dict)
    latency_ms: Percentiles = (0.0, 0.0)
    latency_pixels_ms: Percentiles = (0.0, 0.0)
    window_fps: float = 0.0
    key_ms: Percentiles = (0.0, 0.0)
    real_raw: float = 0.0
    real_vec: float = 0.0
    processor: str = field(default_factory=processor_name)
    shares: dict[str, float] = field(default_factory=dict)
    peak_gflops: float = 0.0
    step_mflop: float = 0.0
    memory_mb: float = 0.0
    state_kb: float = 0.0

    @property
    def ratio(self) -> float:
        """Dreamed steps/s at `REFERENCE_ENVS` over real ones through SubprocVecEnv."""
        return self.dream[REFERENCE_ENVS] / self.real_vec

    def peak_share(self, num_envs: int) -> float:
        """Share of the matrix-product peak that the dream's products reach."""
        return self.dream[num_envs] * self.step_mflop / (1000 * self.peak_gflops)

    @property
    def row(self) -> str:
        """A line of the table that begins with `TABLE`."""
        rates = f"{self.dream[64]:,.0f} | {self.dream[REFERENCE_ENVS]:,.0f} | {self.ratio:.1f}"
        share = f"{self.peak_share(REFERENCE_ENVS):.0%} of {self.peak_gflops:.0f} GFLOP/s"
        return f"| {self.processor}, {usable_cores()} | {rates} | {share} | {self.latency_ms[0]:.2f} ms |"


# ---- what is measured how ------------------------------------------------------------------------------------------


def rate(step: Callable[[], int], seconds: float) -> float:
    """Calls `step`, which returns how many steps it made, for about `seconds`; steps/s after one call to warm up."""
    step()
    made = 0
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        made += step()
    return made / spent


def latency(step: Callable[[], object], seconds: float) -> Percentiles:
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


def window_rates(model: WorldModel, scenario: str, seconds: float) -> tuple[float, Percentiles]:
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
def measure(scenario: str = "take_cover", weights: str | None = None, seconds: float = 3.0) -> Speed:
    """Everything, one after another on the same cores.

    Args:
        scenario: one with an action table.
        weights: as for `WorldModel.from_pretrained`.
        seconds: spent on each figure.

    Raises:
        ValueError: if the scenario has no action table or ViZDoom no environment of it.
    """
    played = get_scenario(scenario)
    if not played.discrete:
        raise UserError(f"the benchmark presses one button at a time, {scenario} takes nine: choose another scenario")
    model = shared_world_model(weights)
    speed = Speed(f"{model.config.name} {model.fingerprint}", scenario, torch.get_num_threads())
    with torch.inference_mode(False):
        speed.step_mflop = parameters_and_flops(model)["predictor (cached step)"][1] / 1e6
    speed.peak_gflops = matrix_peak(seconds)
    for count in ENV_COUNTS:
        speed.dream[count] = rate(random_step(DreamBatch(count, scenario, weights=model)), seconds)
    for count in PIXEL_ENV_COUNTS:
        speed.dream_pixels[count] = rate(random_step(DreamBatch(count, scenario, weights=model), True), seconds)
    with at_most(1):
        speed.shares = shares_of_time(random_step(DreamBatch(REFERENCE_ENVS, scenario, weights=model)))
    one = DreamBatch(1, scenario, weights=model)
    speed.latency_ms = latency(random_step(one), seconds)
    speed.latency_pixels_ms = latency(random_step(one, True), seconds)
    speed.state_kb = one.get_state()["state"].nbytes / 1000
    speed.window_fps, speed.key_ms = window_rates(model, scenario, 4 * seconds)
    speed.real_raw = game_rate(played, seconds)
    speed.real_vec = subproc_rate(played, seconds)
    speed.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return speed


def speed_scores(model: WorldModel, scenario: str, seconds: float = SCORECARD_SECONDS) -> dict[str, float]:
    """For the scorecard: steps/s of one dream and of many, and of the real game, in one run on the same cores."""
    scores = {
        f"dream_steps_per_s_{count}": rate(random_step(DreamBatch(count, scenario, weights=model)), seconds)
        for count in SCORECARD_ENVS
    }
    return scores | {"real_steps_per_s": game_rate(get_scenario(scenario), seconds)}


def append(speed: Speed, path: Path) -> None:
    """Put the row of this machine into the table of a Markdown file, the newest first.

    Raises:
        ValueError: if the file holds no such table.
    """
    before, found, after = path.read_text().partition(TABLE)
    if not found:
        raise UserError(f"{path} holds no table of speeds: it needs these lines\n{TABLE}")
    write_atomically(path, f"{before}{TABLE}{speed.row}\n{after}".encode())


def show(speed: Speed) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    title = f"{speed.scenario}, weights {speed.weights}"
    table = Table("what", "steps/s", "of the matrix-product peak", title=title)
    for count, steps in speed.dream.items():
        table.add_row(f"dreams at once: {count}", f"{steps:,.0f}", f"{speed.peak_share(count):.0%}")
    for count, steps in speed.dream_pixels.items():
        table.add_row(f"dreams at once, with pixels: {count}", f"{steps:,.0f}", "")
    table.add_row("window, frames/s", f"{speed.window_fps:,.1f}", "")
    table.add_row("real game, bare, one", f"{speed.real_raw:,.0f}", "")
    table.add_row("real game, Gymnasium in SubprocVecEnv, one per core", f"{speed.real_vec:,.0f}", "")
    console = Console()
    console.print(table)
    console.print(
        f"{REFERENCE_ENVS} dreams over SubprocVecEnv: {speed.ratio:.1f} times. "
        f"One step: p50 {speed.latency_ms[0]:.2f} ms, p99 {speed.latency_ms[1]:.2f} ms; "
        f"with its picture {speed.latency_pixels_ms[0]:.2f} and {speed.latency_pixels_ms[1]:.2f} ms. "
        f"In the window, from a key to the picture it changes: p50 {speed.key_ms[0]:.0f} ms, "
        f"p99 {speed.key_ms[1]:.0f} ms.\n"
        f"A step is {speed.step_mflop:.2f} MFLOP; "
        f"the peak, float32 on {speed.threads} threads, {speed.peak_gflops:.0f} GFLOP/s. "
        f"The time of {REFERENCE_ENVS} dreams on one thread: "
        f"{', '.join(f'{name} {share:.0%}' for name, share in speed.shares.items())}. "
        f"Memory at most {speed.memory_mb:.0f} MB; one dream {speed.state_kb:.0f} kB."
    )
