"""Train the agents that ship: several of each world in the dream, of which the one that plays the real game best is kept.

    python -m training.agents --weights nano --scenarios take_cover basic --seeds 3 --out doom_dream_env/agents

Nothing is learned in the real game; it only chooses among the seeds, in games of its own (from 50,000 up), so that reports on other games
are not flattered. What is finished is kept under --work: a killed run goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from doom_dream_env.agents import Agent
from doom_dream_env.agents.ppo import train_in_dream
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.scoring import gap, play_both
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import find_weights, read_json, write_atomically

CHOICE_SEED = 50_000  # of the games in which agents are compared: neither of the training data nor of the final tables


def trained(weights: str | Path | None, scenario: str, folder: Path, steps: int | None, seed: int, episodes: int) -> dict[str, Any]:
    """Train an agent in the dream and play it in dream and game; its folder keeps both, and a second call only reads.

    Returns:
        means of "dream" and "real", "real_margin_95" and "gap".
    """
    path = folder / "gap.json"
    if not path.exists():
        model = WorldModel.from_pretrained(weights)
        agent, _ = train_in_dream(model, scenario, steps, seed=seed, progress=False)
        agent.save(folder)
        both = play_both(model, scenario, {f"{scenario}, seed {seed}": agent}, episodes, CHOICE_SEED)
        (scores,) = both.values()
        found = {"scenario": scenario, "dream": scores["dream"].mean, "real": scores["real"].mean}
        found |= {"real_margin_95": scores["real"].margin, "gap": gap(scores)}
        write_atomically(path, (json.dumps(found, indent=2) + "\n").encode())
    return read_json(path)


def one_thread() -> None:
    """Of many processes: small networks gain nothing from more."""
    torch.set_num_threads(1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best shipped)")
    parser.add_argument("--scenarios", nargs="+", default=None, help="worlds (default: all with an action table)")
    parser.add_argument("--seeds", type=int, default=3, help="agents of each world, of which one is kept")
    parser.add_argument("--steps", type=int, default=None, help="dreamed steps of each (default: the world's own)")
    parser.add_argument("--episodes", type=int, default=100, help="real and dreamed, by which they are compared")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--work", type=Path, default=Path("runs/agents"), help="folder of all agents")
    parser.add_argument("--out", type=Path, default=None, help="folder of the best one of each world (default: best under --work)")
    args = parser.parse_args()
    model = WorldModel.from_pretrained(args.weights)
    worlds = args.scenarios or [name for name in model.config.scenarios if get_scenario(name).discrete]
    work, out = args.work / model.fingerprint, args.out or args.work / model.fingerprint / "best"
    jobs = [(name, seed, work / name / f"seed-{seed}") for name in worlds for seed in range(args.seeds)]
    weights = find_weights(args.weights)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context, initializer=one_thread) as pool:
        futures = [pool.submit(trained, weights, name, folder, args.steps, seed, args.episodes) for name, seed, folder in jobs]
        results = [future.result() for future in tqdm(futures, desc="agents", unit="agent")]
    for name in worlds:
        rows = [(found, folder) for (world, _, folder), found in zip(jobs, results, strict=True) if world == name]
        found, folder = max(rows, key=lambda row: row[0]["real"])
        Agent.load(folder, model.fingerprint).save(out / name)
        others = ", ".join(f"{row['real']:.1f}" for row, _ in rows)
        print(f"{name}: real {found['real']:.1f} ± {found['real_margin_95']:.1f} (all seeds: {others}), dream {found['dream']:.1f}")


if __name__ == "__main__":
    main()
