"""The network: motion between adjacent frames, and what happened before and after.

Legend: B batch, T frames of a window, N = B·T, C channels, W width of the temporal transformer.

Motion is seen twice. Two adjacent frames go through one convolution together (early fusion), which sees small motions.
And every cell of 8x8 pixels is compared with the cells beside it in the next frame (a correlation volume, as in
FlowNetC, arXiv 1504.06852), which sees the large ones: a step of turning moves the picture by up to 50 of its 160
columns. What does not depend on what walls look like carries over to maps that were never seen. The keys follow from
the motion of neighbouring steps, before and after (VPT, arXiv 2206.11795).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.idm.config import IDMConfig
from doom_dream_env.idm.labels import BITS, PAIRS
from doom_dream_env.scenarios import FRAME_SHAPE
from doom_dream_env.world_model.trunk import Attention, Block

HALF_SIZE = (FRAME_SHAPE[0] // 2, FRAME_SHAPE[1] // 2)  # in which frames are looked at
COARSE_CELLS = 4 * 5  # of a frame, behind the last convolution
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


class Residual(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels, 3)
        self.second = convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        return F.relu(x + self.second(F.relu(self.first(x))))


def correlation(one: Tensor, two: Tensor, reach: int) -> Tensor:
    """How like each cell is to the cells beside it in another picture: turning moves pictures sideways.

    Args:
        one: features of unit length, (N, C, H, W).
        two: those of the other picture.
        reach: columns to either side.

    Returns:
        cosine of each displacement from −reach to reach, zero beyond the edges, (N, 2·reach + 1, H, W).
    """
    n, _, h, w = one.shape
    size = 2 * reach + 1
    whole = one.permute(0, 2, 3, 1) @ two.permute(0, 2, 1, 3)  # N, H, W, W: each column with all of the other row
    flat = F.pad(whole, (reach, reach)).flatten(-2)  # rows of W + 2·reach
    # Rows that are one longer move each next one to the left by one: the column becomes the displacement.
    skewed = F.pad(flat, (0, w)).view(n, h, w, w + size)
    return skewed[..., :size].permute(0, 3, 1, 2)


class PairEncoder(nn.Module):
    """Every frame together with the next one → a vector."""

    def __init__(self, config: IDMConfig) -> None:
        super().__init__()
        self.reach = config.match_reach
        self.stem = nn.Conv2d(3, config.stem_width, 5, 2, 2)
        self.features = nn.Conv2d(config.stem_width, config.match_width, 3, 2, 1)
        self.fuse = convolution(2 * config.stem_width, config.fused_width, 3, 2)
        self.motion = convolution(config.fused_width + 2 * config.match_reach + 1, config.motion_width, 1)
        self.deep = nn.Sequential(
            convolution(config.motion_width, config.deep_width, 3, 2),
            nn.ReLU(),
            Residual(config.deep_width),
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
        self.out = nn.Linear(COARSE_CELLS * config.deep_width + 2 * config.hud_width, config.width)

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
        features = F.normalize(self.features(stem), dim=1)  # N, C, 15, 20
        fused = F.relu(self.fuse(torch.cat([stem, next_to(stem)], 1)))
        matches = correlation(features, next_to(features), self.reach)
        motion = F.relu(self.motion(torch.cat([fused, matches], 1)))
        hud = self.hud(scaled(pixels[:, :, -HUD_ROWS:]))
        return F.relu(self.out(torch.cat([self.deep(motion), hud, next_to(hud)], -1))).unflatten(0, (b, t))


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
