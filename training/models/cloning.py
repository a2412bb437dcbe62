"""Windows of advised steps, and the loss of a policy that follows the advice.

Legend: B windows, T steps, F features, K actions ahead, S scenarios, n rows of the longest action table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents.action_policy import PolicyNetwork
from doom_dream_env.agents.choices import choices_of, draw_buttons, log_probabilities
from doom_dream_env.scenarios import BUTTONS, Scenario
from training.data.advice import Advice

NOISE = 0.3  # greatest standard deviation of noise on the features
NOISE_SHARE = 0.5  # of the windows that are seen through noise
HIDDEN_SHARE = 0.5  # of the windows in which no past action is told
HIDDEN_STEPS = 0.2  # share of the past actions that are not told in the other windows
OWN_SHARE = 0.25  # of the windows whose past actions are replaced by those that the policy would have chosen
AHEAD_WEIGHT = 0.3  # of the actions behind the next one


@dataclass(frozen=True)
class AdvisedWindows:
    """B windows of T steps.

    Attributes:
        features: (B, T, F).
        pressed: buttons that led to each step, (B, T, 9); zeros in the first one.
        advised: what the teacher would press in this step and the K − 1 after it, (B, T, K, 9).
        valid: which of these there are, 0/1 as float (B, T, K).
        scenario: index, (B,).
    """

    features: Tensor
    pressed: Tensor
    advised: Tensor
    valid: Tensor
    scenario: Tensor

    def to(self, device: torch.device) -> AdvisedWindows:
        """Copy to a device."""
        return AdvisedWindows(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw_windows(
    advice: Sequence[Advice], batch: int, length: int, ahead: int, rng: np.random.Generator
) -> AdvisedWindows:
    """Cut windows from the advice of each scenario, about equally many of each; past an episode's end none is valid."""
    edges = np.floor(np.linspace(0, batch, len(advice) + 1) + rng.random()).astype(int)
    parts = []
    for scenario, (own, count) in enumerate(zip(advice, np.diff(edges), strict=True)):
        begin = torch.from_numpy(rng.integers(len(own), size=int(count)))
        last = own.last[begin][:, None, None]
        rows = begin[:, None, None] + torch.arange(length)[:, None] + torch.arange(ahead)  # B, T, K
        valid = (rows <= last).float()
        rows = torch.minimum(rows, last)
        steps = rows[..., 0]
        pressed = own.pressed[steps].float().roll(1, 1)
        pressed[:, 0] = 0
        index = torch.full((len(begin),), scenario)
        parts.append(AdvisedWindows(own.features[steps].float(), pressed, own.advised[rows].float(), valid, index))
    names = [field.name for field in fields(AdvisedWindows)]
    return AdvisedWindows(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


class Rows:
    """The rows of all action tables as choices, side by side, so that one loss serves all scenarios.

    Args:
        scenarios: in the order of their indices.
        device: where the logits are.
    """

    def __init__(self, scenarios: Sequence[Scenario], device: torch.device | str = "cpu") -> None:
        self.discrete = torch.tensor([scenario.discrete for scenario in scenarios])
        most = max(len(scenario.action_table()) for scenario in scenarios)
        tables = torch.zeros(len(scenarios), most, len(BUTTONS))
        self.missing = torch.ones(len(scenarios), most, dtype=torch.bool)
        for index, scenario in enumerate(scenarios):
            table = torch.from_numpy(scenario.action_table())
            tables[index, : len(table)] = table.float()
            self.missing[index, : len(table)] = False
        self.choices = choices_of(tables).to(device)  # S, n, 15
        self.discrete = self.discrete.to(device)
        self.missing = self.missing.to(device)

    def log_probability(self, logits: Tensor, buttons: Tensor, scenario: Tensor) -> Tensor:
        """Log probability (B, T, K) of buttons (B, T, K, 9) under logits (B, T, K, 12), in scenarios (B,).

        Where a scenario has an action table, the probability is that among its rows.
        """
        log_p = log_probabilities(logits)
        own = (log_p * choices_of(buttons)).sum(-1)
        of_rows = torch.einsum("btkc,bnc->btkn", log_p, self.choices[scenario])
        of_rows = of_rows.masked_fill(self.missing[scenario][:, None, None], -torch.inf)
        total = of_rows.logsumexp(-1)
        return own - torch.where(self.discrete[scenario][:, None, None], total, 0.0)


def disturbed(windows: AdvisedWindows, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features seen through noise, and which past actions the policy is told: (B, T, F), 0/1 as float (B, T).

    A share of the windows is seen through noise of a random strength, as dreamed states are never exactly real. Of a
    share all past actions are hidden, of the others single ones, so that nothing is learned by copying the last action.
    """
    count, steps, _ = windows.features.shape
    lot = torch.rand(count, 1, 1, generator=generator)
    strength = NOISE * (lot / max(NOISE_SHARE, 1e-6)) * (lot < NOISE_SHARE)
    noise = torch.randn(windows.features.shape, generator=generator)
    known = torch.rand(count, 1, generator=generator) >= HIDDEN_SHARE
    single = torch.rand(count, steps, generator=generator) >= HIDDEN_STEPS
    known = (known & single).float()
    known[:, 0] = 0
    device = windows.features.device
    return windows.features + (strength * noise).to(device), known.to(device)


@torch.no_grad()
def own_actions(
    network: PolicyNetwork,
    features: Tensor,
    pressed: Tensor,
    known: Tensor,
    scenario: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """What the policy itself would have pressed, (B, T, 9): scheduled sampling of its own past actions.

    See arXiv 1506.03099; one pass of the whole window, as in its parallel form for transformers (1906.07651). Arguments
    as for `PolicyNetwork.forward`.
    """
    logits = network(features, pressed, known, scenario)[:, :-1, 0]
    drawn = draw_buttons(logits.flatten(0, 1).to(generator.device), generator=generator)
    drawn = drawn.to(logits.device).unflatten(0, logits.shape[:2])
    return torch.cat([torch.zeros_like(drawn[:, :1]), drawn], 1)


def cloning_loss(
    network: PolicyNetwork, windows: AdvisedWindows, rows: Rows, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy of the advised actions: of the next one, and less of the ones behind it.

    Returns:
        the loss, and for the log the nats and the accuracy of the next action.
    """
    features, known = disturbed(windows, generator)
    pressed = windows.pressed.clone()
    chosen = (torch.rand(len(features), generator=generator) < OWN_SHARE).to(features.device)
    if bool(chosen.any()):
        told = (pressed[chosen], known[chosen], windows.scenario[chosen])
        pressed[chosen] = own_actions(network, features[chosen], *told, generator)
    logits = network(features, pressed, known, windows.scenario)
    nats = -rows.log_probability(logits, windows.advised, windows.scenario)  # B, T, K
    nats = (nats * windows.valid).sum((0, 1)) / windows.valid.sum((0, 1)).clamp(min=1)
    loss = nats[0] + AHEAD_WEIGHT * nats[1:].mean() if len(nats) > 1 else nats[0]
    return loss, {"nats": nats[0], "nats_ahead": nats[-1]}
