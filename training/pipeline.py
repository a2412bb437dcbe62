"""The whole way in one command: collect → world model → dynamics → decoder → scorecard → weights.

    python -m training.pipeline --preset nano --out runs/nano          # two CPU cores, about three hours
    python -m training.pipeline --preset base --out runs/base          # one GPU

Every stage resumes where it was: give the same command again after a kill. Weights end up in `<out>/weights`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import PRESETS


@dataclass(frozen=True)
class Plan:
    """Sizes of the stages of one preset."""

    data_steps: int
    joint_steps: int
    joint_batch: int
    dynamics_steps: int
    dynamics_batch: int
    decoder_steps: int
    decoder_batch: int
    held_out_steps: int = 10_000


PLANS = {
    "tiny": Plan(3_000, 50, 12, 50, 8, 20, 8, 1_500),
    "nano": Plan(32_000, 4_000, 40, 6_000, 40, 24_000, 24),
    "base": Plan(315_000, 20_000, 128, 10_000, 256, 20_000, 128),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano", help="sizes of the model, and of the plan")
    parser.add_argument("--out", type=Path, default=None, help="folder of the run (default: runs/<preset>)")
    parser.add_argument("--data", type=Path, default=None, help="folder of the dataset (default: <out>/data)")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help="worlds: names, or paths of ViZDoom configurations")
    parser.add_argument("--data-steps", type=int, default=None, help="steps of gameplay per world")
    parser.add_argument("--joint-steps", type=int, default=None, help="optimiser steps of training.world_model")
    parser.add_argument("--dynamics-steps", type=int, default=None, help="optimiser steps of training.dynamics")
    parser.add_argument("--decoder-steps", type=int, default=None, help="optimiser steps of training.decoder")
    parser.add_argument("--seed", type=int, default=0, help="seed of every stage")
    args = parser.parse_args()

    plan, out = PLANS[args.preset], args.out or Path("runs") / args.preset
    data = args.data or out / "data"

    def size(option: str) -> str:
        given = getattr(args, option)
        return str(getattr(plan, option) if given is None else given)

    worlds = ["--scenarios", *args.scenarios]
    common = ["--data", str(data), "--out", str(out), *worlds, "--seed", str(args.seed)]
    held_out = str(min(plan.held_out_steps, int(size("data_steps"))))
    stages = [
        ["collect", "--out", str(data), *worlds, "--steps", size("data_steps")],
        ["collect", "--out", str(data), *worlds, "--steps", held_out, "--split", "val"],
        ["collect", "--out", str(data), *worlds, "--steps", held_out, "--split", "test"],
        ["world_model", *common, "--preset", args.preset, "--steps", size("joint_steps"), "--batch", str(plan.joint_batch)],
        ["dynamics", *common, "--steps", size("dynamics_steps"), "--batch", str(plan.dynamics_batch)],
        ["decoder", *common, "--steps", size("decoder_steps"), "--batch", str(plan.decoder_batch)],
        ["evaluate", "--data", str(data), "--weights", str(out / "weights"), *worlds],
    ]
    for name, *arguments in stages:
        print(f"== training.{name} {' '.join(arguments)}", flush=True)
        subprocess.run([sys.executable, "-m", f"training.{name}", *arguments], check=True)
    print(f"weights are in {out / 'weights'}; try: dream-doom demo --weights {out / 'weights'}")


if __name__ == "__main__":
    main()
