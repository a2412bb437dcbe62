"""Behaviour cloning: an agent that presses what the scripted teacher presses, given the features alone.

Legend: N samples, F features, n actions.
"""

from __future__ import annotations

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
WIDTH = 128  # of the network's only hidden layer


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
    generator = torch.Generator().manual_seed(0)
    network = make_network((x.shape[1], WIDTH, len(scenario.action_table())), "Tanh")
    for layer in network:
        if isinstance(layer, nn.Linear):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
            layer.bias.data.zero_()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    for _ in progress(range(epochs), desc="clone", leave=False):
        for part in torch.randperm(len(x), generator=generator).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(network(x[part]), y[part]).backward()
            optimiser.step()
    card = AgentCard(scenario.name, model.fingerprint, model.source, "Tanh", {"algorithm": "behaviour cloning"})
    return Agent(card, network)
