"""What videos of play show between play: titles, menus, intermissions, deaths, fades, other programs.

Drawn from pictures of the game itself, so that nothing but the kind of scene tells them from play.

Legend: H height, W width of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from doom_dream_env.scenarios import TICS_PER_SECOND

Picture = npt.NDArray[np.uint8]  # (H, W, 3)
Interlude = Callable[[Picture, np.random.Generator], Iterator[Picture]]

RED = (190, 20, 10)
GREY = (150, 145, 140)
YELLOW = (220, 200, 60)
COLOURS = (RED, GREY, YELLOW)
MENUS = (
    ("NEW GAME", "OPTIONS", "LOAD GAME", "SAVE GAME", "QUIT GAME"),
    ("CONTROLS", "SOUND", "DISPLAY", "MOUSE", "BACK"),
    ("RESUME", "RESTART LEVEL", "SETTINGS", "EXIT TO DESKTOP"),
)
TITLES = ("FREE DOOM", "EPISODE ONE", "A NEW RUN", "PART TWO", "THE OUTPOST", "SPEEDRUN", "LET US PLAY")
LINES = ("KILLS", "ITEMS", "SECRETS")
BLOCK = 2  # letters are drawn at half of their size and magnified, coarse as the game's are
LEAST_LETTERS = 7  # rows of pixels of such a letter


def seconds(rng: np.random.Generator, shortest: float, longest: float) -> int:
    """A length in tics."""
    return round(rng.uniform(shortest, longest) * TICS_PER_SECOND)


def title(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """A name over a still of the game that is blurred and dark, faded in and out."""
    still = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(picture.shape[0] / rng.uniform(40, 160)))
    still = ImageEnhance.Brightness(still).enhance(rng.uniform(0.2, 0.6))
    words = [str(rng.choice(TITLES)), *(["PRESS ANY KEY"] if rng.random() < 0.5 else [])]
    _write(still, words, rng.uniform(0.25, 0.5), _colour(rng), 0.12)
    whole = np.asarray(still)
    yield from fade(whole, rng, opening=True)
    yield from [whole] * seconds(rng, 1, 4)
    yield from fade(whole, rng)


def menu(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """The game halted behind a list of choices, with a mark that moves."""
    entries = MENUS[rng.integers(len(MENUS))]
    behind = ImageEnhance.Brightness(Image.fromarray(picture)).enhance(float(rng.choice([1.0, 0.7, 0.4])))
    colour = _colour(rng)
    height = rng.uniform(0.06, 0.1)
    top = rng.uniform(0.1, 0.3)
    chosen = 0
    for _ in range(int(rng.integers(2, 8))):
        image = behind.copy()
        marked = [f"> {entry} <" if at == chosen else entry for at, entry in enumerate(entries)]
        _write(image, marked, top, colour, height)
        yield from [np.asarray(image)] * int(rng.integers(6, 40))
        chosen = int((chosen + rng.choice([-1, 1])) % len(entries))


def intermission(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """What was killed and found in the level, counted up on a dark ground."""
    ground = _ground(picture, rng)
    shares = rng.integers(0, 101, len(LINES))
    frames = seconds(rng, 1, 2)
    colour = _colour(rng)
    step = 3  # tics between two counts
    for now in range(0, frames, step):
        counted = (shares * min(1.2 * now / frames, 1)).astype(int)
        image = ground.copy()
        _write(image, ["LEVEL FINISHED"], 0.1, colour, 0.1)
        _write(image, [f"{line}  {count}%" for line, count in zip(LINES, counted, strict=True)], 0.35, colour, 0.08)
        last = np.asarray(image)
        yield from [last] * step
    yield from [last] * seconds(rng, 1, 3)


def death(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """The view sinks to the floor and reddens; nothing answers the keys any more."""
    image = Image.fromarray(picture)
    height = picture.shape[0]
    sinking = 25  # tics, as in the game
    red = np.array([150, 0, 0], np.float32)
    for tic in range(seconds(rng, 1.5, 4)):
        share = min(tic / sinking, 1)
        lowered = image.transform(image.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, -0.2 * share * height))
        tinted = np.asarray(lowered, np.float32) * (1 - 0.5 * share) + 0.5 * share * red
        yield tinted.astype(np.uint8)


def black(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """Nothing."""
    yield from [np.zeros_like(picture)] * seconds(rng, 0.3, 2)


def fade(picture: Picture, rng: np.random.Generator, opening: bool = False) -> Iterator[Picture]:
    """To black, or from it."""
    frames = seconds(rng, 0.3, 0.8)
    shares = np.linspace(0, 1, frames) if opening else np.linspace(1, 0, frames)
    for share in shares:
        yield (picture * share).astype(np.uint8)


def desktop(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """Another program: windows with text, one of which moves, and a pointer."""
    height, width, _ = picture.shape
    image = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
    for _ in range(int(rng.integers(1, 4))):
        _window(image, rng, rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4))
    way = np.cumsum(rng.normal(0, 0.01, (seconds(rng, 2, 5), 2)), 0) + 0.5
    for x, y in way:
        frame = image.copy()
        at = (x % 1 * width, y % 1 * height)
        size = height / 30
        ImageDraw.Draw(frame).polygon([at, (at[0] + size, at[1] + size), (at[0], at[1] + 1.4 * size)], fill="white")
        yield np.asarray(frame)


OPENINGS: Sequence[Interlude] = (title, black, desktop)
PAUSES: Sequence[Interlude] = (menu, menu, menu, desktop)
ENDINGS: Sequence[Interlude] = (fade, black, intermission, menu, title)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return COLOURS[rng.integers(len(COLOURS))]


def _write(image: Image.Image, lines: Sequence[str], top: float, colour: tuple[int, int, int], height: float) -> None:
    """Write centred lines; `top` and the `height` of a line are shares of the picture's height."""
    width, tall = image.size
    small = (max(width // BLOCK, 1), max(tall // BLOCK, 1))
    mask = Image.new("L", small)
    draw = ImageDraw.Draw(mask)
    draw.fontmode = "1"
    size = max(height * small[1], LEAST_LETTERS)
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        at = (small[0] / 2, top * small[1] + 1.2 * number * size)
        draw.text(at, line, 255, font, anchor="ma")
    mask = mask.resize(image.size, Image.Resampling.NEAREST)
    image.paste((10, 5, 5), (0, max(tall // 240, 1)), mask)  # a shadow
    image.paste(colour, (0, 0), mask)


def _ground(picture: Picture, rng: np.random.Generator) -> Image.Image:
    """A dark ground: one colour, or a tile of the game's own textures."""
    height, width, _ = picture.shape
    if rng.random() < 0.5:
        return Image.new("RGB", (width, height), tuple(rng.integers(0, 60, 3).tolist()))
    side = height // 6
    y = int(rng.integers(0, height - side))
    x = int(rng.integers(0, width - side))
    tile = picture[y : y + side, x : x + side]
    tiled = np.tile(tile, (7, width // side + 1, 1))[:height, :width]
    return ImageEnhance.Brightness(Image.fromarray(tiled)).enhance(0.4)


def _window(image: Image.Image, rng: np.random.Generator, left: float, top: float) -> None:
    """A window of text."""
    width, height = image.size
    box = (left * width, top * height, (left + rng.uniform(0.3, 0.6)) * width, (top + rng.uniform(0.3, 0.6)) * height)
    bright = int(rng.integers(2))
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, fill=(250, 250, 250) if bright else (30, 30, 35))
    line = height / 25
    draw.rectangle((box[0], box[1], box[2], box[1] + line), fill=tuple(rng.integers(0, 256, 3).tolist()))
    for y in np.arange(box[1] + 2 * line, box[3] - line, 1.5 * line):
        end = box[0] + line + rng.uniform(0.2, 0.9) * (box[2] - box[0] - 2 * line)
        draw.rectangle((box[0] + line, y, end, y + line / 2), fill=(60, 60, 60) if bright else (190, 190, 190))
