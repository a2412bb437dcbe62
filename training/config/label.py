"""Settings of labelling: videos in, a dataset out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from doom_dream_env.world_model.validation import Share
from training.config.base import Count
from training.config.collect import Split


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Label videos of play with the keys that were pressed, as a dataset.

    Attributes:
        videos: files (mp4, mkv, webm, ...), or folders of them.
        out: folder of the dataset.
        source: where the videos come from, e.g. an address and who plays. It stands in every shard, as the licence
            does; without both, `dream-doom push` refuses. They can be said later: the same command again, with them.
        licence: under which the pictures may be passed on, as the hub abbreviates it (cc-by-4.0), or in words.
        weights: folder of the inverse dynamics model; None: what ships.
        split: train, val or test. Of train a tenth of each video, in blocks of three minutes, goes to val instead.
        scenario: what is played, a name or the path of a ViZDoom configuration.
        map: of free play, if all videos show it; None: their place in the dataset is "footage".
        least_play: how sure it must be that a frame shows play, for the frame to be kept. At 0.5 a fifth of menus and
            death screens was kept, at 0.9 a twentieth, for 3 % of play (measured, EXPERIMENTS.md).
        least_confidence: below this mean confidence of its actions, the report warns that a video shows another game
            than the model knows.
        threads: CPU threads; None: all.
    """

    videos: tuple[Path, ...] = ()
    out: Path = Path("footage")
    source: str | None = None
    licence: str | None = None
    weights: Path | None = None
    split: Split = "train"
    scenario: str = "freedoom"
    map: str | None = None
    least_play: Share = 0.9
    least_confidence: Share = 0.15
    threads: Count | None = None
