"""The loop that closes the gap: learn in the dream, play the real game, teach the dream what happened, again.

    python -m training.iterate --out runs/nano --scenarios take_cover health_gathering --rounds 3

Begins with a finished run of `training.pipeline` (its data, checkpoints and weights). Every round trains an agent of each world in the
dream, plays it in both games, collects `--data-steps` more steps for the dataset, many of them played by it, and trains dynamics and
heads on, mostly on what is new; the encoder, and with it the decoder, stay. `iterate/gap.md` has the gap between dream and game of every
round and the real tics used. Every stage is skipped when its product is there: a killed loop goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.shards import STEPS_PER_SHARD
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically
from training import agents, decoder, dynamics
from training.loop import finished_steps

PRIVILEGED_SHARE = 0.2  # of the episodes of scripted players that these worlds are still taught with
MIX = "{agent}=0.3,random=0.1,sweep=0.1,relay=0.5"


def command(name: str, *arguments: object) -> None:
    """Run one stage in a process of its own."""
    words = [sys.executable, "-m", f"training.{name}", *map(str, arguments)]
    print("==", *words[2:], flush=True)
    subprocess.run(words, check=True)


def gap_table(rounds: list[list[dict[str, Any]]]) -> str:
    """Every round's gaps in Markdown."""
    lines = ["| round | world | dream | real ± 95 % | gap | real tics of training data, about |", "|---|---|---|---|---|---|"]
    for number, rows in enumerate(rounds):
        for row in rows:
            real = f"{row['real']:.1f} ± {row['real_margin_95']:.1f}"
            lines.append(f"| {number} | {row['scenario']} | {row['dream']:.1f} | {real} | {row['gap']:.0%} | {row['real_tics']:,} |")
    return "\n".join(lines) + "\n"


def iterate(args: argparse.Namespace) -> None:
    """Run the loop."""
    home, data = args.out / "iterate", args.data or args.out / "data"
    plan_path = home / "plan.json"
    if not plan_path.exists():  # what the loop began with: later commands count from here
        begun = {"dynamics": finished_steps(args.out / dynamics.CHECKPOINT)}
        begun |= {name: len(list((data / name).glob("train-*.parquet"))) for name in args.scenarios}
        if not all(begun.values()) or not (args.out / "weights").is_dir():
            raise FileNotFoundError(f"{args.out} is no finished run with data of these worlds: make one with training.pipeline")
        write_atomically(plan_path, (json.dumps(begun) + "\n").encode())
    begun, rounds = {key: int(str(value)) for key, value in read_json(plan_path).items()}, []
    for number in range(args.rounds):
        folder = home / f"round-{number}"
        weights = folder / "weights"
        if not weights.exists():  # agents name the weights they belong to, so each round keeps its own
            shutil.copytree(args.out / "weights", folder / "partial", dirs_exist_ok=True)
            (folder / "partial").rename(weights)
        rounds.append(
            [
                agents.trained(weights, name, folder / name, args.agent_steps, args.seed + number, args.episodes)
                | {"real_tics": (begun[name] * STEPS_PER_SHARD + number * args.data_steps) * get_scenario(name).frame_skip}
                for name in args.scenarios
            ]
        )
        write_atomically(home / "gap.md", gap_table(rounds).encode())
        print(gap_table(rounds), flush=True)
        if number + 1 == args.rounds:
            return
        for name in args.scenarios:
            steps = begun[name] * STEPS_PER_SHARD + (number + 1) * args.data_steps
            mix = MIX.format(agent=folder / name)
            command("collect", "--out", data, "--scenarios", name, "--steps", steps, "--mix", mix)
        seen = number * -(-args.data_steps // STEPS_PER_SHARD)  # shards of the rounds before this one
        fresh = [f"{name}={begun[name] + seen}" for name in args.scenarios]
        worlds = WorldModel.from_pretrained(weights).config.scenarios
        common = ["--data", data, "--out", args.out, "--scenarios", *worlds, "--seed", args.seed]
        steps = begun["dynamics"] + (number + 1) * args.dynamics_steps
        few = [f"{name}={PRIVILEGED_SHARE}" for name in args.scenarios]
        emphasis = [f"{name}={args.emphasis}" for name in args.scenarios]
        command(
            "dynamics", *common, "--steps", steps, "--batch", args.batch, "--emphasis", *emphasis, "--fresh", *fresh, "--privileged", *few
        )
        command("decoder", *common, "--steps", finished_steps(args.out / decoder.CHECKPOINT))  # packs


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of a finished run")
    parser.add_argument("--data", type=Path, default=None, help="folder of its dataset (default: <out>/data)")
    parser.add_argument("--scenarios", nargs="+", default=["take_cover"], help="worlds to close the gap of")
    parser.add_argument("--rounds", type=int, default=3, help="agents to train; the data grow between them")
    parser.add_argument("--agent-steps", type=int, default=None, help="dreamed steps of each agent's training (default: the world's own)")
    parser.add_argument("--data-steps", type=int, default=60_000, help="real steps that each round adds to each world's data")
    parser.add_argument("--dynamics-steps", type=int, default=1_000, help="optimiser steps of each round")
    parser.add_argument("--batch", type=int, default=40, help="windows per optimiser step")
    parser.add_argument("--emphasis", type=float, default=3.0, help="share of these worlds' windows, where the others have 1")
    parser.add_argument("--episodes", type=int, default=100, help="in dream and game, for the gap")
    parser.add_argument("--seed", type=int, default=0, help="of agents and training")
    iterate(parser.parse_args())


if __name__ == "__main__":
    main()
