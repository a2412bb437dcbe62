"""What an action brings: first the discrete outcome (variables, reward, end), then the next state that fits it.

Legend: leading dimensions free (written ...), E trunk width, D state width, V variables.

The order is a choice: a hit decides both the health that is lost and the picture that follows, so the outcome is drawn
first and the next state is drawn given it. A step that ends an episode has no next picture, and needs none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model.config import WorldModelConfig

UNIFORM = 0.01  # of every posterior in training is uniform, so that the divergence stays finite


class Codes(nn.Module):
    """A discrete code of what the central guess leaves open: G groups of K values, drawn one after another.

    Each value shifts the condition from which the next state is made, so a drawn future is a decision, not a jitter: what flies goes
    on flying. Later groups know the earlier ones, so one draw is one coherent future. In training a posterior that has seen the next
    state chooses the code and the prior learns to foretell it, as in DreamerV2 (arXiv 2010.02193).

    Legend: G groups, K values of each, W width of the prior.
    """

    def __init__(self, groups: int, size: int, condition: int, width: int) -> None:
        super().__init__()
        self.groups, self.size = groups, size
        self.embedding = nn.Parameter(torch.randn(groups, size, condition) * 0.3)
        self.condition_in = nn.Linear(condition, width)
        self.chosen_in = nn.Parameter(torch.zeros(groups - 1, size, width))
        self.logits = nn.ModuleList(nn.Linear(width, size) for _ in range(groups))

    def embed(self, code: Tensor) -> Tensor:
        """One-hot (or straight-through) code (..., G, K) → shift of the condition (..., E)."""
        return code.flatten(-2) @ self.embedding.flatten(0, 1)

    def log_prior(self, c: Tensor, code: Tensor) -> Tensor:
        """Log odds (..., G, K) of each group given c (..., E) and the groups before it in a one-hot code (..., G, K)."""
        x, out = self.condition_in(c), []
        for group, head in enumerate(self.logits):
            if group:
                x = x + code[..., group - 1, :] @ self.chosen_in[group - 1]
            out.append(head(F.gelu(x)))
        return torch.stack(out, -2).float().log_softmax(-1)

    def sample(self, c: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Draw a code given c (B, E) with its log odds divided by `temperature`; return the shift of the condition (B, E).

        The prior has learned the uniform share of the posteriors too; it is taken out again. With it, one step in 25 of a dream was
        a code that means nothing.
        """
        x, shift = self.condition_in(c), torch.zeros_like(c)
        for group, head in enumerate(self.logits):
            odds = (head(F.gelu(x)).softmax(-1) - UNIFORM / self.size).clamp(min=1e-12)  # without what was mixed in for training
            odds = (odds.log() / temperature).softmax(-1)
            drawn = torch.multinomial(odds, 1, generator=generator)[:, 0]
            shift = shift + self.embedding[group, drawn]
            if group + 1 < self.groups:
                x = x + self.chosen_in[group, drawn]
        return shift


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
        self.codes = Codes(config.code_groups, config.code_size, width, config.code_width)
        self.register_buffer("rewards", torch.tensor(config.rewards), persistent=False)

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

    def next_state(self, z: Tensor, c: Tensor) -> Tensor:
        """The next state (..., D): with c as it is the central one, the best single guess in squared error; with a code added, that one."""
        return z + self.central(torch.cat([c, z], -1))
