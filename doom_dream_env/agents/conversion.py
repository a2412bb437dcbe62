"""The policy network of a Stable-Baselines3 model, as an `Agent` can play it, or a word on why it cannot.

Legend: F features.
"""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from doom_dream_env.errors import UserError

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize

    from doom_dream_env.world_model import WorldModel

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (nn.Tanh, nn.ReLU, nn.GELU, nn.ELU, nn.SiLU, nn.LeakyReLU, nn.SELU, nn.Mish, nn.Softplus, nn.Sigmoid)
}

TAKEN = "an Agent is made of a PPO or A2C with an MlpPolicy on features"


def policy_network(
    model: OnPolicyAlgorithm, scenario: str, world_model: WorldModel
) -> tuple[nn.Sequential, str, bool, tuple[Tensor, Tensor] | None]:
    """The network from features to action logits.

    Args:
        model: what was trained. The statistics of a `VecNormalize(norm_obs=True)` around its environment become part of
            the first layer.
        scenario: what it was trained for.
        world_model: what it was trained in.

    Returns:
        linear layers with activations between them (a copy); the activation's name; does it press buttons (free play)
        instead of choosing an action; and the least and greatest features that it tells apart, (F,) each, where
        `VecNormalize` clips them.

    Raises:
        ValueError: if the model is no multi-layer perceptron from these features to the scenario's actions.
    """
    policy = _checked_policy(model)
    presses_buttons = _check_spaces(policy, scenario, world_model)
    layers = copy.deepcopy([*policy.mlp_extractor.policy_net, policy.action_net])
    activation = _activation(layers)
    network = nn.Sequential(*layers).to("cpu", torch.float32)
    statistics = _statistics(model)
    return network, activation, presses_buttons, None if statistics is None else fold(network, statistics)


def _checked_policy(model: Any) -> Any:
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor

    policy = getattr(model, "policy", None)
    kind = type(model).__name__
    if not isinstance(policy, ActorCriticPolicy):
        raise UserError(f"{TAKEN}, not of a {kind} with a {type(policy).__name__}")
    if hasattr(policy, "lstm_actor"):
        raise UserError(f"{TAKEN}, not of a {kind} with memory ({type(policy).__name__})")
    extractor = policy.pi_features_extractor
    if type(extractor) is not FlattenExtractor or type(policy.mlp_extractor) is not MlpExtractor:
        found = type(extractor if type(extractor) is not FlattenExtractor else policy.mlp_extractor).__name__
        raise UserError(f"{TAKEN}, not of a policy that looks at them through a {found}")
    return policy


def _check_spaces(policy: Any, scenario: str, world_model: WorldModel) -> bool:
    """Do observations and actions fit? Returns whether the actions are buttons."""
    from doom_dream_env.scenarios import BUTTONS, get_scenario

    width = world_model.config.feature_width
    observed = policy.observation_space
    if observed.shape != (width,):
        raise UserError(
            f"this policy looks at observations of shape {observed.shape}, features of these weights have shape "
            f"{(width,)}: train it with observation='features', without stacking frames"
        )
    played = get_scenario(scenario)
    expected: spaces.Space[Any] = spaces.MultiBinary(len(BUTTONS))
    if played.discrete:
        expected = spaces.Discrete(len(played.action_table()))
    if policy.action_space != expected:
        raise UserError(f"{played.name} takes actions of {expected}, this policy chooses from {policy.action_space}")
    return not played.discrete


def _activation(layers: list[nn.Module]) -> str:
    """Name of the one activation between the linear layers; that of a single layer, which has none, does not matter."""
    names = {type(layer).__name__ for layer in layers[1:-1:2]} or {"Tanh"}
    linear = all(isinstance(layer, nn.Linear) for layer in layers[::2])
    name = names.pop()
    plain = name in ACTIVATIONS and all(repr(layer) == repr(ACTIVATIONS[name]()) for layer in layers[1:-1:2])
    if names or not linear or not plain:
        inside = ", ".join(repr(layer) for layer in layers[:-1] if not isinstance(layer, nn.Linear))
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"an Agent has one activation between its layers, as torch makes it ({known}); got {inside}")
    return name


def _statistics(model: Any) -> VecNormalize | None:
    """The wrapper that normalises the model's observations, if there is one."""
    from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize

    around = model.get_env() or model.get_vec_normalize_env()
    if around is None:
        warnings.warn(
            "this model was loaded without its environment: if it was trained under VecNormalize(norm_obs=True), "
            "give it back with model.set_env(VecNormalize.load(...)) first, or the agent acts wrongly",
            stacklevel=4,
        )
    found = []
    while isinstance(around, VecEnvWrapper):
        if isinstance(around, VecNormalize) and around.norm_obs:
            found.append(around)
        around = around.venv
    if len(found) > 1:
        raise UserError(f"observations are normalised {len(found)} times; train under one VecNormalize(norm_obs=True)")
    return found[0] if found else None


@torch.no_grad()
def fold(network: nn.Sequential, statistics: VecNormalize) -> tuple[Tensor, Tensor]:
    """Make normalisation part of the first layer: W (x − μ)/σ + b = (W/σ) x + (b − W μ/σ).

    Returns:
        the least and greatest features (F,) that are told apart: μ ± c·σ, because `VecNormalize` clips to ± c.
    """
    rms: Any = statistics.obs_rms
    mean = torch.from_numpy(rms.mean).double()
    spread = torch.from_numpy(rms.var + statistics.epsilon).double().sqrt()
    first: Any = network[0]
    scaled = first.weight.double() / spread
    first.bias.copy_(first.bias.double() - scaled @ mean)
    first.weight.copy_(scaled)
    reach = statistics.clip_obs * spread
    return (mean - reach).float(), (mean + reach).float()
