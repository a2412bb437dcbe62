"""Promises of agents made of Stable-Baselines3 models: they choose what the model chooses, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecMonitor, VecNormalize
from torch import nn

from doom_dream_env.agents import Agent
from doom_dream_env.agents.conversion import ACTIVATIONS
from doom_dream_env.envs import DreamBatch, DreamDoomVecEnv
from doom_dream_env.world_model import WorldModel

ENVS = 4
STATES = 400


def ppo(env: VecEnv, algorithm: Any = PPO, policy: str = "MlpPolicy", **policy_kwargs: Any) -> Any:
    settings = {} if algorithm is A2C else {"batch_size": 16}
    return algorithm(policy, env, n_steps=16, seed=0, device="cpu", policy_kwargs=policy_kwargs, **settings)


def normalised(model: WorldModel, scenario: str = "take_cover", **settings: Any) -> VecNormalize:
    """Dreams whose observations are normalised by statistics far from those of features."""
    env = VecNormalize(VecMonitor(DreamDoomVecEnv(ENVS, scenario, weights=model)), **settings)
    rng = np.random.default_rng(0)
    env.obs_rms.mean = rng.normal(size=model.config.feature_width)
    env.obs_rms.var = rng.uniform(0.05, 4.0, model.config.feature_width)
    return env


def agreement(agent: Agent, learner: Any, model: WorldModel) -> float:
    """Share of states in which both press the same, and the greatest difference of logits must be small."""
    features = 3 * torch.randn(STATES, model.config.feature_width, generator=torch.Generator().manual_seed(1))
    normalise = learner.get_vec_normalize_env()
    seen = features.numpy() if normalise is None else normalise.normalize_obs(features.numpy())
    with torch.no_grad():
        expected = learner.policy.get_distribution(torch.as_tensor(seen, dtype=torch.float32)).distribution
    logits = agent.logits(features)
    if not agent.card.buttons:
        logits = logits.log_softmax(-1)
    each = expected[0] if isinstance(expected, list) else expected
    torch.testing.assert_close(logits, each.logits, atol=1e-3, rtol=1e-3)
    chosen = agent.act(features, deterministic=True)
    return float((chosen.numpy() == learner.predict(seen, deterministic=True)[0]).mean())


@pytest.mark.parametrize("clip", [10.0, 1.0], ids=["clip 10", "clip 1"])
def test_normalised_observations_are_part_of_the_agent(model: WorldModel, tmp_path: Path, clip: float) -> None:
    env = normalised(model, clip_obs=clip)
    learner = ppo(env)
    agent = Agent.from_sb3(learner, "take_cover", model)
    assert agreement(agent, learner, model) > 0.995
    agent.save(tmp_path)
    again = Agent.load(tmp_path, model.fingerprint)
    features = 5 * torch.randn(STATES, model.config.feature_width)
    assert torch.equal(again.logits(features), agent.logits(features)), "the limits are not saved"


@pytest.mark.parametrize(("algorithm", "layers"), [(PPO, [16, 8]), (A2C, [])], ids=["PPO", "A2C, one layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_any_plain_network_is_saved_and_loaded(
    model: WorldModel, tmp_path: Path, activation: str, algorithm: Any, layers: list[int]
) -> None:
    env = DreamDoomVecEnv(ENVS, weights=model)
    learner = ppo(env, algorithm, activation_fn=ACTIVATIONS[activation], net_arch=layers)
    Agent.from_sb3(learner, "take_cover", model).save(tmp_path)
    assert agreement(Agent.load(tmp_path), learner, model) > 0.995


def test_an_agent_of_free_play_presses_buttons(model: WorldModel, tmp_path: Path) -> None:
    learner = ppo(normalised(model, "freedoom"))
    with torch.no_grad():
        learner.policy.action_net.weight.mul_(100)
    Agent.from_sb3(learner, "freedoom", model).save(tmp_path)
    agent = Agent.load(tmp_path)
    assert agent.card.buttons and agreement(agent, learner, model) > 0.995
    batch = DreamBatch(ENVS, "freedoom", weights=model)
    batch.reset(seed=0)
    pressed = torch.stack([agent(batch) for _ in range(200)]).float().mean(0)
    probability = agent.logits(batch.features).sigmoid()
    torch.testing.assert_close(pressed, probability, atol=0.2, rtol=0)
    batch.step(agent(batch))
    assert agent.buttons(batch.features, batch.scenario).shape == (ENVS, 9)


class Looks(FlattenExtractor):
    """A feature extractor of the user's own."""


class Leaky(nn.LeakyReLU):
    def __init__(self) -> None:
        super().__init__(0.3)


def refused_learner(what: str, model: WorldModel) -> Any:
    """A model of Stable-Baselines3 that is no agent of take_cover."""
    if what == "nothing":
        return None
    scenario = {"scenario": "basic", "buttons": "freedoom"}.get(what, "take_cover")
    env: Any = DreamDoomVecEnv(1, scenario, weights=model, observation="pixels" if what == "pictures" else "features")
    if what == "algorithm":
        return DQN("MlpPolicy", env, buffer_size=10, device="cpu")
    if what == "stacked":
        env = VecFrameStack(env, 3)
    if what == "twice":
        env = VecNormalize(VecNormalize(env))
    own = {"extractor": {"features_extractor_class": Looks}, "activation": {"activation_fn": Leaky}}.get(what, {})
    return ppo(env, policy="CnnPolicy" if what == "pictures" else "MlpPolicy", **own)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("algorithm", "not of a DQN with a DQNPolicy"),
        ("stacked", "shape .204,., features of these weights have shape .68,."),
        ("pictures", "through a NatureCNN"),
        ("extractor", "through a Looks"),
        ("activation", "as torch makes it .Tanh, ReLU"),
        ("scenario", r"this policy chooses from Discrete\(4\)"),
        ("buttons", r"this policy chooses from MultiBinary\(9\)"),
        ("twice", "normalised 2 times"),
        ("nothing", "not of a NoneType"),
    ],
)
def test_what_is_no_agent_is_refused_at_once(model: WorldModel, what: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Agent.from_sb3(refused_learner(what, model), "take_cover", model)


def test_a_model_without_its_environment_is_asked_for_it(model: WorldModel, tmp_path: Path) -> None:
    ppo(normalised(model)).save(tmp_path / "ppo.zip")
    with pytest.warns(UserWarning, match="loaded without its environment"):
        Agent.from_sb3(PPO.load(tmp_path / "ppo.zip", device="cpu"), "take_cover", model)
