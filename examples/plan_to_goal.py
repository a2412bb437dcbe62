"""Plan towards a picture: play the real game so that it comes to look like a goal frame, by planning in the dream.

python examples/plan_to_goal.py --scenario my_way_home --kind cem --steps 40
python examples/plan_to_goal.py --goal door.png

Without --goal, the picture is what a random walk of the same game has come to see; the planner starts where that began.
"""

import argparse

import numpy as np
import torch
from PIL import Image

from doom_dream_env.agents.planning import KINDS, make_planner
from doom_dream_env.envs import RealBatch
from doom_dream_env.policies import HeldRandomPolicy
from doom_dream_env.seeds import EVALUATION


def walk(real: RealBatch, seed: int, steps: int) -> np.ndarray:
    """What the game of a seed looks like after so many steps of a random walk."""
    policy = HeldRandomPolicy(real.scenario, np.random.default_rng(seed), shortest=3, longest=8)
    real.reset(seed=[seed])
    for _ in range(steps):
        real.step(policy(real), allow_ended=True)
    return real.frames()[0]


def read_picture(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((160, 120), Image.Resampling.BOX))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="my_way_home", help="which scenario to play")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--goal", default=None, help="a picture to get near to (default: the end of a random walk)")
    parser.add_argument("--kind", default="cem", choices=KINDS, help="how to search")
    parser.add_argument("--horizon", type=int, default=12, help="steps that a plan looks ahead")
    parser.add_argument("--rounds", type=int, default=4, help="of each search")
    parser.add_argument("--walk", type=int, default=12, help="steps of the random walk")
    parser.add_argument("--steps", type=int, default=40, help="steps to play")
    parser.add_argument("--seed", type=int, default=EVALUATION, help="of the game, the walk and the planner")
    args = parser.parse_args()

    real = RealBatch(1, args.scenario, weights=args.weights)
    goal = read_picture(args.goal) if args.goal else walk(real, args.seed, args.walk)
    planner = make_planner(
        real.model, args.scenario, args.kind, goal=goal, horizon=args.horizon, rounds=args.rounds, seed=args.seed
    )
    target = real.model.encode(goal[None, None])[0, 0]

    real.reset(seed=[args.seed])
    distances = []
    for step in range(args.steps):
        distances.append(float((real.state.z[0] - target).square().mean()))  # two unrelated states: about 2
        print(f"step {step:3d}  distance {distances[-1]:.3f}")
        real.step(planner(real))
        if torch.any(real.done):
            break
    real.close()
    print(f"first {distances[0]:.3f}, nearest {min(distances):.3f} after {int(np.argmin(distances))} steps")


if __name__ == "__main__":
    main()
