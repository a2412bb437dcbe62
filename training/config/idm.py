"""Settings of the inverse dynamics model: its training and its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.config.base import TrainingConfig
from training.config.collect import Split

IDMPreset = Literal["tiny", "nano"]  # the keys of `doom_dream_env.idm.IDM_PRESETS`


@dataclass(frozen=True, kw_only=True)
class IDMLossWeights:
    """Weights of the terms of the loss.

    Attributes:
        keys: cross-entropy of the keys, with all that comes before and after.
        keys_pair: the same, read off two adjacent frames alone.
        motion: the player's own motion (turn, forward, sideways), read off two adjacent frames.
        play: is this frame play?
        health: Laplace likelihood of the health in the HUD.
        died: does the player die in this step?
    """

    keys: float = 1.0
    keys_pair: float = 0.5
    motion: float = 2.0
    play: float = 0.2
    health: float = 0.1
    died: float = 0.2


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


@dataclass(frozen=True, kw_only=True)
class IDMTrainingConfig(TrainingConfig):
    """Train an inverse dynamics model: gameplay pictures to keys.

    Attributes:
        preset: sizes of the model.
        films: folder of films with what was pressed beside them (`python -m training film`), to learn from too: what is
            play and what is not, and looks that no recording has; None: no films.
        film_share: share of the windows that come from them.
        window: frames per window.
        motion_steps: the first so many steps learn from recorded motion alone, what keys make it.
        motion_batch: windows of each of these steps.
        motion_window: their length in steps.
        motion_noise: least and greatest standard deviation of noise on that motion, in units of a step of walking or
            turning; one is drawn for each window.
        without: maps and players that must not be trained on, as they are for tests; a star stands for anything: MAP*.
        event_weight: weight of steps within one of a change of a key; others weigh 1.
        held_out_steps: recorded steps of the split val, for the scores along the way and the costs of decoding.
        loss_weights: weights of the terms of the loss.
        augmentation: how frames are made to look like other footage.
    """

    out: Path = Path("runs/idm")
    scenarios: tuple[str, ...] = ("freedoom",)
    steps: int = 4_000
    batch: int = 8
    lr: float = 2e-3
    preset: IDMPreset = "nano"
    films: Path | None = None
    film_share: float = 0.4
    window: int = 24
    motion_steps: int = 400
    motion_batch: int = 32
    motion_window: int = 48
    motion_noise: tuple[float, float] = (0.02, 0.4)
    without: tuple[str, ...] = ("E1M3", "E1M4", "MAP05", "MAP06", "perturbed")
    event_weight: float = 2.0
    held_out_steps: int = 6_000
    loss_weights: IDMLossWeights = IDMLossWeights()
    augmentation: Augmentation = Augmentation()


@dataclass(frozen=True, kw_only=True)
class IDMScoreConfig:
    """Score an inverse dynamics model where the keys are known: events, steps, persistence; by map, player and look.

    Attributes:
        weights: folder of the model.
        data: folder of a dataset with recorded free play; None: no recorded play is scored.
        films: folder of films with what was pressed beside them (`python -m training film`); None: no film is scored.
        split: which part of the recorded play.
        maps: only these; empty: all.
        players: only these; empty: all.
        limit: use at most about so many recorded steps.
        out: where figures, table and plot go.
        device: cpu, cuda, or auto: the GPU if there is one.
        threads: CPU threads; None: all.
    """

    weights: Path = Path("runs/idm/weights")
    data: Path | None = None
    films: Path | None = None
    split: Split = "test"
    maps: tuple[str, ...] = ()
    players: tuple[str, ...] = ()
    limit: int | None = None
    out: Path = Path("runs/idm-score")
    device: str = "auto"
    threads: int | None = None
