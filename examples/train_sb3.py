"""Train PPO inside the dream, then test it in the real game by swapping the environment's id.

python examples/train_sb3.py --steps 300000 --episodes 20
"""

import argparse

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import doom_dream_env  # noqa: F401  registers RealDoom-v0
from doom_dream_env.envs import DreamDoomVecEnv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="basic", help="which scenario")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--steps", type=int, default=300_000, help="imagined steps to train for")
    parser.add_argument("--envs", type=int, default=64, help="dreams side by side")
    parser.add_argument("--rollout", type=int, default=32, help="steps per dream between two updates")
    parser.add_argument("--temperature", type=float, default=1.0, help="how wild the dream is; 0: not at all")
    parser.add_argument("--episodes", type=int, default=20, help="real episodes to test with")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dream and of PPO")
    args = parser.parse_args()

    dream = DreamDoomVecEnv(args.envs, args.scenario, temperature=args.temperature, weights=args.weights)
    monitored = VecMonitor(dream)  # reports the returns of episodes, before rewards are scaled
    scaled = VecNormalize(monitored, norm_obs=False, gamma=0.99)  # features have a known scale, rewards have not
    agent = PPO(
        "MlpPolicy",
        scaled,
        n_steps=args.rollout,
        batch_size=args.envs * args.rollout // 4,
        learning_rate=5e-4,
        gamma=0.99,
        ent_coef=0.01,
        seed=args.seed,
        device="cpu",
        verbose=1,
    )
    agent.learn(args.steps)

    # The same observations and actions, but frames of the real game and its true reward.
    real = gym.make("RealDoom-v0", scenario=args.scenario, weights=args.weights)
    returns = []
    for episode in range(args.episodes):
        observation, _ = real.reset(seed=60_000 + episode)  # the dream was not learned from these seeds
        done = False
        total = 0.0
        while not done:
            action, _ = agent.predict(observation)
            observation, reward, terminated, truncated, _ = real.step(action)
            done = terminated or truncated
            total += float(reward)
        returns.append(total)
    real.close()
    mean, sd = np.mean(returns), np.std(returns)
    print(f"real {args.scenario}: mean return {mean:.1f}, SD {sd:.1f}, {len(returns)} episodes")


if __name__ == "__main__":
    main()
