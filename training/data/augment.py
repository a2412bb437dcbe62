"""Recorded windows made to look like other footage: other players' screens, encoders, frame sizes, menus.

Everything is drawn once per window, as a film has one look, and works on bytes: it must cost less than the network.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from doom_dream_env.scenarios import FRAME_SHAPE
from training.data.key_windows import KeyWindow
from training.data.own_motion import MIRRORED_KEYS, MIRRORED_MOTION

HUD_TOP = 101  # first row of the HUD: 32 of 200 rows of DOOM's own screen
HEIGHT, WIDTH, _ = FRAME_SHAPE
WORDS = ("NEW GAME", "OPTIONS", "LOAD GAME", "QUIT", "KILLS 85%", "SECRETS 2", "PAR 1:30", "subscribe", "LIVE")

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How recorded frames are made to look like other footage; shares are of windows, drawn independently.

    Attributes:
        mirror_share: left and right swapped, above the HUD, and in the labels.
        colour_share: other brightness, contrast, gamma and tint.
        geometry_share: cut at the edges, left with rests of black bars, squeezed through another resolution.
        jpeg_share: compressed at a low quality.
        overlay_share: rectangles and text over the picture.
        no_hud_share: the lower edge covered, or cut off.
        menu_share: a part of the window is no play: a still, darkened, with text, or one colour.
        between_share: frames from between the steps, at one phase and with the jitter of other frame rates, where
            the recording has them (`collect --tics`).
        jpeg_quality: least and greatest quality.
        crop: greatest share of width or height that is cut or black.
        narrow: fewest columns that a frame is squeezed through.
    """

    mirror_share: float = 0.5
    colour_share: float = 0.3
    geometry_share: float = 0.2
    jpeg_share: float = 0.08
    overlay_share: float = 0.1
    no_hud_share: float = 0.1
    menu_share: float = 0.08
    between_share: float = 0.7
    jpeg_quality: tuple[int, int] = (8, 60)
    crop: float = 0.08
    narrow: int = 80


def augment(window: KeyWindow, settings: Augmentation, rng: np.random.Generator) -> KeyWindow:
    """One window in another look; labels follow where the picture is mirrored or no play any more."""
    if rng.random() < settings.mirror_share:
        window = mirrored(window)
    if rng.random() < settings.menu_share:
        window = with_menu(window, rng)
    frames = window.frames
    readable = True
    if rng.random() < settings.no_hud_share:
        frames = without_hud(frames, rng)
        readable = False
    if rng.random() < settings.overlay_share:
        frames = overlaid(frames, rng)
    if rng.random() < settings.geometry_share:
        frames = squeezed(frames, settings, rng)
    if rng.random() < settings.colour_share:
        frames = recoloured(frames, rng)
    if rng.random() < settings.jpeg_share:
        frames = compressed(frames, int(rng.integers(*settings.jpeg_quality)))
    health = window.health if readable else np.full_like(window.health, np.nan)
    return dataclasses.replace(window, frames=frames, health=health)


def mirrored(window: KeyWindow) -> KeyWindow:
    """Left and right swapped; the HUD stays as it is, as digits would not be digits any more."""
    frames = window.frames.copy()
    frames[:, :HUD_TOP] = window.frames[:, :HUD_TOP, ::-1]
    keys = window.actions[:, MIRRORED_KEYS]
    return dataclasses.replace(window, frames=frames, actions=keys, motion=window.motion * MIRRORED_MOTION)


def with_menu(window: KeyWindow, rng: np.random.Generator) -> KeyWindow:
    """Part of the window, or all of it, is a still: dark, with text, or one colour."""
    length = len(window.frames)
    begin, end = sorted(int(edge) for edge in rng.integers(-length // 2, length + length // 2 + 1, 2).clip(0, length))
    frames = window.frames.copy()
    play = window.play.copy()
    if begin < end:
        plain = np.full(FRAME_SHAPE, rng.integers(0, 60, 3), np.uint8)
        still = plain if rng.random() < 0.4 else (frames[begin] * rng.uniform(0.15, 0.7)).astype(np.uint8)
        picture = Image.fromarray(still)
        draw = ImageDraw.Draw(picture)
        for line in range(int(rng.integers(0 if still is plain else 2, 7))):
            at = (int(rng.integers(10, 70)), 8 + 16 * line)
            draw.text(at, str(rng.choice(WORDS)), fill=tuple(int(value) for value in rng.integers(100, 256, 3)))
        frames[begin:end] = np.asarray(picture)
        play[begin:end] = 0.0
    motion = np.where(play[:, None] > 0, window.motion, np.nan)
    health = np.where(play > 0, window.health, np.nan)
    return dataclasses.replace(window, frames=frames, play=play, motion=motion, health=health, died=window.died * play)


def without_hud(frames: Frames, rng: np.random.Generator) -> Frames:
    """The lower edge covered by one colour, or cut off and the rest stretched over the picture."""
    if rng.random() < 0.5:
        frames = frames.copy()
        frames[:, HUD_TOP:] = rng.integers(0, 80, 3)
        return frames
    return resized(frames[:, :HUD_TOP], (HEIGHT, WIDTH))


def overlaid(frames: Frames, rng: np.random.Generator) -> Frames:
    """A rectangle (a camera, a logo) and a line of text over all frames."""
    frames = frames.copy()
    height, width = (int(size) for size in rng.integers((8, 10), (40, 56)))
    top, left = int(rng.integers(HEIGHT - height)), int(rng.integers(WIDTH - width))
    colours = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    picture = colours.resize((width, height), Image.Resampling.BICUBIC)
    ImageDraw.Draw(picture).text((2, 1), str(rng.choice(WORDS)), fill=(255, 255, 255))
    frames[:, top : top + height, left : left + width] = np.asarray(picture)
    return frames


def squeezed(frames: Frames, settings: Augmentation, rng: np.random.Generator) -> Frames:
    """Cut at the edges or framed by rests of black bars, through another resolution and back."""
    across, down = (rng.random(2) * settings.crop * (WIDTH, HEIGHT) / 2).astype(int)
    if rng.random() < 0.5:
        frames = frames[:, down : HEIGHT - down, across : WIDTH - across]
    else:
        frames = np.pad(frames, ((0, 0), (down, down), (across, across), (0, 0)))
    columns = int(rng.integers(settings.narrow, WIDTH + 1))
    rows = int(columns * HEIGHT / WIDTH * rng.uniform(0.9, 1.1))
    return resized(resized(frames, (rows, columns)), (HEIGHT, WIDTH))


def recoloured(frames: Frames, rng: np.random.Generator) -> Frames:
    """Another brightness, contrast, gamma and tint: one table of 256 values per colour."""
    values = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.08, 3))
    values = (values - 0.4) * np.exp(rng.normal(0, 0.12)) + 0.4 + rng.normal(0, 0.04)
    table = (values * 255).clip(0, 255).astype(np.uint8)
    return np.stack([table[frames[..., colour], colour] for colour in range(3)], -1)


def compressed(frames: Frames, quality: int) -> Frames:
    """Every frame through JPEG, whose blocks and smeared colours are much like those of a video at a low bit rate."""
    out = np.empty_like(frames)
    for index, frame in enumerate(frames):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        out[index] = np.asarray(Image.open(file))
    return out


def resized(frames: Frames, size: tuple[int, int]) -> Frames:
    """Frames (T, h, w, 3) in another size (rows, columns), filtered."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    return F.interpolate(pixels, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).contiguous().numpy()
