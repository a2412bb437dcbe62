"""What is tried with libraries of learning algorithms. Few are installed, so they are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from compatibility_trials import DREAM, REAL, STEPS, Weights, films, frame_rate, play, trial

# ---- Stable-Baselines3 -----------------------------------------------------------------------------------------------


def dreams(weights: Weights, num_envs: int = 4, **settings: Any) -> Any:
    """Stable-Baselines3's view of some dreams."""
    from doom_dream_env.envs import DreamDoomVecEnv

    return DreamDoomVecEnv(num_envs, weights=weights, **settings)


@trial("stable-baselines3", "`check_env`, dream and real game")
def sb3_check(weights: Weights) -> None:
    from stable_baselines3.common.env_checker import check_env

    for name in (DREAM, REAL):
        env = gym.make(name, weights=weights)
        check_env(env.unwrapped)
        env.close()


@trial("stable-baselines3", "PPO, A2C and DQN on `DreamDoomVecEnv`, `evaluate_policy`, `save` and `load`")
def sb3_learners(weights: Weights) -> None:
    from stable_baselines3 import A2C, DQN, PPO
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecMonitor

    for learner in (
        PPO("MlpPolicy", VecMonitor(dreams(weights)), n_steps=16, batch_size=32, device="cpu"),
        A2C("MlpPolicy", VecMonitor(dreams(weights)), device="cpu"),
        DQN("MlpPolicy", VecMonitor(dreams(weights)), learning_starts=16, buffer_size=200, device="cpu"),
    ):
        learner.learn(128)
        learner.save("agent.zip")
        again = type(learner).load("agent.zip", device="cpu")
        evaluate_policy(again, VecMonitor(dreams(weights, max_episode_steps=5)), n_eval_episodes=4)


@trial("stable-baselines3", "`VecNormalize`, `VecFrameStack`, `VecMonitor`, `VecCheckNan`")
def sb3_wrappers(weights: Weights) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecCheckNan, VecFrameStack, VecMonitor, VecNormalize

    env = VecFrameStack(VecNormalize(VecCheckNan(VecMonitor(dreams(weights)), raise_exception=True)), 3)
    PPO("MlpPolicy", env, n_steps=16, batch_size=32, device="cpu").learn(64)


@trial("stable-baselines3", "PPO with a `CnnPolicy` on decoded pixels, `VecTransposeImage`")
def sb3_pixels(weights: Weights) -> None:
    from stable_baselines3 import PPO

    env = dreams(weights, observation="pixels")
    PPO("CnnPolicy", env, n_steps=4, batch_size=16, n_epochs=1, device="cpu").learn(16)


@trial("stable-baselines3", "`VecVideoRecorder`", needs=("moviepy",))
def sb3_video(weights: Weights) -> None:
    from stable_baselines3.common.vec_env import VecVideoRecorder

    env = VecVideoRecorder(dreams(weights, 2), "films", lambda step: step == 0, video_length=20)
    env.reset()
    for _ in range(25):
        env.step(np.zeros(2, np.int64))
    env.close()
    assert frame_rate(films("films")[0]) == 8.75


@trial("stable-baselines3", "`make_vec_env`: `DummyVecEnv`, `SubprocVecEnv`")
def sb3_processes(weights: Weights) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    for kind in (DummyVecEnv, SubprocVecEnv):
        env = make_vec_env(DREAM, 2, env_kwargs={"weights": weights}, vec_env_cls=kind)
        PPO("MlpPolicy", env, n_steps=16, batch_size=32, device="cpu").learn(32)
        env.close()


@trial("stable-baselines3", "`Agent.from_sb3` of a PPO under `VecNormalize`, played in the game")
def sb3_agent(weights: Weights) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    from doom_dream_env.agents import Agent
    from doom_dream_env.envs import RealBatch
    from doom_dream_env.evaluation import evaluate_policy

    env = VecNormalize(dreams(weights, scenario="basic"))
    learner = PPO("MlpPolicy", env, n_steps=16, batch_size=32, device="cpu").learn(64)
    model = env.unwrapped.batch.model
    real = RealBatch(2, "basic", weights=model)
    evaluate_policy(real, Agent.from_sb3(learner, "basic", model), 2, 60_000)
    real.close()


# ---- sb3-contrib -----------------------------------------------------------------------------------------------------


@trial("sb3-contrib", "RecurrentPPO, TRPO, QRDQN, ARS")
def contrib_learners(weights: Weights) -> None:
    from sb3_contrib import ARS, QRDQN, TRPO, RecurrentPPO

    RecurrentPPO("MlpLstmPolicy", dreams(weights), n_steps=16, batch_size=32, device="cpu").learn(64)
    TRPO("MlpPolicy", dreams(weights), n_steps=16, batch_size=32, device="cpu").learn(64)
    QRDQN("MlpPolicy", dreams(weights), learning_starts=16, buffer_size=200, device="cpu").learn(64)
    ARS("MlpPolicy", dreams(weights, 1, max_episode_steps=5), n_delta=1, device="cpu").learn(20)


@trial("sb3-contrib", "MaskablePPO with `action_masks` of a subclass")
def contrib_masks(weights: Weights) -> None:
    from sb3_contrib import MaskablePPO
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    from doom_dream_env.envs import DreamDoomVecEnv

    class Masked(DreamDoomVecEnv):
        def action_masks(self) -> np.ndarray:
            return np.tile([True, False, True], (self.num_envs, 1))

    env = Masked(4, weights=weights)
    assert is_masking_supported(env) and not is_masking_supported(dreams(weights))
    learner = MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=32, device="cpu").learn(64)
    chosen, _ = learner.predict(env.reset(), action_masks=get_action_masks(env))
    assert not (chosen == 1).any()


# ---- TorchRL ---------------------------------------------------------------------------------------------------------


@trial("torchrl", "`GymEnv`, `check_env_specs`, free play, pixels")
def torchrl_one(weights: Weights) -> None:
    from torchrl.envs import GymEnv
    from torchrl.envs.utils import check_env_specs

    env = GymEnv(DREAM, weights=weights)
    check_env_specs(env)
    assert env.rollout(5).batch_size[0] <= 5
    GymEnv(DREAM, weights=weights, scenario="freedoom").rollout(5)
    assert GymEnv(DREAM, weights=weights, from_pixels=True).rollout(2)["next", "pixels"].shape[1:] == (120, 160, 3)


@trial("torchrl", "`GymWrapper(gym.make_vec(...))`, SAME_STEP and DISABLED")
def torchrl_vector(weights: Weights) -> None:
    from torchrl.envs import GymWrapper

    for mode in (gym.vector.AutoresetMode.SAME_STEP, gym.vector.AutoresetMode.DISABLED):
        env = GymWrapper(gym.make_vec(DREAM, 3, weights=weights, autoreset_mode=mode, max_episode_steps=4))
        steps = env.rollout(STEPS, break_when_any_done=False)
        assert steps.batch_size == (3, STEPS) and int(steps["next", "done"].sum()) >= 3 * 7


@trial("torchrl", "`default_info_dict_reader`, `auto_register_info_dict`")
def torchrl_info(weights: Weights) -> None:
    from torchrl.envs import GymEnv, GymWrapper, default_info_dict_reader

    env = GymEnv(DREAM, weights=weights)
    env.set_info_dict_reader(default_info_dict_reader(["drift", "HEALTH"]))
    step = env.rand_step(env.reset())["next"]
    assert step["HEALTH"].shape == step["drift"].shape == ()
    many = GymWrapper(gym.make_vec(DREAM, 3, weights=weights, autoreset_mode="Disabled")).auto_register_info_dict()
    assert many.rollout(2)["next", "HEALTH"].shape[0] == 3


@trial("torchrl", "`Collector` over `GymEnv`")
def torchrl_collector(weights: Weights) -> None:
    from torchrl.envs import GymEnv

    try:
        from torchrl.collectors import Collector
    except ImportError:
        from torchrl.collectors import SyncDataCollector as Collector

    collector = Collector(lambda: GymEnv(DREAM, weights=weights), None, frames_per_batch=20, total_frames=40)
    assert sum(data.numel() for data in collector) == 40
    collector.shutdown()


@trial("torchrl", "`ParallelEnv` of `GymEnv`")
def torchrl_parallel(weights: Weights) -> None:
    from torchrl.envs import GymEnv, ParallelEnv

    env = ParallelEnv(2, lambda: GymEnv(DREAM, weights=weights), mp_start_method="fork")
    assert env.rollout(5).batch_size[0] == 2
    env.close()


# ---- others ----------------------------------------------------------------------------------------------------------


@trial("skrl", "`wrap_env` of one and of many, random steps")
def skrl_wrap(weights: Weights) -> None:
    import torch
    from skrl.envs.wrappers.torch import wrap_env

    for made, count in ((gym.make(DREAM, weights=weights), 1), (gym.make_vec(DREAM, 3, weights=weights), 3)):
        env = wrap_env(made)
        env.reset()
        observation, *_ = env.step(torch.zeros(count, 1, dtype=torch.long))
        assert observation.shape[0] == count


@trial("minari", "`DataCollector`, a dataset made and read", needs=("jax",))
def minari_dataset(weights: Weights) -> None:
    import os

    import minari

    os.environ["MINARI_DATASETS_PATH"] = str(Path.cwd())
    env = minari.DataCollector(gym.make(DREAM, weights=weights, max_episode_steps=10), record_infos=True)
    play(env)
    dataset = env.create_dataset("doom/dream-v0")
    assert dataset.total_steps >= 20
    minari.delete_dataset("doom/dream-v0")


@trial("tianshou", "`Collector` over `DummyVectorEnv`, a DQN policy")
def tianshou_collector(weights: Weights) -> None:
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.net.common import Net

    envs = DummyVectorEnv([lambda: gym.make(DREAM, weights=weights) for _ in range(2)])
    one = gym.make(DREAM, weights=weights)
    network = Net(state_shape=one.observation_space.shape, action_shape=one.action_space.n, hidden_sizes=[16])
    policy = DiscreteQLearningPolicy(model=network, action_space=one.action_space)
    collector = Collector(policy, envs, VectorReplayBuffer(100, 2))
    collector.reset()
    assert collector.collect(n_step=STEPS).n_collected_steps == STEPS
    envs.close()


@trial("ray", "RLlib: PPO for one iteration", module="ray.rllib")
def rllib_ppo(weights: Weights) -> None:
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", configure_logging=False)
    try:
        register_env("dream", lambda settings: gym.make(DREAM, **settings))
        config = PPOConfig().environment("dream", env_config={"weights": weights}).env_runners(num_env_runners=0)
        config = config.training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        algorithm = config.build_algo()
        algorithm.train()
        algorithm.stop()
    finally:
        ray.shutdown()
