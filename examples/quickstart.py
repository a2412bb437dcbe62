"""Step through a dream with random actions and save what it looks like.

python examples/quickstart.py --steps 64 --picture dream.png
"""

import argparse

import gymnasium as gym
from PIL import Image

import doom_dream_env  # noqa: F401  registers DreamDoom-v0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="basic", help="which scenario to dream of")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--steps", type=int, default=64, help="steps of 4/35 s of game time")
    parser.add_argument("--seed", type=int, default=0, help="the same seed dreams the same dream")
    parser.add_argument("--picture", default="dream.png", help="where to save the last frame")
    args = parser.parse_args()

    env = gym.make("DreamDoom-v0", scenario=args.scenario, render_mode="rgb_array", weights=args.weights)
    env.action_space.seed(args.seed)
    observation, info = env.reset(seed=args.seed)
    print(f"observation {observation.shape}, actions {env.action_space}")

    episodes = 1
    total = 0.0
    for _ in range(args.steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total += reward
        if terminated or truncated:
            observation, info = env.reset()
            episodes += 1

    # No pixel has been computed so far: only this asks for some.
    Image.fromarray(env.render()).resize((640, 480), Image.Resampling.NEAREST).save(args.picture)
    print(f"{args.steps} steps, {episodes} episodes begun, total reward {total:.1f}")
    print(f"the last frame is in {args.picture}")
    env.close()


if __name__ == "__main__":
    main()
