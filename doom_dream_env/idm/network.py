"""The network: motion between adjacent frames, and what happened before and after.

Legend: B batch, T frames of a window, N = B·T, C channels, W width of the temporal transformer.

Motion is seen twice. Two adjacent frames go through one convolution together (early fusion), which sees small motions.
And every column of one frame is compared with the columns to its left and right in the other (a correlation volume, as
in FlowNetC, arXiv 1504.06852): turning moves the picture by up to 50 of its 160 columns in a step, walking moves the
columns apart. DOOM does not look up or down, so a column stays a column; seen whole it is far less ambiguous than a
patch of a wall. What does not depend on what walls look like carries over to maps that were never seen. The keys follow
from the motion of neighbouring steps, before and after (VPT, arXiv 2206.11795).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.idm.config import IDMConfig
from doom_dream_env.scenarios import BITS, FRAME_SHAPE, PAIRS
from doom_dream_env.world_model.trunk import Attention, Block

HALF_SIZE = (FRAME_SHAPE[0] // 2, FRAME_SHAPE[1] // 2)  # in which frames are looked at
STEM_SIZE = (FRAME_SHAPE[0] // 4, FRAME_SHAPE[1] // 4)  # behind the first convolution
MOTIONS = 3  # turn to the left, way forward, way to the left
HUD_ROWS = 20  # the lowest rows, seen in full resolution: the HUD's digits are 7 pixels wide


@dataclass(frozen=True)
class IDMOutput:
    """What the network says of each step.

    Attributes:
        pairs: logits of neither, first, second of each of `PAIRS`, (B, T, 3, 3).
        bits: logits of each of `BITS`, (B, T, 3).
        play: logit of the frame showing play, (B, T).
        died: logit of dying in this step, (B, T).
        health: in units of 100, (B, T).
        health_scale: logarithm of the scale of its Laplace distribution, (B, T).
    """

    pairs: Tensor
    bits: Tensor
    play: Tensor
    died: Tensor
    health: Tensor
    health_scale: Tensor


class Heads(nn.Module):
    """Linear readouts of `IDMOutput`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (3 * len(PAIRS), len(BITS), 1, 1, 1, 1)
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, x: Tensor) -> IDMOutput:
        """(B, T, W) → logits."""
        pairs, bits, *single = self.linear(x).float().split(self.sizes, -1)
        play, died, health, scale = (value[..., 0] for value in single)
        return IDMOutput(pairs.unflatten(-1, (len(PAIRS), 3)), bits, play, died, health, scale.clamp(-5, 3))


def convolution(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out),
    )


def correlation(one: Tensor, two: Tensor, reach: int) -> Tensor:
    """How like each column is to the columns beside it in another picture.

    Args:
        one: features of unit length, (N, X, C).
        two: those of the other picture.
        reach: columns to either side.

    Returns:
        cosine of each displacement from −reach to reach, zero beyond the edges, (N, X, 2·reach + 1).
    """
    n, x, _ = one.shape
    size = 2 * reach + 1
    flat = F.pad(one @ two.transpose(1, 2), (reach, reach)).flatten(1)  # rows of X + 2·reach
    # Rows that are one longer move each next one to the left by one: the column becomes the displacement.
    return F.pad(flat, (0, x)).view(n, x, x + size)[..., :size]


class ColumnMatcher(nn.Module):
    """Where the columns of a frame are in the next one."""

    SHARPNESS = 10.0  # of a match, at first: what the cosines are multiplied by before the softmax

    def __init__(self, config: IDMConfig) -> None:
        super().__init__()
        rows, _ = STEM_SIZE
        self.reach = config.match_reach
        size = 2 * config.match_reach + 1
        self.describe = nn.Linear(config.stem_width * rows, config.match_width)
        self.sharpness = nn.Parameter(torch.tensor(self.SHARPNESS))
        self.read = nn.Sequential(
            nn.Conv1d(2 * size, config.match_width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv1d(config.match_width, config.match_width, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )

    def features(self, stem: Tensor) -> Tensor:
        """Columns (N, C, 30, 40) as what sets each apart from the others of its picture, unit vectors (N, 40, C)."""
        columns = self.describe(stem.permute(0, 3, 1, 2).flatten(2)).float()
        return F.normalize(columns - columns.mean(1, keepdim=True), dim=-1)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """Features of two pictures → a vector, (N, 20·C)."""
        cosines = correlation(one, two, self.reach)
        matches = (self.sharpness * cosines).softmax(-1)
        return self.read(torch.cat([cosines, matches], -1).transpose(1, 2))


class PairEncoder(nn.Module):
    """Every frame together with the next one → a vector."""

    def __init__(self, config: IDMConfig) -> None:
        super().__init__()
        rows, columns = STEM_SIZE
        self.stem = nn.Conv2d(3, config.stem_width, 5, 2, 2)
        self.columns = ColumnMatcher(config)
        self.together = nn.Sequential(
            convolution(2 * config.stem_width, config.fused_width, 3, 2),
            nn.ReLU(),
            convolution(config.fused_width, config.deep_width, 3, 2),
            nn.ReLU(),
            convolution(config.deep_width, config.deep_width, 3, 2),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.hud = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.ReLU(),
            convolution(16, 24, 3, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * (HUD_ROWS // 4) * (FRAME_SHAPE[1] // 4), config.hud_width),
        )
        coarse = -(-rows // 8) * -(-columns // 8) * config.deep_width
        matched = columns // 2 * config.match_width
        self.out = nn.Linear(coarse + matched + 2 * config.hud_width, config.width)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (B, T, 120, 160, 3) → (B, T, W); the last frame of a window is compared with itself."""
        b, t = frames.shape[:2]
        pixels = frames.flatten(0, 1).permute(0, 3, 1, 2)  # N, 3, 120, 160, channels last in memory
        # A box filter would halve the picture as well; this one has a fast path for bytes.
        half = F.interpolate(pixels, HALF_SIZE, mode="bilinear", antialias=True)

        def next_to(x: Tensor) -> Tensor:
            x = x.unflatten(0, (b, t))
            return torch.cat([x[:, 1:], x[:, -1:]], 1).flatten(0, 1)

        stem = F.relu(self.stem(scaled(half)))  # N, C, 30, 40
        columns = self.columns.features(stem)
        matched = self.columns(columns, next_to(columns))
        together = self.together(torch.cat([stem, next_to(stem)], 1))
        hud = self.hud(scaled(pixels[:, :, -HUD_ROWS:]))
        seen = self.out(torch.cat([together, matched, hud, next_to(hud)], -1))
        return F.relu(seen).unflatten(0, (b, t))


def scaled(pixels: Tensor) -> Tensor:
    """Bytes → −1 to 1."""
    return pixels.float().div_(127.5).sub_(1.0)


class TwoSidedAttention(Attention):
    """Attention over the steps before and after, with a learned bias for each distance."""

    def mask(self, length: int) -> Tensor:
        """Additive mask (H, T, T): the bias of distance j − i where it is within reach, −inf elsewhere."""
        reach = self.context // 2
        at = torch.arange(length, device=self.distance_bias.device)
        distance = at[None, :] - at[:, None] + reach
        seen = (distance >= 0) & (distance < self.context)
        bias = self.distance_bias[:, distance.clamp(0, self.context - 1)]
        return bias.masked_fill(~seen, float("-inf"))


class TwoSidedBlock(Block):
    """A transformer block that sees `reach` steps to either side."""

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__(width, heads, 2 * reach + 1)
        self.attention = TwoSidedAttention(width, heads, 2 * reach + 1)


class Network(nn.Module):
    """Frames to logits.

    What two frames show reaches the temporal transformer by two ways: as the player's own motion, three numbers that a
    recording knows, and as whatever else is seen. So the transformer can also learn from recorded motion alone, what
    keys make it, without any picture: that costs a twentieth.
    """

    def __init__(self, config: IDMConfig) -> None:
        super().__init__()
        width = config.width
        self.pictures = PairEncoder(config)
        self.motion = nn.Linear(width, MOTIONS)
        self.moved = nn.Sequential(nn.Linear(MOTIONS, width), nn.GELU(), nn.Linear(width, width))
        self.seen = nn.Linear(width, width)
        nn.init.zeros_(self.seen.weight)  # at first there is motion alone
        nn.init.zeros_(self.seen.bias)
        self.last = nn.Parameter(torch.zeros(width))  # marks a frame without a next one
        self.blocks = nn.ModuleList(TwoSidedBlock(width, config.heads, config.reach) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.heads = Heads(width)

    def tokens(self, frames: Tensor) -> Tensor:
        """uint8 (B, T, 120, 160, 3) → what the transformer is told of each step, (B, T, W)."""
        return self.tokens_of(self.pictures(frames))[0]

    def tokens_of(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What `pictures` saw, (B, T, W) → tokens (B, T, W), and the motion, (B, T, 3)."""
        motion = self.motion(seen).float()
        # Keys do not teach the motion: it stays the one that a recording knows.
        return self.motion_tokens(motion.detach()) + self.seen(seen).float(), motion

    def motion_tokens(self, motion: Tensor) -> Tensor:
        """The player's own motion (B, T, 3) as tokens (B, T, W), the last of which is marked."""
        x = self.moved(motion).float()
        return torch.cat([x[:, :-1], x[:, -1:] + self.last], 1)

    def temporal(self, tokens: Tensor) -> Tensor:
        """(B, T, W) → the same shape, each step with what happens before and after it."""
        x = tokens
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x)

    def forward(self, frames: Tensor) -> IDMOutput:
        """uint8 (B, T, 120, 160, 3) → what happened between each frame and the next one."""
        return self.heads(self.temporal(self.tokens(frames)))
