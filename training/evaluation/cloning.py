"""Behaviour cloning: an agent that presses what the scripted teacher presses, given the features alone.

Legend: N samples, F features, n actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.agents import Agent, AgentCard
from doom_dream_env.agents.agent import make_network
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import Scenario
from doom_dream_env.seeds import CLONING
from doom_dream_env.world_model import WorldModel
from training.players.base import PlayerPolicy
from training.players.roster import TEACHERS

BATCH = 256
WIDTH = 128  # of the teacher's clone's only hidden layer
ACTIVATION = "Tanh"


def record_teacher(model: WorldModel, scenario: Scenario, steps: int, num_envs: int) -> tuple[Tensor, Tensor]:
    """Let the scripted teacher, which sees the game's own objects, play.

    Args:
        model: whose features are recorded.
        scenario: one with a teacher and an action table.
        steps: how many, all games together.
        num_envs: games at once.

    Returns:
        features (N, F), and indices of the actions that the teacher chose (N,).
    """
    make = TEACHERS[scenario.name]
    teacher = PlayerPolicy(lambda rng: make(scenario, rng))
    real = RealBatch(num_envs, scenario.name, privileged=True, weights=model)
    seeds = count(CLONING)
    seen = []
    pressed = []
    try:
        real.reset(seed=[next(seeds) for _ in range(num_envs)])
        for _ in progress(range(steps // num_envs), desc="teacher", unit="step", leave=False):
            buttons = real.buttons(teacher(real))
            seen.append(real.features)
            pressed.append((buttons[:, None] == real.action_table).all(-1).int().argmax(-1))
            real.step(buttons)
            if bool(real.done.any()):
                real.reset(real.done, seed=[next(seeds) for _ in range(int(real.done.sum()))])
    finally:
        real.close()
    return torch.cat(seen).clone(), torch.cat(pressed).clone()


def clone_teacher(model: WorldModel, scenario: Scenario, steps: int, num_envs: int, epochs: int) -> Agent:
    """Train an agent on what the teacher does.

    Args:
        model: whose features it sees.
        scenario: one with a teacher and an action table.
        steps: recorded ones, all games together.
        num_envs: games at once.
        epochs: passes over the recorded steps.
    """
    x, y = record_teacher(model, scenario, steps, num_envs)
    network = fit_clone(x, F.one_hot(y, len(scenario.action_table())).float(), (WIDTH,), epochs)
    card = AgentCard(scenario.name, model.fingerprint, model.source, ACTIVATION, {"algorithm": "behaviour cloning"})
    return Agent(card, network)


def fit_clone(
    x: Tensor, y: Tensor, hidden: Sequence[int], epochs: int, *, buttons: bool = False, seed: int = 0
) -> nn.Sequential:
    """A network that has learned what somebody pressed, as an `Agent` takes it.

    Args:
        x: features (N, F).
        y: probabilities of the actions (N, n); with `buttons`, of each of the nine buttons (N, 9).
        hidden: widths of the hidden layers.
        epochs: passes over the samples.
        buttons: any of them are pressed together (free play).
        seed: of initial weights and order.
    """
    generator = torch.Generator().manual_seed(seed)
    network = make_network((x.shape[1], *hidden, y.shape[1]), ACTIVATION)
    for layer in network:
        if isinstance(layer, nn.Linear):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
            layer.bias.data.zero_()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    loss = F.binary_cross_entropy_with_logits if buttons else F.cross_entropy
    for _ in progress(range(epochs), desc="clone", leave=False):
        for part in torch.randperm(len(x), generator=generator).split(BATCH):
            optimiser.zero_grad()
            loss(network(x[part]), y[part]).backward()
            optimiser.step()
    return network
