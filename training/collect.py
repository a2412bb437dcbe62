"""Collect gameplay from real ViZDoom into Parquet shards.

    python -m training.collect --out data                      # an hour of game time per world, three of free play
    python -m training.collect --out data --split val --steps 10000
    python -m training.collect --out data --scenarios take_cover --mix runs/agent=0.5,noisy=0.5
    python -m training.collect --out data --scenarios freedoom --wad doom2.wad --maps MAP01 MAP02

Each shard is one job with its own seeds: the same command gives the same data, a killed run goes on where it was
(finished shards are kept, the one in work is made anew), and more processes change nothing but the time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
from tqdm import tqdm

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import SCENARIOS, TRAINED_MAPS, Scenario, get_scenario, maps_in
from doom_dream_env.shards import STEPS_PER_SHARD, ShardWriter, before_step, compress_frame
from training.players import BEHAVIOURS, make_player

SEEDS = {"train": (0, 50_000), "val": (50_000, 60_000), "test": (60_000, 90_000)}
# Shares of steps, not of episodes: good players live long. Random play of a maze or of free play sees nothing but its beginning.
DEFAULT_MIX = "random=0.25,sweep=0.25,scripted=0.1,noisy=0.15,relay=0.25"
WANDERERS_MIX = "random=0.1,sweep=0.1,scripted=0.3,noisy=0.5"
MIXES = dict.fromkeys(("freedoom", "my_way_home", "health_gathering_supreme"), WANDERERS_MIX)
MIXES["deadly_corridor"] = "random=0.15,sweep=0.1,scripted=0.2,noisy=0.25,relay=0.3"
FREE_PLAY_SHARE = 3  # free play gets so many times the steps of the other worlds
EPISODES_PER_SHARD = 50  # at most; also the stride of the shards' seeds


@dataclass(frozen=True)
class Job:
    """One shard: which world, which part of the seeds, who plays."""

    scenario: Scenario
    split: str
    index: int
    mix: tuple[tuple[str, float], ...]
    path: Path
    tics: bool = False


_games: dict[Scenario, Game] = {}


def _close_games() -> None:
    while _games:
        _games.popitem()[1].close()


def _leave_no_games() -> None:
    """Close this worker's games when it ends, and end it when the process that started it is gone."""
    parent = os.getppid()
    Finalize(None, _close_games, exitpriority=10)  # worker processes run no atexit handlers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        _close_games()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def collect_shard(job: Job) -> int:
    """Play and write one shard; return its number of steps. Runs in a worker process."""
    scenario = job.scenario
    if scenario not in _games:
        _close_games()  # one at a time: a game takes 100 MB
        _games[scenario] = Game(scenario, privileged=True)
    game = _games[scenario]
    low, high = SEEDS[job.split]
    shares = np.array([weight for _, weight in job.mix]) / sum(weight for _, weight in job.mix)
    played = np.random.default_rng((low, job.index)).exponential(500.0, len(shares))  # no behaviour always comes first
    shard = ShardWriter()
    for number in range(EPISODES_PER_SHARD):
        seed = low + job.index * EPISODES_PER_SHARD + number
        if seed >= high:
            raise ValueError(f"shard {job.index} needs seeds beyond {high} of split {job.split!r}; collect fewer steps")
        rng = np.random.default_rng(seed)
        turn = int(np.argmax(shares * (played.sum() + 1) - played))  # whoever is furthest behind his share
        behaviour = job.mix[turn][0]
        player = make_player(behaviour, scenario, rng)
        game.reset(seed)
        done, age = False, -1
        while not done:
            age += 1
            if age < getattr(player, "recorded_from", 0):
                _, terminated, truncated = game.step(player(game))
                done = terminated or truncated
                continue
            before = before_step(game)
            action = player(game)
            extra = {}
            if job.tics:
                between, reward = [], 0.0
                for _ in range(scenario.frame_skip):
                    tic_reward, terminated, truncated = game.step(action, tics=1)
                    reward += tic_reward
                    if terminated or truncated:
                        break
                    between.append(compress_frame(game.frame))
                extra["tics"] = between[: scenario.frame_skip - 1]
            else:
                reward, terminated, truncated = game.step(action)
            done = terminated or truncated
            played[turn] += 1
            shard.add(
                **before,
                action=action,
                reward=np.float32(reward),
                terminated=terminated,
                truncated=truncated,
                next_variables=game.variables,
                age=age,
                episode=seed,
                behaviour=behaviour,
                **extra,
            )
        if len(shard) >= STEPS_PER_SHARD:
            break
    shard.write(job.path, scenario.name, scenario.starts)
    return len(shard)


def parse_mix(text: str) -> tuple[tuple[str, float], ...]:
    """Parse `random=0.5,agents/x=0.5` into pairs."""
    pairs = []
    for item in text.split(","):
        name, _, weight = item.partition("=")
        try:
            pairs.append((name.strip(), float(weight or 1)))
        except ValueError:
            raise ValueError(f"--mix {text!r}: expected name=weight,... with names from {', '.join(BEHAVIOURS)} or an agent") from None
    return tuple(pairs)


def collect(
    out: Path,
    scenarios: list[str],
    split: str,
    steps: int,
    mix: str | None = None,
    workers: int | None = None,
    tics: bool = False,
    maps: list[str] | None = None,
    wad: str | None = None,
) -> int:
    """Collect about `steps` steps of each scenario; return the number of new steps.

    Free play gets `FREE_PLAY_SHARE` times as many, shared out among its maps.
    """
    jobs = []
    for name in scenarios:
        worlds = [get_scenario(name)]
        if worlds[0].map is not None:
            worlds = [get_scenario(name, map, wad) for map in maps or (maps_in(wad) if wad else TRAINED_MAPS)]
            steps_here = steps * FREE_PLAY_SHARE
        else:
            steps_here = steps
        folder = Path(out) / worlds[0].name
        players = parse_mix(mix or MIXES.get(worlds[0].name, DEFAULT_MIX))
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{split}-*.partial"):
            leftover.unlink()
        shards = -(-steps_here // (STEPS_PER_SHARD * len(worlds)))
        for world in worlds:
            stem = "-".join([split, *world.starts.split(":")[1:]])
            jobs += [Job(world, split, i, players, folder / f"{stem}-{i:05d}.parquet", tics) for i in range(shards)]
    todo = [job for job in jobs if not job.path.exists()]
    workers = workers or len(os.sched_getaffinity(0))
    total, started = 0, time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(min(workers, max(len(todo), 1)), mp_context=context, initializer=_leave_no_games) as pool,
        tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="shard", desc=f"collect {split}") as bar,
    ):
        pending = {pool.submit(collect_shard, job) for job in todo}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                total += future.result()
                bar.update()
                bar.set_postfix_str(f"{total / (time.perf_counter() - started):.0f} steps/s")
    return total


def benchmark(scenario: str) -> None:
    """Print steps/s of one process, the same random play in one run: ViZDoom alone, with its labels buffer, and collecting."""
    world = get_scenario(scenario)
    rates: dict[str, list[float]] = {"alone": [], "with labels": [], "collecting": []}
    games = {"alone": Game(world), "with labels": Game(world, privileged=True)}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(4):  # in turns, so that a busy machine slows all alike
            for name, game in games.items():
                player, steps, started = make_player("random", world, np.random.default_rng(turn)), 0, time.perf_counter()
                while steps < STEPS_PER_SHARD:
                    game.reset(turn * EPISODES_PER_SHARD + steps)
                    done = False
                    while not done:
                        _, terminated, truncated = game.step(player(game))
                        done, steps = terminated or truncated, steps + 1
                rates[name].append(steps / (time.perf_counter() - started))
            job = Job(world, "train", turn, (("random", 1.0),), Path(folder) / f"{turn}.parquet")
            started = time.perf_counter()
            rates["collecting"].append(collect_shard(job) / (time.perf_counter() - started))
    for game in games.values():
        game.close()
    medians = {name: float(np.median(values[1:])) for name, values in rates.items()}
    print(f"{scenario}: " + ", ".join(f"{name} {rate:.0f} steps/s ({rate / medians['alone']:.0%})" for name, rate in medians.items()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder of the dataset")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help="worlds: names, or paths of ViZDoom configurations")
    parser.add_argument("--split", choices=sorted(SEEDS), default="train", help="which seeds to use")
    parser.add_argument("--steps", type=int, default=32_000, help="steps per world, in free play three times as many (31,500 are an hour)")
    parser.add_argument(
        "--mix",
        default=None,
        help=f"behaviours ({', '.join(BEHAVIOURS)}, or an agent's folder) and their shares of the steps (default: {DEFAULT_MIX}; "
        f"in mazes and free play {WANDERERS_MIX})",
    )
    parser.add_argument("--maps", nargs="+", default=None, help="maps of free play (default: ten of Freedoom, or all of --wad)")
    parser.add_argument("--wad", default=None, help="a WAD of your own for free play")
    parser.add_argument("--workers", type=int, default=None, help="ViZDoom processes (default: one per core)")
    parser.add_argument("--tics", action="store_true", help="also store the frames of the tics between two steps")
    parser.add_argument("--benchmark", action="store_true", help="only measure collecting against ViZDoom alone")
    args = parser.parse_args()
    if args.benchmark:
        for name in args.scenarios:
            benchmark(name)
        return
    collect(args.out, args.scenarios, args.split, args.steps, args.mix, args.workers, args.tics, args.maps, args.wad)


if __name__ == "__main__":
    main()
