"""The action policy: a small causal transformer that presses what skilled players press, one network for all worlds.

`ActionPolicy.load(folder)` is a `Policy`: `evaluate_policy(batch, ActionPolicy.load(folder), ...)`. It sees the
features of the last steps and what it pressed between them, and foretells its next `ahead` actions at once (multi-token
prediction, as the behaviour cloning of Dreamer 4, arXiv 2509.24527); it acts by the first of them. It is cloned by
`python -m training clone`.

Legend: N environments, B windows, T steps, F features, P policy width, L layers, W context, K actions ahead, n rows of
an action table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from weakref import WeakKeyDictionary

import torch
from pydantic import Field, with_config
from torch import Tensor, nn

from doom_dream_env.agents.choices import N_LOGITS, button_logits, draw_buttons, table_logits
from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model.files import read_about_network, read_tensors, write_network
from doom_dream_env.world_model.hub import find_folder
from doom_dream_env.world_model.trunk import Block, unseen_slots
from doom_dream_env.world_model.validation import STRICT, Count, check_heads

if TYPE_CHECKING:
    from doom_dream_env.envs.base import EnvBatch

FORMAT_VERSION = 1
CARD = "policy.json"
TENSORS = "policy.safetensors"


@with_config(STRICT)
@dataclass(frozen=True)
class ActionPolicyConfig:
    """Sizes of an action policy, and what is known about it: all of its `policy.json` but the checksum.

    Attributes:
        feature_width: F of the weights that it sees through.
        scenarios: names in the order of their embeddings; one more embedding stands for every other scenario.
        fingerprint: the weights that it was cloned through.
        weights: where those were: the name of a shipped set, or a folder.
        width, depth, heads: of the transformer.
        context: W, how many steps it sees.
        ahead: K, how many actions it foretells.
        training: how it was cloned.
    """

    feature_width: Annotated[Count, Field(le=16_384)]
    scenarios: tuple[str, ...]
    fingerprint: str
    weights: str
    width: Annotated[Count, Field(le=4096)] = 128
    depth: Annotated[Count, Field(le=64)] = 2
    heads: Annotated[Count, Field(le=64)] = 4
    context: Annotated[Count, Field(le=512)] = 16
    ahead: Annotated[Count, Field(le=512)] = 8
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_heads(self)


# Sizes by preset: 0.5 million parameters at `nano`, 2.7 million at `base`.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 16, "depth": 1, "heads": 2, "context": 4, "ahead": 2},
    "nano": {"width": 128, "depth": 2, "heads": 4, "context": 16},
    "base": {"width": 256, "depth": 3, "heads": 8, "context": 32},
}


@dataclass(frozen=True)
class PolicyContext:
    """What a policy remembers of N episodes. Never changed in place.

    Attributes:
        cache: keys and values of the last W steps, (N, L, 2, W, P).
        length: how many earlier steps of the cache are real, int64 (N,).
        pressed: buttons pressed since the newest step, (N, 9).
    """

    cache: Tensor
    length: Tensor
    pressed: Tensor

    def begin(self, envs: Tensor) -> PolicyContext:
        """Forget the episodes of a mask (N,)."""
        return dataclasses.replace(self, length=torch.where(envs, 0, self.length))


class PolicyNetwork(nn.Module):
    """From features and past actions to the next actions."""

    def __init__(self, config: ActionPolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.features_in = nn.Linear(config.feature_width, width)
        self.action_in = nn.Sequential(nn.Linear(len(BUTTONS), width), nn.GELU(), nn.Linear(width, width))
        self.scenario_in = nn.Embedding(len(config.scenarios) + 1, width)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.context) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.ahead * N_LOGITS))
        self.register_buffer("unseen", unseen_slots(config.context), persistent=False)

    unseen: Tensor  # (W, 1, W), see `unseen_slots`

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.features_in.weight.device

    @property
    def parameter_count(self) -> int:
        """How many numbers it learns."""
        return sum(parameter.numel() for parameter in self.parameters())

    def tokens(self, features: Tensor, pressed: Tensor, known: Tensor, scenario: Tensor) -> Tensor:
        """Tokens (..., P) from features (..., F), the buttons (..., 9) that led there, and whether those are known."""
        action = known[..., None] * self.action_in(pressed)
        return self.features_in(features) + action + self.scenario_in(scenario)

    def forward(self, features: Tensor, pressed: Tensor, known: Tensor, scenario: Tensor) -> Tensor:
        """Whole windows at once.

        Args:
            features: (B, T, F).
            pressed: buttons that led to each step, (B, T, 9).
            known: which of them the policy is told, 0/1 as float (B, T).
            scenario: index, (B,).

        Returns:
            logits (B, T, K, 12) of the next K actions.
        """
        x = self.tokens(features, pressed, known, scenario[:, None])
        for block in self.blocks:
            x, _ = block(x)
        return self.head(self.norm(x)).unflatten(-1, (self.config.ahead, N_LOGITS))

    def no_context(self, count: int) -> PolicyContext:
        """The context of `count` episodes that have just begun."""
        c = self.config
        cache = torch.zeros(count, c.depth, 2, c.context, c.width, device=self.device)
        length = torch.zeros(count, dtype=torch.long, device=self.device)
        return PolicyContext(cache, length, torch.zeros(count, len(BUTTONS), device=self.device))

    @torch.no_grad()
    def step(self, context: PolicyContext, features: Tensor, scenario: Tensor) -> tuple[Tensor, PolicyContext]:
        """One more step, the same computation as `forward`.

        Args:
            context: of N episodes, whose `pressed` led to these features.
            features: (N, F).
            scenario: index, (N,).

        Returns:
            logits (N, K, 12) and the new context, in which nothing is pressed yet.
        """
        unseen = self.unseen[context.length]
        x = self.tokens(features, context.pressed, (context.length > 0).float(), scenario)
        layers = []
        for block, old in zip(cast("Iterable[Block]", self.blocks), context.cache.unbind(1), strict=True):
            x, new = block.step(x, old, unseen)
            layers.append(new)
        length = (context.length + 1).clamp(max=self.config.context - 1)
        logits = self.head(self.norm(x)).unflatten(-1, (self.config.ahead, N_LOGITS))
        return logits, PolicyContext(torch.stack(layers, 1), length, torch.zeros_like(context.pressed))


class ActionPolicy:
    """A cloned player of all scenarios; a `Policy`.

    It remembers each batch of environments by itself and begins anew where `batch.steps` is 0, so it wants to be asked
    once in every step. In free play it presses what its groups say, elsewhere a row of the action table.

    Args:
        network: what it has learned. It is frozen.
        greedy: press the most likely instead of sampling.
        generator: what its actions are sampled with; None: torch's own.
    """

    def __init__(
        self, network: PolicyNetwork, *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.greedy = greedy
        self.generator = generator
        self._contexts: WeakKeyDictionary[EnvBatch, PolicyContext] = WeakKeyDictionary()

    @property
    def config(self) -> ActionPolicyConfig:
        """Sizes, and what is known about it."""
        return self.network.config

    def scenario_index(self, name: str) -> int:
        """Index of a scenario's embedding; that of all others if it was not cloned in it."""
        names = self.config.scenarios
        return names.index(name) if name in names else len(names)

    def look(self, batch: EnvBatch) -> Tensor:
        """Look at the newest step of all environments: logits (N, 12) of the next action. `press` must follow.

        Raises:
            ValueError: if the environments show features of another width than those it was cloned through.
        """
        device = self.network.device
        features = batch.features.to(device)
        if features.shape[1] != self.config.feature_width:
            raise UserError(
                f"this policy sees {self.config.feature_width} features, those of weights {self.config.fingerprint}; "
                f"here are {features.shape[1]}: clone one through these weights with `python -m training clone`"
            )
        context = self._contexts.get(batch) or self.network.no_context(batch.num_envs)
        context = context.begin((batch.steps == 0).to(device))
        scenario = torch.full((batch.num_envs,), self.scenario_index(batch.scenario.name), device=device)
        logits, self._contexts[batch] = self.network.step(context, features, scenario)
        return logits[:, 0]

    def press(self, batch: EnvBatch, buttons: Tensor) -> None:
        """Remember what is pressed in all environments, (N, 9), whoever chose it."""
        pressed = buttons.to(self.network.device).float()
        self._contexts[batch] = dataclasses.replace(self._contexts[batch], pressed=pressed)

    def action_logits(self, batch: EnvBatch) -> Tensor:
        """As `look`: logits (N, n) of the action table's rows, or in free play of the nine buttons, (N, 9)."""
        logits = self.look(batch)
        if batch.scenario.discrete:
            return table_logits(logits, batch.action_table.to(logits.device))
        return button_logits(logits)

    def __call__(self, batch: EnvBatch) -> Tensor:
        """Buttons (N, 9) for all environments."""
        logits = self.look(batch)
        if self.generator is not None:
            logits = logits.to(self.generator.device)
        if batch.scenario.discrete:
            table = batch.action_table.to(logits.device)
            of_rows = table_logits(logits, table)
            if self.greedy:
                rows = of_rows.argmax(-1)
            else:
                rows = torch.multinomial(of_rows.softmax(-1), 1, generator=self.generator)[:, 0]
            buttons = table[rows]
        else:
            buttons = draw_buttons(logits, self.greedy, self.generator)
        self.press(batch, buttons)
        return buttons.to(batch.device)

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write `policy.safetensors` and `policy.json`."""
        write_network(Path(folder) / CARD, self.network.state_dict(), dataclasses.asdict(self.config))

    @classmethod
    def load(cls, folder: str | Path, fingerprint: str | None = None, *, greedy: bool = False) -> ActionPolicy:
        """Load a policy.

        Args:
            folder: where `save` wrote it, or a hub id (`owner/name`, `owner/name@revision`).
            fingerprint: of the weights it is to be used with (`WorldModel.fingerprint`); None skips the comparison.
            greedy: press the most likely instead of sampling.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is damaged, of another format version, or was cloned through other weights.
        """
        folder = find_folder(folder, (CARD, TENSORS, "README.md"), check)
        config = check(folder)
        if fingerprint is not None and config.fingerprint != fingerprint:
            raise UserError(
                f"policy {folder} was cloned through weights {config.fingerprint}, not {fingerprint}: "
                "its features mean something else"
            )
        network = PolicyNetwork(config)
        tensors = read_tensors(folder, TENSORS)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        if expected != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
            raise UserError(f"{folder / TENSORS} does not fit the sizes in {CARD}; fetch both anew")
        network.load_state_dict(tensors)
        return cls(network, greedy=greedy)


def check(folder: Path) -> ActionPolicyConfig:
    """The configuration of the policy in a folder.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or of another format version.
    """
    return read_about_network(folder / CARD, ActionPolicyConfig, FORMAT_VERSION)
