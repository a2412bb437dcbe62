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
from doom_dream_env.agents.agent import ACTIVATIONS
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


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_any_plain_activation_is_saved_and_loaded(model: WorldModel, tmp_path: Path, activation: str) -> None:
    learner = ppo(DreamDoomVecEnv(ENVS, weights=model), activation_fn=ACTIVATIONS[activation], net_arch=[16, 8])
    Agent.from_sb3(learner, "take_cover", model, algorithm="PPO").save(tmp_path)
    assert agreement(Agent.load(tmp_path), learner, model) > 0.995


def test_a_policy_of_one_layer_is_an_agent(model: WorldModel, tmp_path: Path) -> None:
    learner = ppo(DreamDoomVecEnv(ENVS, weights=model), A2C, net_arch=[])
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


REFUSED = {
    "algorithm": (
        lambda model: DQN("MlpPolicy", DreamDoomVecEnv(1, weights=model), buffer_size=10, device="cpu"),
        "is made of a PPO or A2C with an MlpPolicy on features, not of a DQN with a DQNPolicy",
    ),
    "stacked": (
        lambda model: ppo(VecFrameStack(DreamDoomVecEnv(1, weights=model), 3)),
        "looks at observations of shape .204,., features of these weights have shape .68,.",
    ),
    "pictures": (
        lambda model: ppo(DreamDoomVecEnv(1, weights=model, observation="pixels"), policy="CnnPolicy"),
        "looks at them through a NatureCNN",
    ),
    "extractor": (
        lambda model: ppo(DreamDoomVecEnv(1, weights=model), features_extractor_class=Looks),
        "looks at them through a Looks",
    ),
    "activation": (
        lambda model: ppo(DreamDoomVecEnv(1, weights=model), activation_fn=Leaky),
        "one activation between its layers, as torch makes it .Tanh, ReLU",
    ),
    "scenario": (
        lambda model: ppo(DreamDoomVecEnv(1, "basic", weights=model)),
        r"take_cover takes actions of Discrete\(3\), this policy chooses from Discrete\(4\)",
    ),
    "buttons": (
        lambda model: ppo(DreamDoomVecEnv(1, "freedoom", weights=model)),
        r"take_cover takes actions of Discrete\(3\), this policy chooses from MultiBinary\(9\)",
    ),
    "twice": (
        lambda model: ppo(VecNormalize(VecNormalize(DreamDoomVecEnv(1, weights=model)))),
        "normalised 2 times",
    ),
    "nothing": (lambda model: None, "not of a NoneType"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_agent_is_refused_at_once(model: WorldModel, what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        Agent.from_sb3(make(model), "take_cover", model)


def test_a_model_without_its_environment_is_asked_for_it(model: WorldModel, tmp_path: Path) -> None:
    ppo(normalised(model)).save(tmp_path / "ppo.zip")
    with pytest.warns(UserWarning, match="loaded without its environment"):
        Agent.from_sb3(PPO.load(tmp_path / "ppo.zip", device="cpu"), "take_cover", model)
