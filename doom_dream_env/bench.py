"""How fast the dream is, and how fast the real game on the same cores, in one run."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from doom_dream_env.envs.batch import DreamBatch, shared_world_model
from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import BUTTONS, Scenario, get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.arithmetic import parameters_and_flops

LANES = (1, 16, 64, 256, 1024)
PIXEL_LANES = (1, 64)
REFERENCE_LANES = 256  # of the ratio to the real game


@dataclass
class Speed:
    """What one run measured.

    Attributes:
        weights: name and fingerprint.
        scenario: the world.
        threads: of torch.
        dream: lanes → steps/s; dream_pixels: the same with every picture decoded.
        latency_ms: of a single step of one lane, (p50, p99); latency_pixels_ms: with its picture.
        window_fps: frames/s that the window of `dream-doom play` displays, without a screen; key_ms: from a key to the picture it
            changes, (p50, p99).
        real_raw: steps/s of one real game at 160x120; real_vec: of one game per core through ViZDoom's Gymnasium wrapper in
            Stable-Baselines3's SubprocVecEnv.
        peak_gflops: of a float32 matrix product; step_mflop: a dreamed step.
        memory_mb: of this process at most; state_kb: of one dream.
    """

    weights: str
    scenario: str
    threads: int
    dream: dict[int, float] = field(default_factory=dict)
    dream_pixels: dict[int, float] = field(default_factory=dict)
    latency_ms: tuple[float, float] = (0.0, 0.0)
    latency_pixels_ms: tuple[float, float] = (0.0, 0.0)
    window_fps: float = 0.0
    key_ms: tuple[float, float] = (0.0, 0.0)
    real_raw: float = 0.0
    real_vec: float = 0.0
    peak_gflops: float = 0.0
    step_mflop: float = 0.0
    memory_mb: float = 0.0
    state_kb: float = 0.0

    @property
    def ratio(self) -> float:
        """Dreamed steps/s at `REFERENCE_LANES` over real ones through SubprocVecEnv."""
        return self.dream[REFERENCE_LANES] / self.real_vec

    def peak_share(self, lanes: int) -> float:
        """Share of the matrix-product peak that the dream's products reach."""
        return self.dream[lanes] * self.step_mflop / (1000 * self.peak_gflops)


def rate(step: Callable[[], int], seconds: float) -> float:
    """Calls `step`, which returns how many steps it made, for about `seconds`; steps/s after one call to warm up."""
    step()
    made, started = 0, time.perf_counter()
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


def dreamer(lanes: DreamBatch, pixels: bool) -> Callable[[], int]:
    """One step of random play in every lane, ended lanes reset."""
    discrete, count = lanes.scenario.discrete, lanes.num_envs

    def step() -> int:
        size, values = ((count,), len(lanes.table)) if discrete else ((count, len(BUTTONS)), 2)
        lanes.step(torch.randint(values, size, device=lanes.device))
        if bool(lanes.done.any()):
            lanes.reset(lanes.done)
        if pixels:
            lanes.pixels()
        return count

    return step


def window_rates(model: WorldModel, scenario: str, seconds: float) -> tuple[float, tuple[float, float]]:
    """Frames/s of the window on one thread while somebody types, and from a key to its picture, (p50, p99) ms; nothing is shown."""
    import pygame

    from doom_dream_env.play.session import Session, World
    from doom_dream_env.play.window import Window

    def type_on() -> None:
        dice, until, kind = np.random.default_rng(0), time.perf_counter() + seconds, pygame.KEYUP
        while time.perf_counter() < until:
            time.sleep(dice.uniform(0.05, 0.25))
            kind = pygame.KEYUP if kind == pygame.KEYDOWN else pygame.KEYDOWN
            pygame.event.post(pygame.event.Event(kind, key=pygame.K_a))
        pygame.event.post(pygame.event.Event(pygame.QUIT))

    threads, driver = torch.get_num_threads(), os.environ.get("SDL_VIDEODRIVER")
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(Session(World(scenario), model, seed=0)) as session:
            window = Window(session, Path(folder))
            typist = threading.Thread(target=type_on)
            typist.start()
            window.run()
            typist.join()
        p50, p99 = np.percentile(window.latencies or [0.0], [50, 99])
        return window.fps(), (1000 * float(p50), 1000 * float(p99))
    finally:
        torch.set_num_threads(threads)
        os.environ.pop("SDL_VIDEODRIVER")
        if driver is not None:
            os.environ["SDL_VIDEODRIVER"] = driver


def _wrapped(identifier: str) -> Any:
    import gymnasium as gym
    import vizdoom.gymnasium_wrapper  # noqa: F401

    return gym.make(identifier, frame_skip=4)


def vizdoom_id(scenario: Scenario) -> str:
    """The id of ViZDoom's own environment of a scenario."""
    import gymnasium as gym
    import vizdoom.gymnasium_wrapper  # noqa: F401

    for identifier, spec in gym.registry.items():
        if spec.kwargs.get("scenario_config_file") == scenario.config and "MultiBinary" not in identifier:
            return identifier
    raise ValueError(f"ViZDoom has no Gymnasium environment of {scenario.name}: bench another world")


def bare_rate(scenario: Scenario, seconds: float) -> float:
    """Steps/s of one real game under random play, nothing encoded or recorded."""
    dice, table, game = np.random.default_rng(0), scenario.action_table(), Game(scenario)
    game.reset(0)

    def step() -> int:
        buttons = table[dice.integers(len(table))] if scenario.discrete else dice.integers(2, size=len(BUTTONS), dtype=np.uint8)
        _, terminated, truncated = game.step(buttons)
        if terminated or truncated:
            game.reset(int(dice.integers(2**31)))
        return 1

    try:
        return rate(step, seconds)
    finally:
        game.close()


def vec_rate(scenario: Scenario, seconds: float) -> float:
    """Steps/s of random play in ViZDoom's own Gymnasium environments, one per core in a SubprocVecEnv."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    dice, actions, cores = np.random.default_rng(0), len(scenario.action_table()), len(os.sched_getaffinity(0))
    many = SubprocVecEnv([functools.partial(_wrapped, vizdoom_id(scenario))] * cores, start_method="spawn")
    try:
        many.reset()

        def step() -> int:
            many.step(dice.integers(actions, size=cores))
            return cores

        return rate(step, seconds)
    finally:
        many.close()


def matrix_peak(seconds: float, size: int = 1024) -> float:
    """GFLOP/s of a float32 matrix product."""
    a = torch.rand(size, size)

    def product() -> int:
        torch.mm(a, a)
        return 1

    return rate(product, seconds) * 2 * size**3 / 1e9


@torch.inference_mode()
def measure(scenario: str = "take_cover", weights: str | None = None, seconds: float = 3.0) -> Speed:
    """Everything, one after another on the same cores.

    Args:
        scenario: a world with an action table.
        weights: as for `WorldModel.from_pretrained`.
        seconds: spent on each figure.
    """
    world, model = get_scenario(scenario), shared_world_model(weights)
    if not world.discrete:
        raise ValueError(f"the benchmark presses one button at a time, {scenario} takes nine: choose another scenario")
    speed = Speed(f"{model.config.name} {model.fingerprint}", scenario, torch.get_num_threads())
    with torch.inference_mode(False):
        speed.step_mflop = parameters_and_flops(model)["predictor (cached step)"][1] / 1e6
    speed.peak_gflops = matrix_peak(seconds)
    for pixels, counts, rates in ((False, LANES, speed.dream), (True, PIXEL_LANES, speed.dream_pixels)):
        for count in counts:
            lanes = DreamBatch(count, scenario, weights=model)
            lanes.reset(seed=0)
            rates[count] = rate(dreamer(lanes, pixels), seconds)
            if count == 1 and pixels:
                speed.latency_pixels_ms = latency(dreamer(lanes, True), seconds)
            elif count == 1:
                speed.latency_ms = latency(dreamer(lanes, False), seconds)
                assert lanes.state is not None
                parts = vars(lanes.state).values()
                speed.state_kb = sum(part.numel() * part.element_size() for part in parts) / 1000
    speed.window_fps, speed.key_ms = window_rates(model, scenario, 4 * seconds)
    speed.real_raw, speed.real_vec = bare_rate(world, seconds), vec_rate(world, seconds)
    speed.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return speed


def show(speed: Speed) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "steps/s", "of the matrix-product peak", title=f"{speed.scenario}, weights {speed.weights}")
    for lanes, steps in speed.dream.items():
        table.add_row(f"dream, {lanes} lane{'s' * (lanes > 1)}", f"{steps:,.0f}", f"{speed.peak_share(lanes):.0%}")
    for lanes, steps in speed.dream_pixels.items():
        table.add_row(f"dream with pixels, {lanes} lane{'s' * (lanes > 1)}", f"{steps:,.0f}", "")
    table.add_row("window, frames/s", f"{speed.window_fps:,.1f}", "")
    table.add_row("real game, bare, one", f"{speed.real_raw:,.0f}", "")
    table.add_row("real game, Gymnasium in SubprocVecEnv, one per core", f"{speed.real_vec:,.0f}", "")
    console = Console()
    console.print(table)
    console.print(
        f"Dream at {REFERENCE_LANES} lanes over SubprocVecEnv: {speed.ratio:.1f} times. One step: p50 {speed.latency_ms[0]:.2f} ms, "
        f"p99 {speed.latency_ms[1]:.2f} ms; with its picture {speed.latency_pixels_ms[0]:.2f} and {speed.latency_pixels_ms[1]:.2f} ms. "
        f"In the window, from a key to the picture it changes: p50 {speed.key_ms[0]:.0f} ms, p99 {speed.key_ms[1]:.0f} ms.\n"
        f"A step is {speed.step_mflop:.2f} MFLOP; the peak, float32 on {speed.threads} threads, {speed.peak_gflops:.0f} GFLOP/s: "
        "the rest of the time goes to the draws, the cache and the small operations between the products. "
        f"Memory at most {speed.memory_mb:.0f} MB; one dream {speed.state_kb:.0f} kB."
    )
