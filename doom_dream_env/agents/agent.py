"""An agent: a small network from features to actions, bound to the weights it learned in.

`Agent.load("take_cover")` is the one that ships.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from doom_dream_env.world_model.files import read_json, read_tensors, sha256, write_atomically

if TYPE_CHECKING:
    from stable_baselines3 import PPO

    from doom_dream_env.envs.base import EnvBatch
    from doom_dream_env.world_model import WorldModel

FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent
ACTIVATIONS = {"Tanh": nn.Tanh, "ReLU": nn.ReLU}


def shipped_agents(fingerprint: str | None = None) -> list[str]:
    """Scenarios whose agents ship; with a fingerprint, only those that were trained in these weights."""
    cards = {path.parent.name: read_json(path) for path in SHIPPED.glob("*/agent.json")}
    return sorted(name for name, about in cards.items() if fingerprint in (None, about["fingerprint"]))


def make_network(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers of these widths (features first, actions last) with an activation of `ACTIVATIONS` between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class AgentCard:
    """What is known about an agent.

    Attributes:
        scenario: the scenario it was trained for.
        fingerprint: the weights it was trained in.
        weights: where those were: the name of a shipped set, or a folder.
        activation: name of the torch module between its layers.
        hyper_parameters: how it was trained.
    """

    scenario: str
    fingerprint: str
    weights: str
    activation: str
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


class Agent:
    """A multi-layer perceptron from features (N, F) to action logits (N, n); a `Policy`.

    Args:
        card: what is known about it.
        network: linear layers and the card's activation between them. It is frozen.
    """

    def __init__(self, card: AgentCard, network: nn.Sequential) -> None:
        self.card = card
        self.network = network.eval().requires_grad_(False)

    def logits(self, features: Tensor) -> Tensor:
        """Action logits (N, n)."""
        return self.network(features)

    def act(self, features: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Action indices (N,), sampled or the most likely."""
        logits = self.logits(features)
        if deterministic:
            return logits.argmax(-1)
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Sampled actions for all environments, (N,)."""
        return self.act(batch.features)

    @classmethod
    def from_sb3(cls, model: PPO, scenario: str, world_model: WorldModel, **hyper_parameters: Any) -> Agent:
        """Take the policy network out of an SB3 PPO with an `MlpPolicy` that was trained in `world_model`."""
        policy: Any = model.policy
        network = nn.Sequential(*policy.mlp_extractor.policy_net, policy.action_net)
        activation = policy.activation_fn.__name__
        card = AgentCard(scenario, world_model.fingerprint, world_model.source, activation, hyper_parameters)
        return cls(card, copy.deepcopy(network))

    def _linear_layers(self) -> list[nn.Linear]:
        return [layer for layer in self.network if isinstance(layer, nn.Linear)]

    def save(self, folder: str | Path) -> None:
        """Write `agent.safetensors` and `agent.json`."""
        from safetensors.torch import save

        folder = Path(folder)
        tensors = {
            f"{number}.{name}": tensor.contiguous()
            for number, layer in enumerate(self._linear_layers())
            for name, tensor in layer.state_dict().items()
        }
        write_atomically(folder / "agent.safetensors", save(tensors))
        about = asdict(self.card) | {"sha256": sha256(folder / "agent.safetensors")}
        write_atomically(folder / "agent.json", (json.dumps(about, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path, fingerprint: str | None = None) -> Agent:
        """Load an agent.

        Args:
            folder: where `save` wrote it, or the name of a scenario whose agent ships.
            fingerprint: of the weights it is to be used with (`WorldModel.fingerprint`); None skips the comparison.

        Raises:
            FileNotFoundError: if there is no agent.
            ValueError: if it is damaged, of another format version, or was trained in other weights.
        """
        folder = SHIPPED / folder if str(folder) in shipped_agents() else Path(folder)
        about = read_json(folder / "agent.json")
        version = about.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"agent {folder} has format version {version!r}, this release reads {FORMAT_VERSION}")
        file = folder / "agent.safetensors"
        if sha256(file) != about.pop("sha256"):
            raise ValueError(f"{file} is damaged: its checksum is not the one in agent.json; fetch it anew")
        card = AgentCard(**about)
        if fingerprint is not None and card.fingerprint != fingerprint:
            raise ValueError(
                f"agent {folder} was trained in weights {card.fingerprint}, not in {fingerprint}: "
                "its features mean something else"
            )
        tensors = read_tensors(folder, file.name)
        weights = [tensors[f"{number}.weight"] for number in range(len(tensors) // 2)]
        widths = [weights[0].shape[1], *(len(weight) for weight in weights)]
        agent = cls(card, make_network(widths, card.activation))
        for number, layer in enumerate(agent._linear_layers()):
            layer.load_state_dict({name: tensors[f"{number}.{name}"] for name in ("weight", "bias")})
        return agent
