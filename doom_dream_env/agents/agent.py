"""An agent: a small network from features to actions, bound to the weights it learned in.

`Agent.load("take_cover")` is the one that ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import with_config
from torch import Tensor, nn

from doom_dream_env.agents.conversion import ACTIVATIONS, policy_network
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import Scenario
from doom_dream_env.world_model.files import read_about_network, read_json, read_tensors, write_network
from doom_dream_env.world_model.hub import find_folder
from doom_dream_env.world_model.validation import STRICT

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    from doom_dream_env.envs.base import EnvBatch
    from doom_dream_env.world_model import WorldModel

CARD = "agent.json"
TENSORS = "agent.safetensors"
FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent
LIMITS = ("least", "greatest")  # names of the tensors that hold the features' limits


def shipped_agents(fingerprint: str | None = None) -> list[str]:
    """Scenarios whose agents ship; with a fingerprint, only those that were trained in these weights."""
    cards = {path.parent.name: read_json(path) for path in SHIPPED.glob("*/agent.json")}
    return sorted(name for name, about in cards.items() if fingerprint in (None, about.get("fingerprint")))


def make_network(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers of these widths (features first, actions last) with an activation of `ACTIVATIONS` between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


@with_config(STRICT)
@dataclass(frozen=True)
class AgentCard:
    """What is known about an agent.

    Attributes:
        scenario: the scenario it was trained for.
        fingerprint: the weights it was trained in.
        weights: where those were: the name of a shipped set, or a folder.
        activation: name of the torch module between its layers.
        hyper_parameters: how it was trained.
        buttons: it presses any of the nine buttons together (free play) instead of choosing one action.
    """

    scenario: str
    fingerprint: str
    weights: str
    activation: str
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    buttons: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise UserError(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")


def check(folder: Path) -> AgentCard:
    """The card of the agent in a folder.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or of another format version.
    """
    # Files of before there was free play do not say whether buttons are pressed.
    return read_about_network(folder / CARD, AgentCard, FORMAT_VERSION, buttons=False)


def _find_agent(name: str | Path) -> Path:
    """Folder of a name, path or hub id."""
    if str(name) in shipped_agents():
        return SHIPPED / name
    return find_folder(name, (CARD, TENSORS, "README.md"), check)


class Agent:
    """A multi-layer perceptron from features (N, F) to action logits (N, n); a `Policy`.

    Args:
        card: what is known about it.
        network: linear layers and the card's activation between them. It is frozen.
        limits: the least and the greatest features that it tells apart, (F,) each; None: all.

    Attributes:
        generator: of the actions that it samples as a policy, a CPU generator; None: torch's own.
    """

    def __init__(self, card: AgentCard, network: nn.Sequential, limits: tuple[Tensor, Tensor] | None = None) -> None:
        self.card = card
        self.network = network.eval().requires_grad_(False)
        self.limits = limits
        self.generator: torch.Generator | None = None

    def logits(self, features: Tensor) -> Tensor:
        """Action logits (N, n); with `card.buttons` those of the nine buttons, (N, 9)."""
        features = features.to(next(self.network.parameters()).device)
        if self.limits is not None:
            least, greatest = self.limits
            features = features.clamp(least, greatest)
        return self.network(features)

    def act(self, features: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Action indices (N,), or buttons (N, 9) with `card.buttons`; sampled or the most likely."""
        logits = self.logits(features)
        if self.card.buttons:
            return (logits > 0 if deterministic else torch.bernoulli(logits.sigmoid(), generator=generator)).long()
        if deterministic:
            return logits.argmax(-1)
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]

    def buttons(self, features: Tensor, scenario: Scenario, generator: torch.Generator | None = None) -> Tensor:
        """What it presses in a scenario: sampled buttons (N, 9), 0 or 1, whichever kind of action it chooses."""
        chosen = self.act(features, generator=generator).cpu()
        return chosen.to(torch.uint8) if self.card.buttons else torch.from_numpy(scenario.action_table())[chosen]

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Sampled actions for all environments, (N,) or (N, 9)."""
        if self.generator is None:
            return self.act(batch.features)
        return self.act(batch.features.cpu(), generator=self.generator)

    @classmethod
    def from_sb3(
        cls, model: OnPolicyAlgorithm, scenario: str, world_model: WorldModel, **hyper_parameters: Any
    ) -> Agent:
        """Take the policy network out of a Stable-Baselines3 PPO or A2C with an `MlpPolicy`.

        Args:
            model: what was trained on features. If its environment normalises observations (`VecNormalize`), the
                statistics become part of the first layer and the clipping part of the agent.
            scenario: what it was trained for; also free play, where it presses buttons.
            world_model: what it was trained in.
            **hyper_parameters: whatever the card is to say of the training.

        Raises:
            ValueError: if the model is anything else: of another algorithm, with memory, with layers that are no
                perceptron, on pictures or stacked observations, or with other actions than the scenario's.
        """
        network, activation, buttons, limits = policy_network(model, scenario, world_model)
        card = AgentCard(
            scenario, world_model.fingerprint, world_model.source, activation, hyper_parameters, buttons=buttons
        )
        return cls(card, network, limits)

    def _linear_layers(self) -> list[nn.Linear]:
        return [layer for layer in self.network if isinstance(layer, nn.Linear)]

    def save(self, folder: str | Path) -> None:
        """Write `agent.safetensors` and `agent.json`."""
        tensors = {
            f"{number}.{name}": tensor
            for number, layer in enumerate(self._linear_layers())
            for name, tensor in layer.state_dict().items()
        }
        if self.limits is not None:
            tensors |= dict(zip(LIMITS, self.limits, strict=True))
        write_network(Path(folder) / CARD, tensors, asdict(self.card))

    @classmethod
    def load(cls, folder: str | Path, fingerprint: str | None = None) -> Agent:
        """Load an agent.

        Args:
            folder: where `save` wrote it, the name of a scenario whose agent ships, or a hub id (`owner/name`,
                `owner/name@revision`).
            fingerprint: of the weights it is to be used with (`WorldModel.fingerprint`); None skips the comparison.

        Raises:
            FileNotFoundError: if there is no agent.
            ValueError: if it is damaged, of another format version, or was trained in other weights.
        """
        folder = _find_agent(folder)
        card = check(folder)
        if fingerprint is not None and card.fingerprint != fingerprint:
            raise UserError(
                f"agent {folder} was trained in weights {card.fingerprint}, not in {fingerprint}: "
                "its features mean something else"
            )
        tensors = read_tensors(folder, TENSORS)
        least, greatest = (tensors.pop(name, None) for name in LIMITS)
        weights = [tensors[f"{number}.weight"] for number in range(len(tensors) // 2)]
        widths = [weights[0].shape[1], *(len(weight) for weight in weights)]
        limits = None if least is None or greatest is None else (least, greatest)
        agent = cls(card, make_network(widths, card.activation), limits)
        for number, layer in enumerate(agent._linear_layers()):
            layer.load_state_dict({name: tensors[f"{number}.{name}"] for name in ("weight", "bias")})
        return agent
