"""Dream many dreams in one batched model call and say how fast that is.

python examples/vectorised.py --envs 64 --steps 200

`gym.make_vec` speaks NumPy and resets ended dreams by itself; `DreamBatch` is the engine below it: torch tensors that
stay on the device, and you say which environments to reset.
"""

import argparse
import time

import gymnasium as gym
import torch

import doom_dream_env  # noqa: F401  registers DreamDoom-v0
from doom_dream_env.envs import DreamBatch


def with_gymnasium(args: argparse.Namespace) -> float:
    envs = gym.make_vec(
        "DreamDoom-v0", num_envs=args.envs, scenario=args.scenario, device=args.device, weights=args.weights
    )
    envs.reset(seed=args.seed)
    envs.action_space.seed(args.seed)
    started = time.perf_counter()
    for _ in range(args.steps):
        envs.step(envs.action_space.sample())
    seconds = time.perf_counter() - started
    envs.close()
    return args.envs * args.steps / seconds


def with_torch(args: argparse.Namespace) -> float:
    batch = DreamBatch(args.envs, args.scenario, device=args.device, weights=args.weights)
    batch.reset(seed=args.seed)
    choices = len(batch.action_table)
    score = torch.zeros(args.envs, device=batch.device)
    started = time.perf_counter()
    for _ in range(args.steps):
        actions = torch.randint(choices, (args.envs,), device=batch.device)
        _, reward, terminated, truncated = batch.step(actions)
        score += reward
        ended = terminated | truncated
        if ended.any():
            batch.reset(ended)
    score.sum().item()  # a GPU works ahead: wait for it before looking at the clock
    return args.envs * args.steps / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="take_cover", help="which scenario to dream of")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--envs", type=int, default=64, help="dreams side by side")
    parser.add_argument("--steps", type=int, default=200, help="steps of all dreams")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dreams")
    args = parser.parse_args()

    for name, run in (("gym.make_vec", with_gymnasium), ("DreamBatch", with_torch)):
        print(f"{name:<12} {run(args):>10,.0f} steps/s in {args.envs} dreams")


if __name__ == "__main__":
    main()
