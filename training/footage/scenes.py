"""Which frames of a video belong together, and which show nothing of play whatever a model says.

Legend: T frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BINS = 4  # of each colour
LEVELS = np.linspace(-3, 3, 25)  # of standardised brightness
CUT_LEVELS = 0.6  # share of the pixels that change to another level of it: nothing in play does that
# Less is a new scene only if the colours change, too, and the profile of brightness from top to bottom.
SOME_LEVELS = 0.25
CUT_COLOURS = 0.35  # share of the pixels that change to another colour
CUT_PROFILE = 0.7  # correlation of the rows' brightness
HUD_ROWS = 20  # rows at the bottom, which a status bar keeps the same in all scenes
STILL = 0.4  # of 255: mean difference of two frames of a picture that stands still, but for the codec's noise
STILL_STEPS = 26  # steps (3 s) of a picture that stands still, above which nobody is playing
UNIFORM = 4.0  # of 255: spread of the brightness of a frame that shows nothing

Frames = npt.NDArray[np.uint8]  # (T, 120, 160, 3)
Mask = npt.NDArray[np.bool_]  # (T,)


def scene_cuts(frames: Frames) -> Mask:
    """Frames that begin another scene than the one before; the first is none.

    Turning changes the distributions of colours and of brightness by little and the profile hardly; a flash of pain
    changes all colours, and brightness, once standardised, hardly. Measured on eight films (2200 steps of play): 82 %
    of the changes from play to titles and the like or back are found, half of the cuts from one map to another, and
    0.8 % of the other steps of play are taken for cuts, which costs no more than a shorter episode.
    """
    cuts = np.zeros(len(frames), bool)
    if len(frames) > 1:
        colours = _change(np.stack([_colours(frame) for frame in frames]))
        levels = _change(np.stack([_levels(frame) for frame in frames]))
        profiles = np.stack([_profile(frame) for frame in frames])
        alike = (profiles[1:] * profiles[:-1]).mean(1)
        other = (colours > CUT_COLOURS) & (alike < CUT_PROFILE) & (levels > SOME_LEVELS)
        cuts[1:] = other | (levels > CUT_LEVELS)
    return cuts


def dead_frames(frames: Frames) -> Mask:
    """Frames of one colour, and those of pictures that stand still for `STILL_STEPS` or longer."""
    grey = frames[:, ::2, ::2].mean(-1, dtype=np.float32)
    uniform = grey.std((1, 2)) < UNIFORM
    change = np.abs(np.diff(grey, axis=0)).mean((1, 2))
    moves = np.flatnonzero(np.r_[True, change > STILL, True])  # a run of frames begins at each
    length = np.diff(moves)
    return np.asarray(uniform | np.repeat(length >= STILL_STEPS, length))


def _change(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Half the sum of the differences of neighbouring distributions, (T, bins) → (T − 1,)."""
    return np.asarray(np.abs(np.diff(shares, axis=0)).sum(1) / 2)


def _colours(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Shares of the pixels in each of 4x4x4 colours."""
    small = frame[:-HUD_ROWS:2, ::2] // (256 // BINS)
    index = (small[..., 0] * BINS + small[..., 1]) * BINS + small[..., 2]
    return np.bincount(index.ravel(), minlength=BINS**3) / index.size


def _levels(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Shares of the pixels at each level of standardised brightness."""
    grey = frame[1:-HUD_ROWS:4, 1::4].mean(-1)
    standard = (grey - grey.mean()) / max(grey.std(), UNIFORM)
    return np.histogram(standard.clip(LEVELS[0], LEVELS[-1]), LEVELS)[0] / grey.size


def _profile(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Brightness of each row, standardised."""
    rows = frame[:-HUD_ROWS].mean((1, 2))
    return np.asarray((rows - rows.mean()) / max(rows.std(), 1.0))
