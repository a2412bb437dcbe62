"""State to picture: which small patch stands where is chosen, and then they are painted. Only the state goes in.

A decoder that regresses colours paints the mean of what might be there, and the mean of "an imp here or two pixels to
the left" is a wall. So a picture is a grid of 24x32 patches of 5x5 pixels, each of which is one of 4096 patches of a
palette, and the decoder is a classifier: it says how likely each of them is in each place. The picture is the likeliest
patch everywhere (`Decoder.surest`), or it is drawn in passes, the surest places first and the others given these
(MaskGIT, arXiv 2202.04200), beside the picture before (`Decoder.draw`). `Painter` turns the patches' numbers, their
codes, into colours.

Legend: N states, D state width, W decoder width, V channels of a view, K values of a digit, P passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE
from doom_dream_env.world_model.config import WorldModelConfig

PATCH = 5  # pixels, side of what one code stands for
CODES = (FRAME_SHAPE[0] // PATCH, FRAME_SHAPE[1] // PATCH)  # down and across
CELLS = (CODES[0] // 2, CODES[1] // 2)  # of 10x10 pixels, in which the decoder computes
# A code has two digits: 64 kinds of patches, and 64 patches of each. The second is told given the first.
DIGITS = 2
VALUES = 64
UNKNOWN = -1  # instead of a code: nothing is known of it
SHARES = (0.6,)  # of the places, that each pass but the last keeps
TURNS = ((0, 1), (1, 0))  # in which of the passes the four patches of a cell with an object are drawn
# Digits that are less likely than this times the likeliest one are not drawn (min-p, arXiv 2407.01082): without that
# pictures are full of single bright patches; if they are drawn colder instead, walls are flat.
RARE = 0.2
NORM_GROUPS = 8
EMBEDDING = 8  # channels of a code that is known
HIDDEN = 48  # channels of a place before its digits are told
# Where projectiles, monsters and items stand is read off the state by a network of its own, in the same cells.
OBJECT_MAPS = (3, *CELLS)
PAINTER_WIDTH = 32


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    The state scales and shifts what is between them (FiLM, arXiv 1709.07871), if its width is given: a cell can so ask
    the state more than its own view has said.
    """

    def __init__(self, width: int, state: int | None = None) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = None if state is None else nn.Linear(state, 2 * width)
        nn.init.zeros_(self.outer.weight)
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Maps (N, W, rows, columns) and states (N, D) → maps."""
        inner = self.inner(F.gelu(self.norm(x)))
        if self.modulation is not None and z is not None:
            scale, shift = self.modulation(z)[..., None, None].chunk(2, 1)
            inner = torch.addcmul(shift, inner, 1 + scale)
        return x + self.outer(F.gelu(inner))


class CodeEmbedding(nn.Module):
    """Codes that may be unknown → maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.digits = nn.ModuleList(nn.Embedding(VALUES + 1, width) for _ in range(DIGITS))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (N, 24, 32) → (N, width, 24, 32)."""
        known = codes >= 0
        parts = [
            table(torch.where(known, digit, VALUES)) for table, digit in zip(self.digits, digits_of(codes), strict=True)
        ]
        return torch.stack(parts).sum(0).permute(0, 3, 1, 2)


class Painter(nn.Module):
    """Codes → RGB: patches of the palette, and what their neighbours change in them, so that no seams are seen.

    Attributes:
        palette: red, green and blue in 0…1 of every patch, (4096, 75).
    """

    palette: Tensor

    def __init__(self) -> None:
        super().__init__()
        colours = FRAME_SHAPE[2] * PATCH**2
        self.register_buffer("palette", torch.zeros(VALUES**DIGITS, colours))
        self.patch_in = nn.Conv2d(colours, PAINTER_WIDTH, 1)
        self.block = ResidualBlock(PAINTER_WIDTH)
        self.change = nn.Conv2d(PAINTER_WIDTH, colours, 1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)  # type: ignore[arg-type]

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (N, 24, 32) → RGB about 0…1, (N, 3, 120, 160)."""
        patches = F.embedding(codes, self.palette).permute(0, 3, 1, 2)  # channels last in memory
        change = self.change(F.gelu(self.block(self.patch_in(patches - 0.5))))
        return F.pixel_shuffle(patches + change.float(), PATCH)


class Decoder(nn.Module):
    """z → how likely each code is in each place.

    Each of 12x16 cells gets its own view of the state, by two linear layers, and so do maps of objects; then cells
    talk. What is known of the codes, of this picture and of the one before, comes in at 12x16 too, and the codes are
    told at 24x32: their second digit given the first.

    The linear layers are fitted first, alone. They see a million states in the time in which the whole decoder sees a
    hundred thousand. Before, when the views were of 6x8 cells and learned with everything else, an hour had less effect
    than two minutes have now (take_cover: fireballs found .52 → .70, monsters .79 → .91).
    """

    turns: Tensor

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        state = config.state_width
        hidden = 4 * state
        self.view_width = width // 4
        # The encoder's projector has a hidden layer, which has to be undone.
        self.view = nn.Sequential(
            nn.Linear(state, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, math.prod(CELLS) * self.view_width),
            nn.GELU(),
        )
        self.object_reader = nn.Sequential(
            nn.Linear(state, 4 * width), nn.GELU(), nn.Linear(4 * width, math.prod(OBJECT_MAPS))
        )
        self.view_in = nn.Conv2d(self.view_width + OBJECT_MAPS[0], width, 3, padding=1)
        self.position = nn.Parameter(torch.randn(width, *CELLS) * 0.02)
        self.action_in = nn.Linear(len(BUTTONS), width)
        self.before = CodeEmbedding(EMBEDDING)
        self.before_in = nn.Conv2d(4 * EMBEDDING, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, state) for _ in range(config.decoder_depth))
        self.known = CodeEmbedding(EMBEDDING)
        self.known_in = nn.Conv2d(4 * EMBEDDING, width, 3, padding=1)
        self.known_block = ResidualBlock(width)
        self.finest = nn.Conv2d(width, 4 * HIDDEN, 1)
        self.known_finest = nn.Conv2d(EMBEDDING, HIDDEN, 3, padding=1)
        self.digits = nn.ModuleList(nn.Linear(HIDDEN, VALUES) for _ in range(DIGITS))
        self.given = nn.Embedding(VALUES, HIDDEN)
        self.given_in = nn.Linear(HIDDEN, HIDDEN)
        self.painter = Painter()
        self.register_buffer("turns", torch.tensor(TURNS).repeat(CODES[0] // 2, CODES[1] // 2).flatten(), False)
        self.noise_shape = (len(SHARES) + 1, DIGITS, *CODES)
        # A picture takes an eighth less time so, and training in bfloat16 half (measured on CPUs).
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # ---- what the state says of each cell ---------------------------------------------------------------------------

    def views(self, z: Tensor) -> Tensor:
        """What each cell sees of states (N, D): (N, V, 12, 16)."""
        views: Tensor = self.view(z).view(-1, *CELLS, self.view_width).permute(0, 3, 1, 2)  # channels last in memory
        return views

    def objects(self, z: Tensor) -> Tensor:
        """How likely cells show an object of each class: states (N, D) → (N, 3, 12, 16)."""
        return self.object_reader(z).sigmoid().view(-1, *OBJECT_MAPS)

    def object_maps(self, z: Tensor) -> Tensor:
        """Which cells will show an object of each class: states (N, D) → 0 or 1, (N, 3, 12, 16).

        As many as are expected to, the likeliest ones. So a picture has as many objects as the state speaks of, also
        where that is not sure of any single cell.
        """
        chances = self.objects(z).flatten(2)
        rank = chances.argsort(-1, descending=True).argsort(-1)
        return (rank < chances.sum(-1, keepdim=True).round()).to(chances.dtype).view(-1, *OBJECT_MAPS)

    # ---- how likely each code is -----------------------------------------------------------------------------------

    def places(
        self, z: Tensor, before: Tensor | None = None, action: Tensor | None = None, maps: Tensor | None = None
    ) -> Tensor:
        """What stands where: maps (N, W, 12, 16).

        Args:
            z: states (N, D).
            before: codes of the picture before, (N, 24, 32), `UNKNOWN` where there is none; None: nowhere.
            action: buttons that were pressed since then, (N, 9); None: none.
            maps: which cells show an object of each class, (N, 3, 12, 16); None: as `object_maps` says.
        """
        if before is None:
            before = torch.full((z.shape[0], *CODES), UNKNOWN, device=z.device)
        if maps is None:
            maps = self.object_maps(z)
        x = self.view_in(torch.cat([self.views(z), maps], 1)) + self.position
        x = x + self.before_in(F.pixel_unshuffle(self.before(before), 2))
        if action is not None:
            x = x + self.action_in(action)[..., None, None]
        for block in cast("Iterable[ResidualBlock]", self.blocks):
            x = block(x, z)
        return x

    def hidden(self, places: Tensor, known: Tensor) -> Tensor:
        """What the digits are told from, (N, 24, 32, `HIDDEN`), given the codes that are known, (N, 24, 32)."""
        embedded = self.known(known)
        x = self.known_block(places + self.known_in(F.pixel_unshuffle(embedded, 2)))
        x = F.pixel_shuffle(self.finest(F.gelu(x)), 2) + self.known_finest(embedded)
        return F.gelu(x).permute(0, 2, 3, 1)

    def logits(self, hidden: Tensor, first: Tensor | None = None) -> Tensor:
        """Logits (…, K) of the first digit, from (…, `HIDDEN`); of the second one, given the first (…)."""
        if first is None:
            return self.digits[0](hidden)
        return self.digits[1](F.gelu(self.given_in(hidden) + self.given(first)))

    def digit(self, hidden: Tensor, luck: Tensor | None = None, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A digit of some places, and how likely it was to be chosen, both (N, places).

        Args:
            hidden: what it is told from, (N, places, `HIDDEN`).
            luck: uniform numbers (N, places); None: the likeliest digit.
            first: the first digits, to choose the second; None: the first is chosen.
        """
        chances = self.logits(hidden, first).float().softmax(-1)
        if luck is None:
            digit = chances.argmax(-1)
        else:
            likely = chances >= RARE * chances.amax(-1, keepdim=True)
            digit = drawn(chances * likely, luck)
        return digit, chances.gather(-1, digit[..., None])[..., 0]

    # ---- pictures --------------------------------------------------------------------------------------------------

    def surest(self, z: Tensor) -> Tensor:
        """The likeliest code of each place by itself: states (N, D) → codes (N, 24, 32)."""
        nothing = torch.full((z.shape[0], *CODES), UNKNOWN, device=z.device)
        hidden = self.hidden(self.places(z, nothing), nothing)
        first, _ = self.digit(hidden)
        return join_digits(first, self.digit(hidden, first=first)[0])

    def draw(self, z: Tensor, before: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """Draw the codes of pictures in passes: codes (N, 24, 32).

        Of the first digits that a pass draws, the likeliest are kept and get their second digits; the rest is drawn
        again, given these. Patches of objects, none of which is likely by itself, take turns instead (`TURNS`), so that
        each but the first sees its neighbours.

        Args:
            z: states (N, D).
            before: codes of the picture before, (N, 24, 32), `UNKNOWN` where there is none.
            action: buttons that were pressed since then, (N, 9).
            noise: uniform in 0…1, (N, *`noise_shape`).
        """
        maps = self.object_maps(z)
        places = self.places(z, before, action, maps)
        shown = F.interpolate(maps.amax(1, keepdim=True), CODES).flatten(1)  # 1 where an object is
        codes = torch.full_like(before, UNKNOWN).flatten(1)
        todo = torch.arange(codes.shape[1], device=z.device).expand_as(codes)
        for number, luck in enumerate(noise.flatten(3).unbind(1)):
            hidden = self.hidden(places, codes.view_as(before)).flatten(1, 2)
            hidden = hidden.gather(1, todo[..., None].expand(-1, -1, HIDDEN))
            first, likely = self.digit(hidden, luck[:, 0].gather(1, todo))
            if number < len(SHARES):
                turns = (self.turns <= number) * 4 - 2  # well above all chances, or well below
                order = (likely + (turns * shown).gather(1, todo)).argsort(1, descending=True)
                kept, left = order.tensor_split([round(SHARES[number] * codes.shape[1])], 1)
                hidden = hidden.gather(1, kept[..., None].expand(-1, -1, HIDDEN))
                first = first.gather(1, kept)
                todo, now = todo.gather(1, left), todo.gather(1, kept)
            else:
                now = todo
            second, _ = self.digit(hidden, luck[:, 1].gather(1, now), first)
            codes = codes.scatter(1, now, join_digits(first, second))
        return codes.view_as(before)

    def paint(self, codes: Tensor) -> Tensor:
        """Codes (N, 24, 32) → RGB in 0…1, (N, 3, 120, 160)."""
        return self.painter(codes).clamp(0, 1)


# ---- codes -----------------------------------------------------------------------------------------------------------


def digits_of(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The two digits of codes."""
    return codes // VALUES, codes % VALUES


def join_digits(first: Tensor, second: Tensor) -> Tensor:
    """Inverse of `digits_of`."""
    return first * VALUES + second


def drawn(chances: Tensor, luck: Tensor) -> Tensor:
    """Draw values by their chances (..., K) with uniform numbers (...)."""
    below = chances.cumsum(-1)
    return (below < luck[..., None] * below[..., -1:]).sum(-1).clamp(max=chances.shape[-1] - 1)
