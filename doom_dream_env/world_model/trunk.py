"""The trunk: a causal transformer over a sliding window of steps.

Legend: B batch, T time, W context, L layers, H heads, D state width, E trunk width, V variables.

Token t holds the state z[t], the game variables and the action that led here; its feature h[t] is therefore known
*before* action[t] is chosen. Positions are relative (a learned bias per distance), so a window that slides with a
cache and one long masked pass are the same computation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model.config import WorldModelConfig

ELAPSED_PERIODS = (4, 8, 16, 32, 64)  # steps
ELAPSED_LIMIT = 2048  # steps; the logarithm of elapsed time is one there
CHANGE_SCALE = 4.0  # brings the change of a scaled variable, mostly a small part of one, nearer to one


class Attention(nn.Module):
    """Multi-head attention over the last W steps with a learned bias for each distance."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.context = context
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(heads, context))
        own = torch.eye(heads).repeat_interleave(width // heads, 1)
        self.register_buffer("own_dimensions", own * (width // heads) ** -0.5, persistent=False)

    own_dimensions: Tensor  # (H, E): the scale of the scores in the dimensions of each head, 0 elsewhere

    def mask(self, length: int) -> Tensor:
        """Additive mask (H, T, T): the bias of distance i − j where 0 ≤ i − j < W, −inf elsewhere."""
        at = torch.arange(length, device=self.distance_bias.device)
        distance = at[:, None] - at[None, :]
        seen = (distance >= 0) & (distance < self.context)
        bias = self.distance_bias[:, distance.clamp(0, self.context - 1)]
        return bias.masked_fill(~seen, float("-inf"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, E) → output (B, T, E), keys and values (B, 2, T, E)."""
        b, t, e = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, e)
        q, k, v = qkv.reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each B, H, T, E/H
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask(t).to(q.dtype))
        return self.out(y.transpose(1, 2).reshape(b, t, e)), qkv[:, :, 1:].transpose(1, 2)

    def step(self, x: Tensor, cache: Tensor, unseen: Tensor, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One more step onto a cache.

        Args:
            x: (B, E).
            cache: keys and values of the last W steps, oldest first, (B, 2, W, E).
            unseen: 0 for those of the W slots, the new one included, that hold a real step, −inf elsewhere, (B, 1, W).
            window: where the new cache is already but for the new step, which is written into it; None: it is made.

        Returns:
            output (B, E) and the new cache.
        """
        b, e = x.shape
        q, kv = self.qkv(x).split([e, 2 * e], -1)
        kv = kv.unflatten(-1, (2, e))
        if window is None:
            # The oldest step falls out. `split` instead of a slice: the gradient of a slice would fill a whole cache
            # with zeros first, in every layer of every step of a rollout.
            _, kept = cache.split([1, self.context - 1], 2)
            window = torch.cat([kept, kv[:, :, None]], 2)
        else:
            window[:, :, -1] = kv
        keys, values = window.unbind(1)  # B, W, E
        # One product for all heads: the query of each, zeros in the dimensions of the others. Most of it is wasted, but
        # it is a small part of a step, and keys and values are read where they are (measured: as fast as sums of
        # elementwise products on one thread, without their temporaries of the size of the cache).
        q = q[:, None] * self.own_dimensions  # B, H, E
        scores = torch.baddbmm(unseen + self.distance_bias.flip(1), q, keys.mT)  # B, H, W
        of_all = torch.bmm(scores.softmax(-1), values).unflatten(-1, (self.heads, -1))  # B, H, H, E/H
        y = of_all.diagonal(0, 1, 2).mT.reshape(b, e)
        return self.out(y), window


def unseen_slots(context: int) -> Tensor:
    """What `Attention.step` takes as `unseen`, (W, 1, W), for each number of earlier steps that are real."""
    seen = torch.ones(context, context).tril().flip(1).bool()[:, None]
    return torch.zeros(context, 1, context).masked_fill(~seen, -torch.inf)


class Tape:
    """Room for the cache of dreams that nobody else holds: a step is written behind the last ones, and nothing moves.

    The window of the last W steps slides along the tape. At its end it is copied back to the beginning, once in W
    steps. Copying the cache at every step took a third of a step of 256 dreams (measured).
    """

    def __init__(self) -> None:
        self._tape = torch.empty(0)  # B, L, 2, 2W, E
        self._window: Tensor | None = None
        self._begin = 0  # of the window

    def after(self, cache: Tensor) -> Tensor:
        """The cache (B, L, 2, W, E) one step later: its oldest step has fallen out, the newest is still to be written.

        Args:
            cache: what this returned last, which is lost; or another one, which is copied.
        """
        context = cache.shape[3]
        if cache is not self._window and self._tape.shape[0] != cache.shape[0]:
            self._tape = cache.new_empty(*cache.shape[:3], 2 * context, cache.shape[4])
        if cache is not self._window or self._begin == context:
            self._tape[:, :, :, : context - 1] = cache[:, :, :, 1:]
            self._begin = -1
        self._begin += 1
        self._window = self._tape[:, :, :, self._begin : self._begin + context]
        return self._window


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, context)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `Attention.forward`."""
        y, cache = self.attention(self.norm1(x))
        x = x + y
        return x + self.mlp(self.norm2(x)), cache

    def step(self, x: Tensor, cache: Tensor, unseen: Tensor, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `Attention.step`."""
        y, cache = self.attention.step(self.norm1(x), cache, unseen, window)
        x = x + y
        return x + self.mlp(self.norm2(x)), cache


def elapsed_features(elapsed: Tensor) -> Tensor:
    """Elapsed steps (...) as sines and cosines of five periods and a logarithm, (..., 11); zeros where unknown.

    Time decides what no frame shows: the floor of health_gathering burns every eighth step, and an agent that has
    waited long in defend_the_line meets stronger monsters.
    """
    phases = (
        2 * math.pi * elapsed[..., None] / torch.tensor(ELAPSED_PERIODS, device=elapsed.device, dtype=torch.float32)
    )
    logarithm = elapsed.clamp(min=0).float().log1p()[..., None] / math.log(ELAPSED_LIMIT)
    return torch.cat([phases.sin(), phases.cos(), logarithm], -1) * (elapsed >= 0)[..., None]


def step_flags(batch: int, *, action_known: bool, episode_start: bool, device: torch.device) -> Tensor:
    """What is known of a step beside its numbers, as `Trunk.embed` takes it: (B, 2).

    Args:
        batch: B.
        action_known: the action that led here is known.
        episode_start: the episode begins here.
        device: where to put the flags.
    """
    known = [float(action_known), float(episode_start)]
    return torch.tensor(known, device=device, dtype=torch.float32).expand(batch, 2)


class Trunk(nn.Module):
    """Embeds steps and runs the blocks; the result is layer-normed, so that agents see it at a known scale."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.trunk_width
        self.context = config.context
        self.state_in = nn.Linear(config.state_width, width)
        self.action_in = nn.Sequential(nn.Linear(len(BUTTONS), 64), nn.GELU(), nn.Linear(64, width))
        self.variables_in = nn.Linear(2 * len(config.variables), width)
        self.scenario_in = nn.Embedding(len(config.scenarios) + 1, width)  # the last one: scenario unknown
        self.flags_in = nn.Linear(2, width, bias=False)
        self.age_in = nn.Linear(2 * len(ELAPSED_PERIODS) + 1, width, bias=False)
        self.blocks = nn.ModuleList(Block(width, config.trunk_heads, self.context) for _ in range(config.trunk_depth))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("unseen", unseen_slots(self.context), persistent=False)

    unseen: Tensor  # (W, 1, W), see `unseen_slots`

    def embed(
        self,
        z: Tensor,
        action: Tensor,
        variables: Tensor,
        change: Tensor,
        scenario: Tensor,
        flags: Tensor,
        elapsed: Tensor,
    ) -> Tensor:
        """Tokens (..., E) from steps; leading dimensions are free.

        Args:
            z: (..., D) state.
            action: (..., 9) buttons that led here, zeros where unknown.
            variables: (..., V) scaled game variables.
            change: (..., V) their change in the step that led here.
            scenario: (...) index.
            flags: (..., 2) the action that led here is known, the episode begins here (see `step_flags`).
            elapsed: (...) steps since the episode began; negative where unknown.
        """
        action_known = flags[..., :1]
        return (
            self.state_in(z)
            + action_known * self.action_in(action)
            + self.variables_in(torch.cat([variables, CHANGE_SCALE * change], -1))
            + self.scenario_in(scenario)
            + self.flags_in(flags)
            + self.age_in(elapsed_features(elapsed))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Whole windows (B, T, E) → features h (B, T, E)."""
        return self.prefill(tokens)[0]

    def prefill(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`; also the cache (B, L, 2, W, E) and length (B,) from which `step` goes on."""
        b, t, _ = tokens.shape
        caches = []
        for block in self.blocks:
            tokens, cache = block(tokens)
            caches.append(F.pad(cache, (0, 0, max(self.context - t, 0), 0))[:, :, -self.context :])
        length = torch.full((b,), min(t, self.context - 1), device=tokens.device)
        return self.norm(tokens), torch.stack(caches, 1), length

    def step(self, token: Tensor, cache: Tensor, length: Tensor, tape: Tape | None = None) -> tuple[Tensor, Tensor]:
        """One step (B, E) onto a cache (B, L, 2, W, E) of which `length` (B,) steps are real → h (B, E), new cache.

        With a tape the new cache is a window of it, and the given one has been used up.
        """
        unseen = self.unseen[length]
        window = None if tape is None else tape.after(cache)
        windows = [None] * len(self.blocks) if window is None else window.unbind(1)
        layers = []
        for block, old, room in zip(cast("Iterable[Block]", self.blocks), cache.unbind(1), windows, strict=True):
            token, new = block.step(token, old, unseen, room)
            layers.append(new)
        return self.norm(token), torch.stack(layers, 1) if window is None else window
