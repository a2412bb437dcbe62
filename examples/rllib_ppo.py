"""Train RLlib's PPO inside dreams that run on a Ray cluster, then test it in the real game.

python examples/rllib_ppo.py --runners 2 --steps 200000              # on this machine: pip install "ray[rllib]"
python examples/rllib_ppo.py --address auto --runners 64 --envs 256  # on the cluster that this machine is a node of

Each runner is a process somewhere in the cluster that steps its dreams in one batched model call.
"""

import argparse

import gymnasium as gym
import ray
import torch
from gymnasium.wrappers.vector import NormalizeReward
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env


def make(settings: dict) -> gym.vector.VectorEnv:
    torch.set_num_threads(1)  # batches this small are slower on more
    dreams = gym.make_vec("doom_dream_env:DreamDoom-v0", **settings)  # RLlib adds num_envs
    return NormalizeReward(dreams, gamma=0.99)


def play_real(module: torch.nn.Module, settings: dict, episodes: int) -> torch.Tensor:
    real = gym.make("doom_dream_env:RealDoom-v0", **settings)
    returns = torch.zeros(episodes)
    for episode in range(episodes):
        observation, _ = real.reset(seed=60_000 + episode)  # the dream was not learned from these seeds
        done = False
        while not done:
            with torch.no_grad():
                out = module.forward_inference({Columns.OBS: torch.from_numpy(observation)[None]})
            chosen = torch.distributions.Categorical(logits=out[Columns.ACTION_DIST_INPUTS]).sample()
            observation, reward, terminated, truncated, _ = real.step(chosen.item())
            done = terminated or truncated
            returns[episode] += reward
    real.close()
    return returns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="basic", help="which scenario")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--address", default=None, help="of a Ray cluster (default: one on this machine)")
    parser.add_argument("--runners", type=int, default=2, help="processes that dream; 0: all in this one")
    parser.add_argument("--envs", type=int, default=32, help="dreams of each")
    parser.add_argument("--steps", type=int, default=200_000, help="imagined steps to train for")
    parser.add_argument("--batch", type=int, default=2048, help="steps between two updates")
    parser.add_argument("--episodes", type=int, default=20, help="real episodes to test with")
    args = parser.parse_args()

    ray.init(address=args.address, log_to_driver=False)
    settings = {"scenario": args.scenario, "weights": args.weights}
    register_env("dreams", make)
    config = PPOConfig().environment("dreams", env_config=settings)
    vectorised = gym.VectorizeMode.VECTOR_ENTRY_POINT
    config.env_runners(
        num_env_runners=args.runners, num_envs_per_env_runner=args.envs, gym_env_vectorize_mode=vectorised
    )
    config.training(train_batch_size=args.batch, minibatch_size=min(512, args.batch), num_epochs=4, lr=5e-4)
    config.training(gamma=0.99, lambda_=0.95, entropy_coeff=0.01, vf_clip_param=float("inf"), grad_clip=0.5)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[128, 128], vf_share_layers=False))
    algorithm = config.build_algo()
    for _ in range(-(-args.steps // args.batch)):
        algorithm.train()
    returns = play_real(algorithm.get_module(), settings, args.episodes)
    mean, sd = returns.mean(), returns.std(correction=0)
    print(f"real {args.scenario}: mean return {mean:.1f}, SD {sd:.1f}, {len(returns)} episodes")
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
