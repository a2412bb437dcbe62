"""How much decoded pictures are like the real frames: of real states, and of open-loop dreams.

PSNR (dB, more is better) compares pixels; the perceptual distance (less is better) compares what a network trained on
photographs sees in them.

Legend: N rows of the data, B chosen rows or pictures, D state width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.world_model import WorldModel
from training.data.dataset import Dataset
from training.evaluation.open_loop import Rows, Scores, open_loop, rows_of_longest_horizon
from training.metrics import psnr
from training.models.losses import object_mask
from training.models.perceptual import Distance

HORIZONS = (1, 8, 16, 26)  # steps; 26 are three seconds
RECONSTRUCTED = 256  # frames
DREAMS = 96  # that are decoded
COMPARED = 48  # pictures whose perceptual distance is taken: it costs more than all else
IN_STRIP = 4  # pictures
AT_ONCE = 64  # pictures


def frames_of(data: Dataset, rows: Rows) -> Tensor:
    """Real frames, uint8 (B, 120, 160, 3)."""
    return torch.from_numpy(data.frames(rows))


def reconstructed_rows(data: Dataset, scenario: int, rng: np.random.Generator, count: int = RECONSTRUCTED) -> Rows:
    """Which frames of a scenario are encoded and decoded again, at most so many, in random order."""
    rows = np.flatnonzero(data.scenario == scenario)
    return rng.choice(rows, min(count, len(rows)), replace=False)


def decoded_pictures(model: WorldModel, z: Tensor) -> Tensor:
    """Pictures of states (B, D), a few at a time: uint8 (B, 120, 160, 3)."""
    return torch.cat([model.decode(part) for part in z.split(AT_ONCE)])


def drawn_pictures(model: WorldModel, z: Tensor) -> Tensor:
    """Pictures of states (B, D) that are drawn, each by itself, a few at a time: uint8 (B, 120, 160, 3)."""
    generator = torch.Generator().manual_seed(0)
    return torch.cat([model.draw(part, generator=generator)[0] for part in z.split(AT_ONCE)])


def squared_error(real: Tensor, picture: Tensor) -> Tensor:
    """Of pictures uint8 (B, 120, 160, 3): mean over colours, in units of the full scale, (B, 120, 160)."""
    return ((real.float() - picture.float()) / 255).square().mean(-1)


def likeness(suffix: str, real: Tensor, picture: Tensor, distance: Distance | None) -> Scores:
    """PSNR and, where there is a network for it, perceptual distance of pictures uint8 (B, 120, 160, 3)."""
    scores: Scores = {f"psnr{suffix}": psnr(squared_error(real, picture).mean())}
    if distance:
        scores[f"lpips{suffix}"] = distance(real[:COMPARED], picture[:COMPARED])
    return scores


@torch.inference_mode()
def picture_scores(
    model: WorldModel,
    data: Dataset,
    z: Tensor,
    scenario: int,
    distance: Distance | None,
    rng: np.random.Generator,
) -> tuple[Scores, Tensor]:
    """Likeness of pictures decoded from real and from dreamed states.

    `psnr_objects` and `psnr_elsewhere`: inside and outside the cells with objects. `…_8`: 8 open-loop steps on;
    `…_8_still`: what the last real frame, unchanged, would score. `…_drawn`: of drawn pictures, each by itself.

    Args:
        model: whose pictures.
        data: recorded steps.
        z: states of all rows, (N, D).
        scenario: index of the scenario.
        distance: the perceptual distance; None: it is left out.
        rng: chooses frames and dreams.

    Returns:
        the scores, and a strip of pictures, real above decoded, uint8 (240, 640, 3).
    """
    rows = reconstructed_rows(data, scenario, rng)
    real = frames_of(data, rows)
    decoded = decoded_pictures(model, z[rows])
    object_maps = torch.from_numpy(data.object_maps[rows]).float()  # B, 3, 12, 16
    scores = likeness("", real, decoded, distance)
    scores |= likeness("_drawn", real[:COMPARED], drawn_pictures(model, z[rows[:COMPARED]]), distance)
    scores |= object_scores(squared_error(real, decoded), object_mask(object_maps)[:, 0])
    scores |= dreamed_picture_scores(model, data, z, scenario, distance, rng)
    # Frames with many objects show most; every eighth of them, because neighbours look alike.
    busiest = object_maps.sum((1, 2, 3)).argsort(descending=True)[: 8 * IN_STRIP : 8]
    return scores, torch.cat([torch.cat(list(pictures[busiest]), 1) for pictures in (real, decoded)])


def object_scores(error: Tensor, mask: Tensor) -> Scores:
    """PSNR where objects are and elsewhere, of errors (B, 120, 160) with a 0/1 mask of the same shape."""
    scores: Scores = {}
    if mask.any():
        scores["psnr_objects"] = psnr((error * mask).sum() / mask.sum())
    scores["psnr_elsewhere"] = psnr((error * (1 - mask)).sum() / (1 - mask).sum().clamp(min=1))
    return scores


def dreamed_picture_scores(
    model: WorldModel,
    data: Dataset,
    z: Tensor,
    scenario: int,
    distance: Distance | None,
    rng: np.random.Generator,
) -> Scores:
    """Likeness of decoded open-loop dreams by horizon, and of the last real frame; see `picture_scores`."""
    scores: Scores = {}
    rows, ahead = rows_of_longest_horizon(data, scenario, HORIZONS, DREAMS, rng)
    for step, state, _ in open_loop(model, data, z, rows, ahead):
        if step in HORIZONS:
            following = frames_of(data, rows + step)
            scores |= likeness(f"_{step}", following, model.decode(state), distance)
            drawn = drawn_pictures(model, state.z[:COMPARED])
            scores |= likeness(f"_{step}_drawn", following[:COMPARED], drawn, distance)
            scores |= likeness(f"_{step}_still", following, frames_of(data, rows), distance)
    return scores
