"""Agents that were trained in a dream: small policies on features, saved as safetensors and JSON, bound to their weights.

The best one of each world ships in a folder of its name beside this file: `Agent.load("take_cover")`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from doom_dream_env.world_model.files import read_json, read_tensors, sha256, write_atomically

if TYPE_CHECKING:
    from stable_baselines3 import PPO

    from doom_dream_env.world_model import WorldModel

FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent
ACTIVATIONS = {"Tanh": torch.tanh, "ReLU": torch.relu}


def shipped_agents(fingerprint: str | None = None) -> list[str]:
    """Worlds whose agents ship; with a fingerprint, only those that were trained in these weights."""
    cards = {path.parent.name: read_json(path) for path in SHIPPED.glob("*/agent.json")}
    return sorted(name for name, about in cards.items() if fingerprint in (None, about["fingerprint"]))


@dataclass(frozen=True)
class AgentCard:
    """What is known about an agent.

    Attributes:
        scenario: the world it was trained for.
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
    """A multi-layer perceptron from features (N, F) to action logits (N, n)."""

    def __init__(self, card: AgentCard, layers: list[tuple[Tensor, Tensor]]) -> None:
        self.card = card
        self.layers = layers

    def logits(self, features: Tensor) -> Tensor:
        """Action logits (N, n)."""
        x, activation = features, ACTIVATIONS[self.card.activation]
        for number, (weight, bias) in enumerate(self.layers):
            x = torch.nn.functional.linear(x, weight, bias)
            if number + 1 < len(self.layers):
                x = activation(x)
        return x

    def act(self, features: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Action indices (N,), sampled or the most likely."""
        logits = self.logits(features)
        if deterministic:
            return logits.argmax(-1)
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]

    def __call__(self, features: Tensor, steps: Tensor) -> Tensor:
        """As a `Policy`: sampled actions."""
        return self.act(features)

    @classmethod
    def from_sb3(cls, model: PPO, scenario: str, world_model: WorldModel, **hyper_parameters: Any) -> Agent:
        """Take the policy network out of an SB3 PPO with an `MlpPolicy` that was trained in `world_model`."""
        network: Any = model.policy
        linears = [m for m in network.mlp_extractor.policy_net if isinstance(m, torch.nn.Linear)] + [network.action_net]
        layers = [(m.weight.detach().clone(), m.bias.detach().clone()) for m in linears]
        return cls(
            AgentCard(scenario, world_model.fingerprint, world_model.source, network.activation_fn.__name__, hyper_parameters), layers
        )

    def save(self, folder: str | Path) -> None:
        """Write `agent.safetensors` and `agent.json`."""
        from safetensors.torch import save

        folder = Path(folder)
        tensors = {
            f"{i}.{name}": t.contiguous() for i, layer in enumerate(self.layers) for name, t in zip(("weight", "bias"), layer, strict=True)
        }
        write_atomically(folder / "agent.safetensors", save(tensors))
        about = asdict(self.card) | {"sha256": sha256(folder / "agent.safetensors")}
        write_atomically(folder / "agent.json", (json.dumps(about, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path, fingerprint: str | None = None) -> Agent:
        """Load an agent.

        Args:
            folder: where `save` wrote it, or the name of a world whose agent ships.
            fingerprint: of the weights it is to be used with (`WorldModel.fingerprint`); None skips the comparison.

        Raises:
            FileNotFoundError: if there is no agent.
            ValueError: if it is damaged, of another format version, or was trained in other weights.
        """
        folder = SHIPPED / folder if str(folder) in shipped_agents() else Path(folder)
        about = read_json(folder / "agent.json")
        if about.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"agent {folder} has format version {about.get('format_version')!r}, this release reads {FORMAT_VERSION}")
        if sha256(folder / "agent.safetensors") != about.pop("sha256"):
            raise ValueError(f"{folder / 'agent.safetensors'} is damaged: its checksum is not the one in agent.json; fetch it anew")
        card = AgentCard(**about)
        if fingerprint is not None and card.fingerprint != fingerprint:
            raise ValueError(
                f"agent {folder} was trained in weights {card.fingerprint}, not in {fingerprint}: its features mean something else"
            )
        tensors = read_tensors(folder, "agent.safetensors")
        return cls(card, [(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(len(tensors) // 2)])
