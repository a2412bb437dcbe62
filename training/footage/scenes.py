"""Which frames of a video belong together, and which show nothing of play whatever a model says.

Legend: T frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CUT = 0.98  # how different the frames on both sides of a cut are, at least; see `_difference`
AROUND = 3  # frames on each side that are compared: where two of them are alike, what is between them was a flash
VIEW_ROWS = 100  # below is a status bar, the same in all scenes
GRID = (20, 40)  # rows and columns of the coarse view that is looked for in the next frames
REACH = 14  # of these columns to either side: a step of turning moves the picture by 7 to 12
FAINTEST = 2.0  # of 255: spread of a view below which it counts as noise
TONES = (-0.8, 0.0, 0.8)  # edges of four tones of each colour, in standard deviations
STILL = 0.4  # of 255: mean difference of two frames of a picture that stands still, but for the codec's noise
STILL_STEPS = 26  # steps (3 s) of a picture that stands still, above which nobody is playing
UNIFORM = 4.0  # of 255: spread of the brightness of a frame that shows nothing
BLACK = 22.0  # of 255: mean of one that is black
FLASH = 9  # steps (1 s) that a flash of pain leaves next to nothing but red, at most

Frames = npt.NDArray[np.uint8]  # (T, 120, 160, 3)
Mask = npt.NDArray[np.bool_]  # (T,)
Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]  # (N,)


def scene_cuts(frames: Frames) -> Mask:
    """Frames that begin another scene than the one before; the first is none.

    Both colours and what is where are compared such that a tint, which DOOM lays over a frame for pain and pick-ups,
    changes nothing, and turning little. Gunfire, explosions and whatever else passes are no cuts, because soon after
    them the view is again what it was. Measured on recorded play (4200 steps, six maps) and splices of it: 0.5 % of the
    steps are taken for cuts; of cuts to another map 48 % are found, of those to titles and the like 74 %.
    """
    cuts = np.zeros(len(frames), bool)
    view = frames[:, :VIEW_ROWS]
    coarse = np.stack([_coarse(frame) for frame in view])
    tones = np.stack([_tones(frame) for frame in view])
    at = np.arange(1, len(frames))
    for before in range(1, AROUND + 1):
        for behind in range(AROUND):
            pairs = at[(at >= before) & (at + behind < len(frames))]
            alike = _difference(coarse, tones, pairs - before, pairs + behind) < CUT
            at = np.setdiff1d(at, pairs[alike])
    cuts[at] = True
    return cuts


def _difference(coarse: Array, tones: Array, one: Indices, two: Indices) -> Array:
    """How different frames are, (N,).

    1 − the greatest correlation of their views, moved sideways, and half of the share of the pixels whose tone changes.
    """
    best = np.full(len(one), -1.0, np.float32)
    columns = GRID[1]
    for shift in range(-REACH, REACH + 1):
        left = coarse[one, :, max(shift, 0) : columns + min(shift, 0)]
        right = coarse[two, :, max(-shift, 0) : columns + min(-shift, 0)]
        spread = np.maximum(left.std((1, 2)) * right.std((1, 2)), FAINTEST**2)
        left = left - left.mean((1, 2), keepdims=True)
        best = np.maximum(best, (left * right).mean((1, 2)) / spread)
    return np.asarray(1 - best + np.abs(tones[one] - tones[two]).sum(1) / 4)


def _coarse(view: npt.NDArray[np.uint8]) -> Array:
    """Mean brightness of the cells of `GRID`, (20, 40)."""
    rows, columns = GRID
    grey = view.mean(-1, dtype=np.float32)
    return grey.reshape(rows, len(view) // rows, columns, -1).mean((1, 3))


def _tones(view: npt.NDArray[np.uint8]) -> Array:
    """Shares of the pixels in each of 4x4x4 combinations of tones, each colour standardised by itself, (64,)."""
    colours = view[::2, ::2].reshape(-1, 3).astype(np.float32)
    tone = np.digitize((colours - colours.mean(0)) / np.maximum(colours.std(0), 3 * FAINTEST), TONES)
    index = tone @ np.array([16, 4, 1])
    return (np.bincount(index, minlength=64) / len(index)).astype(np.float32)


def dead_frames(frames: Frames) -> Mask:
    """Frames that are black, of one colour for longer than a flash of pain, or stand still for `STILL_STEPS`."""
    grey = frames[:, ::2, ::2].mean(-1, dtype=np.float32)
    uniform = grey.std((1, 2)) < UNIFORM
    black = uniform & (grey.mean((1, 2)) < BLACK)
    still = np.r_[False, np.abs(np.diff(grey, axis=0)).mean((1, 2)) <= STILL]
    return black | _lasting(uniform, FLASH + 1) | _lasting(still, STILL_STEPS)


def _lasting(mask: Mask, least: int) -> Mask:
    """Only the runs of at least so many frames."""
    edges = np.flatnonzero(np.diff(mask.astype(int), prepend=0, append=0)).reshape(-1, 2)
    kept = np.zeros(len(mask), bool)
    for begin, end in edges[edges[:, 1] - edges[:, 0] >= least].tolist():
        kept[begin:end] = True
    return kept
