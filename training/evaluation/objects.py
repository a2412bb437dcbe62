"""Do dreams hold as many objects as the game, and do pictures show them?

Two networks that know nothing of the dream answer that, both fitted on the split that probes are fitted on: a *reader*
finds the cells with objects in states, a *detector* finds them in pictures and has seen real frames alone. An AUC would
not do: it ranks cells, and does not notice that all of a fireball fades.

Legend: N rows of the data, B chosen rows or pictures, D state width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model import WorldModel
from training.data.annotations import OBJECT_CLASSES, OBJECT_MAP_SHAPE
from training.data.batch import sample_rows
from training.data.dataset import Dataset
from training.engine.compute import Compute
from training.engine.fit import fit
from training.engine.optim import Optimiser
from training.evaluation.open_loop import Rows, Scores, open_loop, rows_of_longest_horizon
from training.evaluation.picture_scores import (
    AT_ONCE,
    decoded_pictures,
    drawn_pictures,
    frames_of,
    reconstructed_rows,
)

LEAST_CELLS = 30  # with an object; fewer say nothing
COUNTED_AFTER = (8, 16, 26)  # steps
SHOWN_AFTER = 8  # steps
DREAMS = 300
DRAWN = 96
PICTURES = 400
FALSE_ALARMS = 0.005  # share of the cells without an object in which the detector may find one
READER_WIDTH = 256
READER_BATCH = 512
READER_STEPS = 800
DETECTOR_BATCH = 32
DETECTOR_STEPS = 400
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class ObjectFinders:
    """The two networks.

    Attributes:
        reader: states (B, D) → logits (B, 576).
        detector: pictures, see `Detector`.
    """

    reader: nn.Module
    detector: Detector

    @classmethod
    def fitted(cls, data: Dataset, z: Tensor) -> ObjectFinders:
        """Fit both on recorded steps with their states z (N, D), every scenario alike."""
        return cls(fit_reader(data, z, READER_STEPS), fit_detector(data, DETECTOR_STEPS))


class Detector(nn.Module):
    """Finds objects in pictures: strided convolutions down to the cells of the object maps."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(32, width, 5, 5),
            nn.GELU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(width, len(OBJECT_CLASSES), 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 (B, 120, 160, 3) → logits (B, 576)."""
        pixels = pictures.permute(0, 3, 1, 2).float() / 255 - 0.5
        return self.layers(pixels.contiguous(memory_format=torch.channels_last)).flatten(1)


# ---- fitting ---------------------------------------------------------------------------------------------------------


def fit_reader(data: Dataset, z: Tensor, steps: int) -> nn.Module:
    """A network from states z (N, D) to object maps."""
    torch.manual_seed(0)
    cells = math.prod(OBJECT_MAP_SHAPE)
    reader = nn.Sequential(nn.Linear(z.shape[1], READER_WIDTH), nn.GELU(), nn.Linear(READER_WIDTH, cells))
    _fit("object reader", reader, data, steps, READER_BATCH, lambda rows: z[rows])
    return reader


def fit_detector(data: Dataset, steps: int) -> Detector:
    """A network from real frames to object maps."""
    torch.manual_seed(0)
    detector = Detector().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _fit("object detector", detector, data, steps, DETECTOR_BATCH, lambda rows: frames_of(data, rows))
    return detector


def _fit(
    name: str, network: nn.Module, data: Dataset, steps: int, batch: int, inputs: Callable[[Rows], Tensor]
) -> None:
    """Train a network on object maps; `inputs` gives what it sees of some rows."""
    scenarios = data.scenario[:, None] == np.unique(data.scenario)  # N, scenarios that the data have
    groups = [np.flatnonzero(column) for column in scenarios.T]

    def fetch(step: int) -> tuple[Tensor, Tensor]:
        rows = sample_rows(groups, batch, np.random.default_rng((step, 3)))
        return inputs(rows), torch.from_numpy(data.object_maps[rows]).float().flatten(1)

    def step_loss(step: int, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        given, maps = pair
        # Not weighted as in training: one half is to mean that an object is as likely there as not.
        return F.binary_cross_entropy_with_logits(network(given), maps), {}

    fit(
        name=name,
        module=network,
        optimiser=Optimiser(network, "adamw", LEARNING_RATE, steps),
        steps=steps,
        compute=Compute(torch.device("cpu"), rank=0, ranks=1, bfloat16=False),
        fetch=fetch,
        step_loss=step_loss,
    )
    network.eval().requires_grad_(False)


# ---- measuring -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def object_scores(
    model: WorldModel, finders: ObjectFinders, data: Dataset, z: Tensor, scenario: int, rng: np.random.Generator
) -> Scores:
    """How many objects dreams hold, and how many of those in real frames decoded pictures show.

    `CLASS_cells_H`: cells with objects of a class in dreams at temperature 1, H steps on, over those in the states of
    the real frames of that moment. `CLASS_recall`: of the cells in which the detector finds an object in real frames,
    the share in which it finds one in pictures of their states; `CLASS_recall_8`: in pictures dreamed 8 open-loop steps
    on; `…_drawn`: in drawn pictures, each by itself. Found means: with at most `FALSE_ALARMS`, and no weaker than in
    real frames.

    Args:
        model: who dreams and decodes.
        finders: fitted on other seeds.
        data: recorded steps.
        z: states of all rows, (N, D).
        scenario: index of the scenario.
        rng: chooses frames and dreams.
    """
    scores: Scores = {}
    rows, ahead = rows_of_longest_horizon(data, scenario, COUNTED_AFTER, DREAMS, rng)
    for step, state, _ in open_loop(model, data, z, rows, ahead, temperature=1.0):
        if step in COUNTED_AFTER:
            dreamed = cells_by_class(finders.reader(state.z))
            real = cells_by_class(finders.reader(z[rows + step]))
            for name, in_dreams, in_game in zip(OBJECT_CLASSES, dreamed, real, strict=True):
                if in_game >= LEAST_CELLS:
                    scores[f"{name}_cells_{step}"] = in_dreams / in_game
    chosen = reconstructed_rows(data, scenario, rng, PICTURES)
    scores |= recall_scores("", finders.detector, data, chosen, decoded_pictures(model, z[chosen]))
    scores |= recall_scores("_drawn", finders.detector, data, chosen, drawn_pictures(model, z[chosen]))
    rows, ahead = rows_of_longest_horizon(data, scenario, (SHOWN_AFTER,), DREAMS, rng)
    for step, state, _ in open_loop(model, data, z, rows, ahead):
        if step == SHOWN_AFTER:
            for suffix, pictures in (
                ("", decoded_pictures(model, state.z)),
                ("_drawn", drawn_pictures(model, state.z)),
            ):
                scores |= recall_scores(f"_{SHOWN_AFTER}{suffix}", finders.detector, data, rows + step, pictures)
    return scores | drawn_scores(model, finders, data, z, scenario, rng)


@torch.inference_mode()
def drawn_scores(
    model: WorldModel, finders: ObjectFinders, data: Dataset, z: Tensor, scenario: int, rng: np.random.Generator
) -> Scores:
    """Objects in pictures as they are drawn along a dream at temperature 1, beside the game's under the same actions.

    `CLASS_drawn_H`: cells in which the detector finds an object in pictures H steps on, over those in the frames of
    that moment. `flicker`: of the cells with an object in one of two pictures in a row, the share in which the other
    one has none, over that of the game. `drawn_truth`: share of the cells with a drawn object that are at most one cell
    away from one of which the reader says that the state holds an object there.

    Args:
        model: who dreams and draws.
        finders: fitted on other seeds.
        data: recorded steps.
        z: states of all rows, (N, D).
        scenario: index of the scenario.
        rng: chooses dreams.
    """
    scores: Scores = {}
    rows, ahead = rows_of_longest_horizon(data, scenario, COUNTED_AFTER, DRAWN, rng)
    if not ahead:
        return scores
    chosen = reconstructed_rows(data, scenario, rng, PICTURES)
    maps = torch.from_numpy(data.object_maps[chosen])
    shown_bars = bars(detected(finders.detector, frames_of(data, chosen)), maps)
    held_bars = bars(finders.reader(z[chosen]), maps)
    generator = torch.Generator().manual_seed(0)
    _, codes = model.draw(z[rows], generator=generator)
    come_and_gone = {"dream": [0, 0], "game": [0, 0]}  # cells that changed, cells with an object
    before: dict[str, Tensor] = {}
    true = shown = 0
    for step, state, _ in open_loop(model, data, z, rows, ahead, temperature=1.0):
        action = torch.from_numpy(data.actions[rows + step - 1]).float()
        picture, codes = model.draw(state, codes, action, generator)
        pictures = {"dream": picture, "game": frames_of(data, rows + step)}
        found = {
            name: detected(finders.detector, each).view(-1, *OBJECT_MAP_SHAPE) > shown_bars
            for name, each in pictures.items()
        }
        for name, cells in found.items():
            if name in before:
                either = cells | before[name]
                come_and_gone[name][0] += int((either & ~(cells & before[name])).sum())
                come_and_gone[name][1] += int(either.sum())
        before = found
        held = finders.reader(state.z).view(-1, *OBJECT_MAP_SHAPE) > held_bars
        near = F.max_pool2d(held.float(), 3, 1, 1) > 0
        true += int((found["dream"] & near).sum())
        shown += int(found["dream"].sum())
        if step in COUNTED_AFTER:
            labelled = data.object_maps[rows + step]
            counts = {name: cells.sum((0, 2, 3)).tolist() for name, cells in found.items()}
            for kind, name in enumerate(OBJECT_CLASSES):
                if labelled[:, kind].sum() >= LEAST_CELLS and counts["game"][kind]:
                    scores[f"{name}_drawn_{step}"] = counts["dream"][kind] / counts["game"][kind]
    shares = {name: changed / max(either, 1) for name, (changed, either) in come_and_gone.items()}
    if shown >= LEAST_CELLS and shares["game"]:
        scores |= {"flicker": shares["dream"] / shares["game"], "drawn_truth": true / shown}
    return scores


def bars(logits: Tensor, object_maps: Tensor) -> Tensor:
    """Logits (B, 576) above which an object of each class is found, (3, 1, 1): at `FALSE_ALARMS`.

    Args:
        logits: of a reader or detector.
        object_maps: what the game shows, (B, 3, 12, 16).
    """
    cells = logits.view(-1, *OBJECT_MAP_SHAPE)
    return torch.stack(
        [cells[:, kind][object_maps[:, kind] == 0].quantile(1 - FALSE_ALARMS) for kind in range(len(OBJECT_CLASSES))]
    )[:, None, None]


def detected(detector: Detector, pictures: Tensor) -> Tensor:
    """Logits (B, 576) of pictures uint8 (B, 120, 160, 3), a few at a time."""
    return torch.cat([detector(part) for part in pictures.split(AT_ONCE)])


def recall_scores(suffix: str, detector: Detector, data: Dataset, rows: Rows, pictures: Tensor) -> Scores:
    """Share of what the detector finds in the frames of rows (B,) that it finds in pictures of them too."""
    shape = (-1, *OBJECT_MAP_SHAPE)
    in_frames = detected(detector, frames_of(data, rows))
    in_pictures = detected(detector, pictures)
    labelled = torch.from_numpy(data.object_maps[rows]) > 0
    scores: Scores = {}
    for kind, name in enumerate(OBJECT_CLASSES):
        frame, picture = (logits.view(shape)[:, kind] for logits in (in_frames, in_pictures))
        label = labelled[:, kind]
        bar = float(frame[~label].quantile(1 - FALSE_ALARMS))
        found = frame > bar
        if int((found & label).sum()) < LEAST_CELLS:
            continue
        alarms = picture[~label & ~found]
        bar = max(bar, float(alarms.quantile(1 - FALSE_ALARMS)))
        scores[f"{name}_recall{suffix}"] = float((picture[found & label] > bar).float().mean())
    return scores


def cells_by_class(logits: Tensor) -> list[int]:
    """How many cells of all states hold objects of each class, from logits (B, 576)."""
    return (logits.unflatten(1, OBJECT_MAP_SHAPE) > 0).sum((0, 2, 3)).tolist()
