"""Record gameplay of real ViZDoom as Parquet shards (`doom_dream_env.game.recording`).

    python -m training collect --out data                      # an hour of game time per scenario, three of free play
    python -m training collect --out data --split val --steps 10000
    python -m training collect --out data --scenarios take_cover --mix runs/agent 0.5 perturbed 0.5
    python -m training collect --out data --scenarios freedoom --wad doom2.wad --maps MAP01 MAP02
    python -m training collect --out data --things --no-frames --steps 180000    # for the dynamics of things
    python -m training collect --out /shared/data --ray auto    # on a Ray cluster, see training.data.ray_collect

Each shard is one job with its own seeds: the same command gives the same data, a killed run goes on where it was
(finished shards are kept, the one in work is made anew), and more processes change nothing but the time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.game.recording import (
    FREEDOOM,
    STEPS_PER_SHARD,
    Origin,
    ShardWriter,
    before_step,
    compress_frame,
    game_origin,
    state_origin,
)
from doom_dream_env.game.things import Watch
from doom_dream_env.processes import end_with_parent, usable_cores
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import BUTTONS, TRAINED_MAPS, Buttons, Scenario, get_scenario
from doom_dream_env.scenarios.wads import maps_in
from doom_dream_env.seeds import SPLITS
from training.config import CollectConfig, Split, record_config
from training.data.ray_collect import shards_on_ray
from training.players.base import Player, RandomPlayer
from training.players.handover import HandoverPlayer
from training.players.roster import make_player
from training.processes import sole_writer

FREE_PLAY_FACTOR = 3  # how many times the steps of other scenarios free play gets, shared by its maps
EPISODES_PER_SHARD = 50  # at most; also the stride of the shards' seeds
THINGS = "things"  # how the names of shards begin that hold things and no frames
HEAD_START = (
    500.0  # steps; mean of the random lead with which behaviours begin a shard, so that none always comes first
)


# Steps of doing nothing before a shard. The engine keeps something of the episode before: in the first episode of a
# shard of `basic`, a frame or two showed the weapon a pixel aside in 14 of 30 cases, depending on what the process had
# played before. After 10 such steps it was 2 of 30, after 30 none of 25 (measured).
SETTLING = 40


@dataclass(frozen=True)
class Job:
    """One shard.

    Attributes:
        scenario: what is played.
        split: whose seeds.
        index: number of the shard, which says which part of the seeds.
        mix: who plays, and the share of the steps.
        path: where the shard goes.
        origin: where its frames come from.
        tics: also store the frames of the tics between two steps.
        things: also store the things of the level.
        frames: store frames.
    """

    scenario: Scenario
    split: Split
    index: int
    mix: dict[str, float]
    path: Path
    origin: Origin
    tics: bool = False
    things: bool = False
    frames: bool = True


def collect(config: CollectConfig) -> int:
    """Record about as many steps of each scenario as the settings say, or only measure how fast that goes.

    Returns:
        the number of new steps.

    Raises:
        ValueError: if a scenario, map, WAD or behaviour is unknown, or the split has too few seeds.
        OSError: if a shard cannot be written; finished ones stay. If another collector is at work on the same scenario
            and split: the message says which.
    """
    if not (config.frames or config.things):
        raise UserError("--no-frames leaves nothing to learn from: add --things")
    if config.benchmark:
        for name in config.scenarios:
            benchmark(name)
        return 0
    with ExitStack() as writers:
        for name in dict.fromkeys(config.scenarios):
            writers.enter_context(sole_writer(config.out / get_scenario(name).name, config.split))
        return _collect(config)


def _collect(config: CollectConfig) -> int:
    jobs = [job for name in config.scenarios for job in plan_jobs(config, name)]
    record_config(config, config.out / f"collect-{config.split}.config.json")
    todo = [job for job in jobs if not job.path.exists()]
    if config.licence is not None:  # it may be known later than the frames
        for job in jobs:
            if job.path.exists():
                state_origin(job.path, job.origin)
    total = 0
    started = time.perf_counter()
    with progress(total=len(jobs), initial=len(jobs) - len(todo), unit="shard", desc=f"collect {config.split}") as bar:
        for steps in finished_shards(todo, config):
            total += steps
            bar.update()
            bar.set_postfix_str(f"{total / (time.perf_counter() - started):.0f} steps/s")
    return total


def finished_shards(jobs: list[Job], config: CollectConfig) -> Iterator[int]:
    """Make shards, here or on a cluster; gives the number of steps of each one that is finished."""
    if not jobs:
        return
    if config.ray is not None:
        yield from shards_on_ray(jobs, config.ray, collect_shard)
        return
    workers = min(config.workers or usable_cores(), len(jobs))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        pending = {pool.submit(collect_shard, job) for job in jobs}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()


def plan_jobs(config: CollectConfig, name: str) -> list[Job]:
    """All shards of a scenario, finished or not; makes its folder, without what a killed run left half written.

    Free play gets `FREE_PLAY_FACTOR` times the steps, shared out among its maps.
    """
    scenarios = [get_scenario(name)]
    steps = config.steps
    if scenarios[0].map is not None:
        maps = config.maps or (maps_in(config.wad) if config.wad else TRAINED_MAPS)
        scenarios = [get_scenario(name, map, config.wad) for map in maps]
        steps *= FREE_PLAY_FACTOR
    folder = (config.out / scenarios[0].name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"*{config.split}-*.partial"):
        leftover.unlink()
    mix = config.mix_of(scenarios[0].name)
    shards = -(-steps // (STEPS_PER_SHARD * len(scenarios)))
    jobs = []
    for scenario in scenarios:
        origin = game_origin(scenario, config.licence)
        kind = [] if config.frames else [THINGS]
        stem = "-".join([*kind, config.split, *scenario.place.split(":")[1:]])
        for index in range(shards):
            path = folder / f"{stem}-{index:05d}.parquet"
            job = Job(scenario, config.split, index, mix, path, origin, config.tics, config.things, config.frames)
            jobs.append(job)
    return jobs


# ---- one shard, in a worker process ----------------------------------------------------------------------------------


def collect_shard(job: Job) -> int:
    """Play and write one shard.

    Whoever is furthest behind his share of the steps plays the next episode.

    Returns:
        its number of steps.

    Raises:
        ValueError: if it needs seeds beyond those of the split.
    """
    game = _running_game(job.scenario)
    seeds = SPLITS[job.split]
    settle(game, seeds.start)
    behaviours = list(job.mix)
    shares = np.array(list(job.mix.values())) / sum(job.mix.values())
    recorded = np.random.default_rng((seeds.start, job.index)).exponential(HEAD_START, len(shares))
    shard = ShardWriter()
    for number in range(EPISODES_PER_SHARD):
        seed = seeds.start + job.index * EPISODES_PER_SHARD + number
        if seed not in seeds:
            raise UserError(
                f"shard {job.index} needs seeds beyond {seeds.stop} of split {job.split!r}; collect fewer steps"
            )
        turn = int(np.argmax(shares * (recorded.sum() + 1) - recorded))
        recorded[turn] += record_episode(shard, game, behaviours[turn], seed, job)
        if len(shard) >= STEPS_PER_SHARD:
            break
    shard.write(job.path, job.scenario.name, job.scenario.place, job.origin)
    return len(shard)


def settle(game: Game, seed: int) -> None:
    """Do nothing for a while, so that a shard does not depend on what this process has played before."""
    ended = True
    for _ in range(SETTLING):
        if ended:
            game.reset(seed)
        _, terminated, truncated = game.step(np.zeros(len(BUTTONS), np.uint8))
        ended = terminated or truncated


def record_episode(shard: ShardWriter, game: Game, behaviour: str, seed: int, job: Job) -> int:
    """Play one episode and add its steps to the shard.

    Returns:
        the number of steps recorded.
    """
    player = make_player(behaviour, game.scenario, np.random.default_rng(seed))
    game.reset(seed)
    watch = Watch(game)
    skipped = player.recorded_from if isinstance(player, HandoverPlayer) else 0
    elapsed = _play_on(game, player, skipped)
    if elapsed < skipped:
        return 0  # it has ended before
    ended = False
    while not ended:
        before = before_step(game, watch if job.things else None, job.frames)
        action = player(game)
        between: dict[str, list[bytes]] = {}
        if job.tics:
            reward, terminated, truncated, between["tics"] = _step_by_tics(game, action)
        else:
            reward, terminated, truncated = game.step(action)
        shard.add(
            **before,
            action=action,
            reward=np.float32(reward),
            terminated=terminated,
            truncated=truncated,
            next_variables=game.variables,
            elapsed=elapsed,
            episode=seed,
            behaviour=behaviour,
            **between,
        )
        elapsed += 1
        ended = terminated or truncated
    return elapsed - skipped


def _play_on(game: Game, player: Player, steps: int) -> int:
    """Let a player play without recording; returns the steps played, −1 if the episode has ended."""
    for _ in range(steps):
        _, terminated, truncated = game.step(player(game))
        if terminated or truncated:
            return -1
    return steps


def _step_by_tics(game: Game, action: Buttons) -> tuple[float, bool, bool, list[bytes]]:
    """One step tic by tic: what `Game.step` returns, and the compressed frames between this step and the next."""
    total = 0.0
    between = []
    terminated = truncated = False
    for _ in range(game.scenario.frame_skip):
        reward, terminated, truncated = game.step(action, tics=1)
        total += reward
        if terminated or truncated:
            break
        between.append(compress_frame(game.frame))
    return total, terminated, truncated, between[: game.scenario.frame_skip - 1]


_games: dict[Scenario, Game] = {}  # the game that this process has running: one at a time, as it takes 100 MB


def _running_game(scenario: Scenario) -> Game:
    if scenario not in _games:
        _close_games()
        _games[scenario] = Game(scenario, privileged=True)
    return _games[scenario]


def _close_games() -> None:
    while _games:
        _games.popitem()[1].close()


# ---- how fast it is --------------------------------------------------------------------------------------------------


def benchmark(name: str) -> None:
    """Print steps/s of one process with the same random play: ViZDoom alone, with its labels buffer, and collecting."""
    scenario = get_scenario(name)
    games = {"alone": Game(scenario), "with labels": Game(scenario, privileged=True)}
    rates: dict[str, list[float]] = {"alone": [], "with labels": [], "collecting": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(4):  # in turns, so that a busy machine slows all alike
            for kind, game in games.items():
                rates[kind].append(_game_rate(game, turn))
            job = Job(scenario, "train", turn, {"random": 1.0}, Path(folder) / f"{turn}.parquet", FREEDOOM)
            started = time.perf_counter()
            rates["collecting"].append(collect_shard(job) / (time.perf_counter() - started))
    for game in games.values():
        game.close()
    medians = {kind: float(np.median(values[1:])) for kind, values in rates.items()}  # the first turn warms up
    shown = [f"{kind} {rate:.0f} steps/s ({rate / medians['alone']:.0%})" for kind, rate in medians.items()]
    print(f"{name}: {', '.join(shown)}")


def _game_rate(game: Game, turn: int) -> float:
    """Steps/s of random play."""
    player = RandomPlayer(game.scenario, np.random.default_rng(turn))
    steps = 0
    started = time.perf_counter()
    while steps < STEPS_PER_SHARD:
        game.reset(turn * EPISODES_PER_SHARD + steps)
        ended = False
        while not ended:
            _, terminated, truncated = game.step(player(game))
            ended = terminated or truncated
            steps += 1
    return steps / (time.perf_counter() - started)
