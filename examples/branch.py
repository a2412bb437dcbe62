"""Save one moment of a dream, try every action from it several times, and compare how long each one lets you live.

python examples/branch.py --warmup 40 --repeats 20 --steps 30
"""

import argparse

import gymnasium as gym
import numpy as np
import torch

import doom_dream_env  # noqa: F401  registers DreamDoom-v0
from doom_dream_env.scenarios import get_scenario


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="take_cover", help="which scenario to dream of")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--warmup", type=int, default=40, help="random steps before the moment")
    parser.add_argument("--repeats", type=int, default=20, help="futures per action")
    parser.add_argument("--hold", type=int, default=8, help="steps to hold the action; then do nothing")
    parser.add_argument("--steps", type=int, default=30, help="steps to look ahead")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dream")
    args = parser.parse_args()

    env = gym.make("DreamDoom-v0", scenario=args.scenario, weights=args.weights)
    dream = env.unwrapped  # save and restore are the dream's own, no wrapper's
    env.action_space.seed(args.seed)
    env.reset(seed=args.seed)
    for _ in range(args.warmup):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    moment = dream.get_state()  # a few tens of kB: keep as many as you like

    names = ["nothing", *reversed(get_scenario(args.scenario).buttons)]
    survival = {}
    for action, name in enumerate(names):
        lived = []
        for repeat in range(args.repeats):
            # A restored dream draws the same random numbers again, and so dreams the same future. Each repeat brings
            # a generator of its own; every action gets the same ones.
            dream.set_state(moment | {"generator": torch.Generator().manual_seed(repeat).get_state()})
            for step in range(args.steps):
                _, _, terminated, truncated, _ = dream.step(np.int64(action if step < args.hold else 0))
                if terminated or truncated:
                    break
            lived.append(step + 1)
        survival[name] = np.mean(lived)
        print(f"{name:<14} lives {survival[name]:5.1f} of {args.steps} steps on average, {np.std(lived):4.1f} SD")
    print(f"best: {max(survival, key=survival.get)}")
    env.close()


if __name__ == "__main__":
    main()
