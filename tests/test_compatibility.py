"""Promises of docs/compatibility.md: what it says of a library holds for the one that is installed.

Each test does what a user of the library does. Those that take long, or are of libraries that few have, are slow:
`pytest -m "" tests/test_compatibility.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
import pytest

import doom_dream_env  # noqa: F401

DREAM = "DreamDoom-v0"
REAL = "RealDoom-v0"
STEPS = 40
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def weights(weights: Path) -> str:
    """The folder of tiny weights, as people give it."""
    return str(weights)


def play(env: Any, steps: int = STEPS) -> Any:
    """Random steps; ended episodes begin anew. Returns the last result of `step`."""
    env.reset(seed=0)
    env.action_space.seed(0)
    result = None
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        if np.ndim(result[2]) == 0 and (result[2] or result[3]):
            env.reset()
    return result


# ---- Gymnasium -------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_gymnasium_transforms(weights: str) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("array_api_compat")
    pixels: Any = gym.make(DREAM, weights=weights, observation="pixels")
    pixels = gym.wrappers.ResizeObservation(gym.wrappers.GrayscaleObservation(pixels), (84, 84))
    assert play(gym.wrappers.FrameStackObservation(pixels, 4))[0].shape == (4, 84, 84)
    env: Any = gym.wrappers.NormalizeObservation(gym.make(DREAM, weights=weights))
    env = gym.wrappers.NumpyToTorch(gym.wrappers.FrameStackObservation(gym.wrappers.NormalizeReward(env), 3))
    env.reset(seed=0)
    observation, *_ = env.step(0)
    assert observation.shape[0] == 3 and not observation.is_inference()


@pytest.mark.slow
def test_gymnasium_rendering(weights: str) -> None:
    env = gym.wrappers.RenderCollection(gym.make(DREAM, weights=weights, render_mode="rgb_array"))
    play(env)
    assert env.render()
    shown = gym.wrappers.AddRenderObservation(gym.make(DREAM, weights=weights, render_mode="rgb_array"))
    assert shown.reset(seed=0)[0].shape == (120, 160, 3)
    human = gym.wrappers.HumanRendering(gym.make(DREAM, weights=weights, render_mode="rgb_array"))
    play(human, 2)
    human.close()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps"), [(DREAM, STEPS), (REAL, 5)])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasium_vectors_of_processes(weights: str, kind: str, steps: int, mode: str) -> None:
    env = gym.make_vec(kind, 2, mode, scenario="basic", weights=weights)
    play(env, steps)
    env.close()


@pytest.mark.slow
def test_gymnasium_vector_wrappers(weights: str) -> None:
    env: Any = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(DREAM, 3, weights=weights, max_episode_steps=4))
    env = gym.wrappers.vector.DictInfoToList(gym.wrappers.vector.NormalizeObservation(env))
    infos = play(env)[4]
    assert len(infos) == 3 and all("drift" in info for info in infos)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["gymnasium", "sb3"])
def test_films_of_many_dreams_run_at_the_games_speed(weights: str, library: str) -> None:
    from stable_baselines3.common.vec_env import VecVideoRecorder

    if library == "gymnasium":
        env: Any = gym.make_vec(DREAM, 3, weights=weights, render_mode="rgb_array", max_episode_steps=10)
        env = gym.wrappers.vector.RecordVideo(env, "films")
        play(env)
    else:
        env = VecVideoRecorder(dreams(weights, 2), "films", lambda step: step == 0, video_length=20)
        env.reset()
        for _ in range(25):
            env.step(np.zeros(2, np.int64))
    env.close()
    film = min(Path("films").glob("*.mp4"))
    with av.open(str(film)) as container:
        assert float(container.streams.video[0].average_rate) == 8.75 and film.stat().st_size > 1000


# ---- Stable-Baselines3 -----------------------------------------------------------------------------------------------
def dreams(weights: str, num_envs: int = 4, **settings: Any) -> Any:
    """Stable-Baselines3's view of some dreams."""
    from doom_dream_env.envs import DreamDoomVecEnv

    return DreamDoomVecEnv(num_envs, weights=weights, **settings)


@pytest.mark.slow
def test_sb3_learners(weights: str) -> None:
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


def test_sb3_wrappers(weights: str) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecCheckNan, VecFrameStack, VecMonitor, VecNormalize

    env = VecFrameStack(VecNormalize(VecCheckNan(VecMonitor(dreams(weights)), raise_exception=True)), 3)
    PPO("MlpPolicy", env, n_steps=16, batch_size=32, device="cpu").learn(64)


@pytest.mark.slow
def test_sb3_pixels(weights: str) -> None:
    from stable_baselines3 import PPO

    env = dreams(weights, observation="pixels")
    PPO("CnnPolicy", env, n_steps=4, batch_size=16, n_epochs=1, device="cpu").learn(16)


@pytest.mark.slow
def test_sb3_processes(weights: str) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    for kind in (DummyVecEnv, SubprocVecEnv):
        env = make_vec_env(DREAM, 2, env_kwargs={"weights": weights}, vec_env_cls=kind)
        PPO("MlpPolicy", env, n_steps=16, batch_size=32, device="cpu").learn(32)
        env.close()


# ---- sb3-contrib -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_contrib_learners(weights: str) -> None:
    pytest.importorskip("sb3_contrib")
    from sb3_contrib import ARS, QRDQN, TRPO, RecurrentPPO

    RecurrentPPO("MlpLstmPolicy", dreams(weights), n_steps=16, batch_size=32, device="cpu").learn(64)
    TRPO("MlpPolicy", dreams(weights), n_steps=16, batch_size=32, device="cpu").learn(64)
    QRDQN("MlpPolicy", dreams(weights), learning_starts=16, buffer_size=200, device="cpu").learn(64)
    ARS("MlpPolicy", dreams(weights, 1, max_episode_steps=5), n_delta=1, device="cpu").learn(20)


@pytest.mark.slow
def test_contrib_masks(weights: str) -> None:
    pytest.importorskip("sb3_contrib")
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
@pytest.mark.slow
def test_torchrl_one(weights: str) -> None:
    pytest.importorskip("torchrl")
    from torchrl.envs import GymEnv, default_info_dict_reader
    from torchrl.envs.utils import check_env_specs

    env = GymEnv(DREAM, weights=weights)
    check_env_specs(env)
    assert env.rollout(5).batch_size[0] <= 5
    GymEnv(DREAM, weights=weights, scenario="freedoom").rollout(5)
    assert GymEnv(DREAM, weights=weights, from_pixels=True).rollout(2)["next", "pixels"].shape[1:] == (120, 160, 3)
    env.set_info_dict_reader(default_info_dict_reader(["drift", "HEALTH"]))
    step = env.rand_step(env.reset())["next"]
    assert step["HEALTH"].shape == step["drift"].shape == ()


@pytest.mark.slow
def test_torchrl_vector(weights: str) -> None:
    pytest.importorskip("torchrl")
    from torchrl.envs import GymWrapper

    for mode in (gym.vector.AutoresetMode.SAME_STEP, gym.vector.AutoresetMode.DISABLED):
        env = GymWrapper(gym.make_vec(DREAM, 3, weights=weights, autoreset_mode=mode, max_episode_steps=4))
        steps = env.rollout(STEPS, break_when_any_done=False)
        assert steps.batch_size == (3, STEPS) and int(steps["next", "done"].sum()) >= 3 * 7
    many = GymWrapper(gym.make_vec(DREAM, 3, weights=weights, autoreset_mode="Disabled")).auto_register_info_dict()
    assert many.rollout(2)["next", "HEALTH"].shape[0] == 3


@pytest.mark.slow
def test_torchrl_processes(weights: str) -> None:
    pytest.importorskip("torchrl")
    from torchrl.envs import GymEnv, ParallelEnv

    try:
        from torchrl.collectors import Collector
    except ImportError:
        from torchrl.collectors import SyncDataCollector as Collector

    collector = Collector(lambda: GymEnv(DREAM, weights=weights), None, frames_per_batch=20, total_frames=40)
    assert sum(data.numel() for data in collector) == 40
    collector.shutdown()
    env = ParallelEnv(2, lambda: GymEnv(DREAM, weights=weights), mp_start_method="fork")
    assert env.rollout(5).batch_size[0] == 2
    env.close()


# ---- others ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_skrl_wrap(weights: str) -> None:
    pytest.importorskip("skrl")
    import torch
    from skrl.envs.wrappers.torch import wrap_env

    for made, count in ((gym.make(DREAM, weights=weights), 1), (gym.make_vec(DREAM, 3, weights=weights), 3)):
        env = wrap_env(made)
        env.reset()
        observation, *_ = env.step(torch.zeros(count, 1, dtype=torch.long))
        assert observation.shape[0] == count


@pytest.mark.slow
def test_minari_dataset(weights: str) -> None:
    pytest.importorskip("minari")
    pytest.importorskip("jax")
    import os

    import minari

    os.environ["MINARI_DATASETS_PATH"] = str(Path.cwd())
    env = minari.DataCollector(gym.make(DREAM, weights=weights, max_episode_steps=10), record_infos=True)
    play(env)
    dataset = env.create_dataset("doom/dream-v0")
    assert dataset.total_steps >= 20
    minari.delete_dataset("doom/dream-v0")


@pytest.mark.slow
def test_tianshou_collector(weights: str) -> None:
    pytest.importorskip("tianshou")
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


@pytest.mark.slow
def test_rllib_ppo(weights: str) -> None:
    pytest.importorskip("ray.rllib")
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
