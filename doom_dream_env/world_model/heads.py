"""What an action brings: first the discrete outcome (variables, reward, end), then the next state that fits it.

Legend: leading dimensions free (written ...), E trunk width, D state width, V variables.

The order is a choice: a hit decides both the health that is lost and the picture that follows, so the outcome is drawn
first and the next state is drawn given it. A step that ends an episode has no next picture, and needs none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.config import WorldModelConfig


class FlowHead(nn.Module):
    """Samples the part of the next state that the central guess leaves open, by rectified flow (arXiv 2209.03003).

    All D dimensions move together, so one draw is one coherent future.
    """

    def __init__(self, state: int, condition: int, width: int, depth: int) -> None:
        super().__init__()
        self.state_in = nn.Linear(state, width)
        self.condition_in = nn.Linear(condition, width)
        self.time_in = nn.Linear(16, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(depth)
        )
        self.out = nn.Linear(width, state)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("frequencies", 2 * math.pi * 2.0 ** torch.arange(-2, 6).float(), persistent=False)

    frequencies: Tensor

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Velocity (..., D) at x (..., D), time (..., 1) in 0…1, given the projected condition (..., width)."""
        phase = time * self.frequencies
        y = self.state_in(x) + self.time_in(torch.cat([phase.sin(), phase.cos()], -1)) + condition
        for block in self.blocks:
            y = y + block(y)
        return self.out(F.gelu(y))

    def sample(self, noise: Tensor, condition: Tensor, steps: int) -> Tensor:
        """Integrate from `noise` (..., D) by Euler steps."""
        x, condition = noise, self.condition_in(condition)
        for i in range(steps):
            time = torch.full_like(x[..., :1], i / steps)
            x = x + self(x, time, condition) / steps
        return x


class Dynamics(nn.Module):
    """Heads on h[t] and action[t]: outcome, continuation, reward, next state."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width, state = config.trunk_width, config.state_width
        self.sizes = [len(values) for values in config.deltas]
        self.action_in = nn.Sequential(nn.Linear(9, 64), nn.GELU(), nn.Linear(64, width))
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.outcome = nn.Linear(width, sum(self.sizes))
        self.outcome_in = nn.ModuleList(nn.Embedding(size, width) for size in self.sizes)
        self.norm = nn.LayerNorm(width)
        self.end = nn.Sequential(nn.Linear(width + 3 * len(self.sizes), width), nn.GELU(), nn.Linear(width, 1 + len(config.rewards)))
        self.central = nn.Sequential(nn.Linear(width + state, 2 * width), nn.GELU(), nn.Linear(2 * width, state))
        self.flow = FlowHead(state, width, config.flow_width, config.flow_depth)
        self.register_buffer("residual_scale", torch.ones(state))
        self.register_buffer("rewards", torch.tensor(config.rewards), persistent=False)

    residual_scale: Tensor
    rewards: Tensor

    def act(self, h: Tensor, action: Tensor) -> Tensor:
        """Join feature h (..., E) and action (..., 9) → g (..., E)."""
        g = h + self.action_in(action)
        return g + self.mix(g)

    def outcome_logits(self, g: Tensor) -> list[Tensor]:
        """Per variable, logits (..., number of its deltas)."""
        return list(self.outcome(g).split(self.sizes, -1))

    def given_outcome(self, g: Tensor, outcome: list[Tensor]) -> Tensor:
        """Condition g on the drawn outcome (indices (...) per variable) → c (..., E)."""
        for embedding, index in zip(self.outcome_in, outcome, strict=True):
            g = g + embedding(index)
        return self.norm(g)

    def ending(self, c: Tensor, variables: Tensor) -> tuple[Tensor, Tensor]:
        """Logit of going on (...,) and reward logits (..., R) given the variables after the step, scaled, (..., V)."""
        v = variables.clamp(-1, 4)
        facts = torch.cat([v, (v <= 0).to(v.dtype), (v < 0.1).to(v.dtype)], -1)
        out = self.end(torch.cat([c, facts], -1))
        return out[..., 0], out[..., 1:]

    def expected_reward(self, logits: Tensor) -> Tensor:
        """Mean of the reward distribution, (...)."""
        return (logits.softmax(-1) * self.rewards).sum(-1)

    def next_state(self, z: Tensor, c: Tensor) -> Tensor:
        """The central next state (..., D): the best single guess in squared error."""
        return z + self.central(torch.cat([c, z], -1))
