"""State to picture: which small patch stands where is chosen, and then they are painted. Only the state goes in.

A decoder that regresses colours paints the mean of what might be there, and the mean of "an imp here or two pixels to
the left" is a wall. So a picture is a grid of 24x32 patches of 5x5 pixels, each of which is one of 4096 patches of a
palette, and the decoder is a classifier: it says how likely each of them is in each place. The picture is the likeliest
patch everywhere (`Decoder.surest`), or it is drawn in passes, the surest places first and the others given these
(MaskGIT, arXiv 2202.04200), beside the picture before (`Decoder.draw`). `Painter` turns the patches' numbers, their
codes, into colours.

Legend: N states, D state width, W decoder width, M width of the finer maps, K values of a digit, P passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE
from doom_dream_env.world_model.config import WorldModelConfig

PATCH = 5  # pixels, side of what one code stands for
CODES = (FRAME_SHAPE[0] // PATCH, FRAME_SHAPE[1] // PATCH)  # down and across
# A code has two digits: 64 kinds of patches, and 64 patches of each. The second is told given the first.
DIGITS = 2
VALUES = 64
UNKNOWN = -1  # instead of a code: nothing is known of it
SHARES = (0.5, 0.8)  # of the places that are drawn after each pass but the last
# Of the draws of each digit. Codes of objects weigh more in training, so they seem likelier than they are: drawn at 1,
# pictures are full of single patches of what might be there. The second digit, at .8, keeps walls from being flat.
TEMPERATURES = (0.6, 0.8)
NORM_GROUPS = 8
VIEW = 32  # channels of a cell's own view of the state
EMBEDDING = 8  # channels of a code that is known
HIDDEN = 48  # channels of a place before its digits are told
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

    Each of 6x8 cells gets its own view of the state; cells talk; the maps become finer twice (12x16, 24x32). What is
    known of the codes, of this picture and of the one before, comes in at 12x16. The second digit is told given the
    first.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.rows, self.columns = config.grid
        width = config.decoder_width
        fine = config.decoder_width // 2 + 16
        state = config.state_width
        hidden = 4 * state
        # The encoder's projector has a hidden layer, which has to be undone.
        self.spread = nn.Sequential(
            nn.Linear(state, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, self.rows * self.columns * VIEW),
            nn.GELU(),
        )
        self.cell_in = nn.Conv2d(VIEW, width, 1)
        self.position = nn.Parameter(torch.randn(width, self.rows, self.columns) * 0.02)
        self.action_in = nn.Linear(len(BUTTONS), width)
        self.before = CodeEmbedding(EMBEDDING)
        self.before_in = nn.Conv2d(4 * EMBEDDING, fine, 3, padding=1)
        self.before_cells = nn.Conv2d(fine, width, 3, 2, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, state) for _ in range(config.decoder_depth))
        self.finer = nn.Conv2d(width, 4 * fine, 1)
        self.fine_block = ResidualBlock(fine, state)
        self.known = CodeEmbedding(EMBEDDING)
        self.known_in = nn.Conv2d(4 * EMBEDDING, fine, 3, padding=1)
        self.known_block = ResidualBlock(fine)
        self.finest = nn.Conv2d(fine, 4 * HIDDEN, 1)
        self.known_finest = nn.Conv2d(EMBEDDING, HIDDEN, 3, padding=1)
        self.digits = nn.ModuleList(nn.Linear(HIDDEN, VALUES) for _ in range(DIGITS))
        self.given = nn.Embedding(VALUES, HIDDEN)
        self.given_in = nn.Linear(HIDDEN, HIDDEN)
        self.painter = Painter()
        self.noise_shape = (len(SHARES) + 1, DIGITS, *CODES)

    # ---- how likely each code is -----------------------------------------------------------------------------------

    def places(self, z: Tensor, before: Tensor | None = None, action: Tensor | None = None) -> Tensor:
        """What stands where: maps (N, M, 12, 16).

        Args:
            z: states (N, D).
            before: codes of the picture before, (N, 24, 32), `UNKNOWN` where there is none; None: nowhere.
            action: buttons that were pressed since then, (N, 9); None: none.
        """
        batch = z.shape[0]
        if before is None:
            before = torch.full((batch, *CODES), UNKNOWN, device=z.device)
        shape = (batch, self.rows, self.columns, VIEW)
        x = self.cell_in(self.spread(z).view(shape).permute(0, 3, 1, 2)) + self.position  # channels last in memory
        remembered = self.before_in(F.pixel_unshuffle(self.before(before), 2))
        x = x + self.before_cells(F.gelu(remembered))
        if action is not None:
            x = x + self.action_in(action)[..., None, None]
        for block in cast("Iterable[ResidualBlock]", self.blocks):
            x = block(x, z)
        x = F.pixel_shuffle(self.finer(F.gelu(x)), 2) + remembered
        return self.fine_block(x, z)

    def hidden(self, places: Tensor, known: Tensor) -> Tensor:
        """What the digits are told from, (N, 24, 32, `HIDDEN`), given the codes that are known, (N, 24, 32)."""
        embedded = self.known(known)
        x = self.known_block(places + self.known_in(F.pixel_unshuffle(embedded, 2)))
        x = F.pixel_shuffle(self.finest(F.gelu(x)), 2) + self.known_finest(embedded)
        return F.gelu(x).permute(0, 2, 3, 1)

    def logits(self, hidden: Tensor, first: Tensor | None = None) -> Tensor:
        """Logits (N, 24, 32, K) of the first digit; of the second one, given the first (N, 24, 32)."""
        if first is None:
            return self.digits[0](hidden)
        return self.digits[1](F.gelu(self.given_in(hidden) + self.given(first)))

    def choose(self, hidden: Tensor, luck: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes (N, 24, 32) of all places, and how likely their first digits were to be chosen, (N, 24, 32).

        Args:
            hidden: what they are told from.
            luck: uniform numbers (N, 2, 24, 32), one for each digit; None: the likeliest digits.
        """
        chosen: list[Tensor] = []
        likely = []
        for number, temperature in enumerate(TEMPERATURES):
            chances = (self.logits(hidden, *chosen).float() / temperature).softmax(-1)
            digit = chances.argmax(-1) if luck is None else drawn(chances, luck[:, number])
            likely.append(chances.gather(-1, digit[..., None])[..., 0])
            chosen.append(digit)
        return join_digits(*chosen), likely[0]

    # ---- pictures --------------------------------------------------------------------------------------------------

    def surest(self, z: Tensor) -> Tensor:
        """The likeliest code of each place by itself: states (N, D) → codes (N, 24, 32)."""
        nothing = torch.full((z.shape[0], *CODES), UNKNOWN, device=z.device)
        return self.choose(self.hidden(self.places(z, nothing), nothing))[0]

    def draw(self, z: Tensor, before: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """Draw the codes of pictures in passes: codes (N, 24, 32).

        Of what a pass draws, the likeliest is kept, and the rest is drawn again, given that.

        Args:
            z: states (N, D).
            before: codes of the picture before, (N, 24, 32), `UNKNOWN` where there is none.
            action: buttons that were pressed since then, (N, 9).
            noise: uniform in 0…1, (N, *`noise_shape`).
        """
        places = self.places(z, before, action)
        known = torch.full_like(before, UNKNOWN)
        for number, luck in enumerate(noise.unbind(1)):
            codes, likely = self.choose(self.hidden(places, known), luck)
            codes = torch.where(known >= 0, known, codes)
            if number < len(SHARES):
                count = round(SHARES[number] * CODES[0] * CODES[1])
                likely = torch.where(known >= 0, torch.inf, likely)
                bar = likely.flatten(1).topk(count).values[:, -1, None, None]
                known = torch.where(likely >= bar, codes, UNKNOWN)
        return codes

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
