"""The one way to make a figure, and to write it or any other picture to a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.world_model.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5  # panels side by side
PANEL = (2.5, 2.1)  # inches, of small multiples
COLOURS = 128  # of a PNG made from game frames: a third of the bytes, and nobody sees it


def panels(
    count: int = 1, size: tuple[float, float] = PANEL, *, title: str = "", x: str = "", y: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure of one or several panels in rows of `COLUMNS`.

    Args:
        count: how many.
        size: of each, in inches, width first.
        title: over all of them.
        x: what all horizontal axes show.
        y: what all vertical axes show.

    Returns:
        the figure, and the axes of every panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    for axis in axes:
        axis.tick_params(labelsize=7)
    return figure, axes


def draw_survival(axis: Axes, lengths: npt.ArrayLike, **style: Any) -> None:
    """Share of episodes that are still running, by step.

    Args:
        axis: where to draw.
        lengths: steps of each episode.
        style: as for a line of matplotlib.
    """
    axis.ecdf(np.asarray(lengths), complementary=True, **style)
    axis.set_xlim(left=0)
    axis.set_ylim(-0.02, 1.02)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    write_atomically(path, buffer.getvalue())


def save_png(picture: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a picture, uint8 (H, W, 3), in `COLOURS` colours."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(COLOURS).save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
