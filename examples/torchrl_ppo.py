"""Train TorchRL's PPO inside dreams, then test it in the real game by swapping the environment's id.

python examples/torchrl_ppo.py --steps 200000 --episodes 20        # pip install torchrl
"""

import argparse

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper, RewardScaling, TransformedEnv, set_exploration_type
from torchrl.envs.utils import ExplorationType
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import doom_dream_env  # noqa: F401  registers the ids


def network(features: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, outputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="basic", help="which scenario")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--steps", type=int, default=200_000, help="imagined steps to train for")
    parser.add_argument("--envs", type=int, default=64, help="dreams side by side, one batched model call a step")
    parser.add_argument("--rollout", type=int, default=32, help="steps per dream between two updates")
    parser.add_argument("--reward-scale", type=float, default=0.02, help="rewards are multiplied by this in training")
    parser.add_argument("--episodes", type=int, default=20, help="real episodes to test with")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dream and of PPO")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # batches this small are slower on more
    settings = {"scenario": args.scenario, "weights": args.weights}
    dreams = gym.make_vec("DreamDoom-v0", args.envs, autoreset_mode="SameStep", **settings)
    env = GymWrapper(dreams, categorical_action_encoding=True)
    env = TransformedEnv(env, RewardScaling(0.0, args.reward_scale))
    env.set_seed(args.seed)
    features = env.observation_spec["observation"].shape[-1]
    actor = ProbabilisticActor(
        TensorDictModule(network(features, int(dreams.single_action_space.n)), ["observation"], ["logits"]),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(network(features, 1), in_keys=["observation"])
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=True)
    objective = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01, critic_coeff=0.5)
    optimiser = torch.optim.Adam(objective.parameters(), 5e-4)
    per_update = args.envs * args.rollout
    for data in Collector(env, actor, frames_per_batch=per_update, total_frames=args.steps):
        for _ in range(4):
            with torch.no_grad():
                advantage(data)
            for part in data.reshape(-1)[torch.randperm(per_update)].split(max(per_update // 4, 1)):
                losses = objective(part)
                optimiser.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(objective.parameters(), 0.5)
                optimiser.step()

    real = GymEnv("RealDoom-v0", categorical_action_encoding=True, **settings)
    real.set_seed(60_000)  # the dream was not learned from the seeds from here on
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        returns = [float(real.rollout(10_000, actor)["next", "reward"].sum()) for _ in range(args.episodes)]
    mean, sd = torch.tensor(returns).mean(), torch.tensor(returns).std(correction=0)
    print(f"real {args.scenario}: mean return {mean:.1f}, SD {sd:.1f}, {len(returns)} episodes")


if __name__ == "__main__":
    main()
