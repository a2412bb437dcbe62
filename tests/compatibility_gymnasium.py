"""What is tried with Gymnasium: what its users do first."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from compatibility_trials import DREAM, REAL, STEPS, Weights, films, frame_rate, play, trial


@trial("gymnasium", "`check_env` and the passive checker, dream")
def check_dream(weights: Weights) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(gym.make(DREAM, weights=weights, render_mode="rgb_array").unwrapped)
    play(gym.make(DREAM, weights=weights, disable_env_checker=False))


@trial("gymnasium", "`check_env`, real game")
def check_real(weights: Weights) -> None:
    from gymnasium.utils.env_checker import check_env

    env = gym.make(REAL, scenario="basic", weights=weights, render_mode="rgb_array").unwrapped
    check_env(env)
    env.close()


@trial("gymnasium", "`RecordVideo`", needs=("moviepy",))
def record_video(weights: Weights) -> None:
    env = gym.wrappers.RecordVideo(gym.make(DREAM, weights=weights, render_mode="rgb_array"), "films", fps=8.75)
    play(env)
    env.close()
    assert frame_rate(films("films")[0]) == 8.75


@trial("gymnasium", "`TimeLimit`, `RecordEpisodeStatistics`, `OrderEnforcing`")
def time_limit(weights: Weights) -> None:
    env = gym.wrappers.RecordEpisodeStatistics(gym.make(DREAM, weights=weights, max_episode_steps=3))
    env.reset(seed=0)
    ended = False
    while not ended:
        *_, terminated, truncated, info = env.step(0)
        ended = terminated or truncated
    assert 1 <= info["episode"]["l"] <= 3


@trial("gymnasium", "`FrameStackObservation`, `GrayscaleObservation`, `ResizeObservation`", needs=("cv2",))
def frame_stack(weights: Weights) -> None:
    env = gym.make(DREAM, weights=weights, observation="pixels")
    env = gym.wrappers.ResizeObservation(gym.wrappers.GrayscaleObservation(env), (84, 84))
    assert play(gym.wrappers.FrameStackObservation(env, 4))[0].shape == (4, 84, 84)


@trial(
    "gymnasium",
    "`FrameStackObservation`, `NormalizeObservation`, `NormalizeReward`, `NumpyToTorch`",
    needs=("array_api_compat",),
)
def transforms(weights: Weights) -> None:
    env: Any = gym.wrappers.NormalizeObservation(gym.make(DREAM, weights=weights))
    env = gym.wrappers.NumpyToTorch(gym.wrappers.FrameStackObservation(gym.wrappers.NormalizeReward(env), 3))
    env.reset(seed=0)
    observation, *_ = env.step(0)
    assert observation.shape[0] == 3 and not observation.is_inference()


@trial("gymnasium", "`RenderCollection`, `AddRenderObservation`, `HumanRendering`", needs=("pygame",))
def rendering(weights: Weights) -> None:
    env = gym.wrappers.RenderCollection(gym.make(DREAM, weights=weights, render_mode="rgb_array"))
    play(env)
    assert env.render()
    shown = gym.wrappers.AddRenderObservation(gym.make(DREAM, weights=weights, render_mode="rgb_array"))
    assert shown.reset(seed=0)[0].shape == (120, 160, 3)
    human = gym.wrappers.HumanRendering(gym.make(DREAM, weights=weights, render_mode="rgb_array"))
    play(human, 2)
    human.close()


@trial("gymnasium", "`make_vec`: NEXT_STEP, SAME_STEP, DISABLED")
def autoreset(weights: Weights) -> None:
    for mode in gym.vector.AutoresetMode:
        env = gym.make_vec(DREAM, 3, weights=weights, autoreset_mode=mode, max_episode_steps=5)
        env.reset(seed=0)
        for _ in range(STEPS):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            ended = terminated | truncated
            if mode == gym.vector.AutoresetMode.DISABLED and ended.any():
                env.reset(options={"reset_mask": ended})
        env.close()


@trial("gymnasium", "`SyncVectorEnv`, `AsyncVectorEnv`, dreams")
def sync_and_async(weights: Weights) -> None:
    for mode in ("sync", "async"):
        env = gym.make_vec(DREAM, 2, mode, weights=weights)
        play(env)
        env.close()


@trial("gymnasium", "`SyncVectorEnv`, `AsyncVectorEnv`, real games")
def real_vectors(weights: Weights) -> None:
    for mode in ("sync", "async"):
        env = gym.make_vec(REAL, 2, mode, scenario="basic", weights=weights)
        play(env, 5)
        env.close()


@trial("gymnasium", "vector wrappers: `RecordEpisodeStatistics`, `NormalizeObservation`, `DictInfoToList`")
def vector_wrappers(weights: Weights) -> None:
    env: Any = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(DREAM, 3, weights=weights, max_episode_steps=4))
    env = gym.wrappers.vector.DictInfoToList(gym.wrappers.vector.NormalizeObservation(env))
    infos = play(env)[4]
    assert len(infos) == 3 and all("drift" in info for info in infos)


@trial("gymnasium", "vector `RecordVideo`", needs=("moviepy",))
def vector_video(weights: Weights) -> None:
    env = gym.make_vec(DREAM, 3, weights=weights, render_mode="rgb_array", max_episode_steps=10)
    env = gym.wrappers.vector.RecordVideo(env, "films")
    play(env)
    env.close()
    assert frame_rate(films("films")[0]) == 8.75


@trial("gymnasium", "`deepcopy`, `pickle`, `spec.to_json()`")
def copies(weights: Weights) -> None:
    import copy
    import pickle

    for name in (DREAM, REAL):
        env = gym.make(name, scenario="basic", weights=weights)
        env.reset(seed=0)
        for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            play(other, 5)
            other.close()
        gym.envs.registration.EnvSpec.from_json(env.spec.to_json())
        env.close()
