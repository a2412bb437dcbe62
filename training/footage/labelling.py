"""From videos to the rows of a dataset, block by block, in bounded memory.

A video is cut into blocks of `STEPS_PER_SHARD` steps. Each is labelled with `MARGIN` steps before and behind it, which
the model sees and which are not kept, so that the labels of a block are the same whether those before it were made now
or by a run that was killed. Where the scene changes, the model starts anew; where no play is seen, nothing is kept.

Legend: T steps of a block with its margins, V variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from doom_dream_env.game.recording import STEPS_PER_SHARD, ShardWriter, compress_frame
from doom_dream_env.scenarios import VARIABLE_SCALES, VARIABLES, Scenario
from training.data.shard_checks import UNKNOWN
from training.footage.scenes import dead_frames, scene_cuts
from training.footage.video import Video

MARGIN = 64  # steps on both sides of a block that the model sees
CHUNK = 64  # frames that are given to the model at once
SMOOTHED = 9  # steps (1 s) over which the middle one of the probabilities of play is taken
SHORTEST = 8  # steps of an episode; what is shorter teaches nothing
DIED = 0.5  # probability from which on a step ends in death
DEAD_TIME = 26  # steps (3 s) after a death: what is left of a scene then, if it is shorter, is no play any more
BEHAVIOUR = "video"
HEALTH = VARIABLES.index("HEALTH")

Frames = npt.NDArray[np.uint8]  # (T, 120, 160, 3)
Array = npt.NDArray[np.float32]


class Labels(Protocol):
    """What a model says of T frames; see `doom_dream_env.idm.Labels`."""

    @property
    def actions(self) -> npt.NDArray[np.uint8]:
        """Buttons pressed after each frame, 0/1 (T, 9)."""

    @property
    def confidence(self) -> Array:
        """Probability that each of them is right, (T, 9)."""

    @property
    def play(self) -> Array:
        """Probability that the frame shows play, (T,)."""

    @property
    def health(self) -> Array:
        """0 to 200; NaN where it cannot be read, (T,)."""

    @property
    def health_confidence(self) -> Array:
        """Probability that it is right, (T,)."""

    @property
    def died(self) -> Array:
        """Probability that the player dies in the step, (T,)."""


class Labeller(Protocol):
    """A model that reads keys off frames; see `doom_dream_env.idm.InverseDynamics`."""

    def label_stream(self, chunks: Iterator[Frames]) -> Iterator[Labels]:
        """Labels of frames that follow each other without a cut."""


@dataclass(frozen=True)
class Block:
    """Some steps of a video, with what is before and behind them.

    Attributes:
        index: number of the block in the video.
        own: which of the steps are its own, the others belong to its neighbours.
        times: seconds from the beginning of the video, (T,).
        frames: uint8 (T, 120, 160, 3).
    """

    index: int
    own: slice
    times: npt.NDArray[np.float64]
    frames: Frames


@dataclass(frozen=True)
class LabelledBlock:
    """A block with what a model says of it, without the margins.

    Attributes (T steps):
        block: the steps.
        actions: uint8 (T, 9).
        confidence: that the whole action is right, if buttons are read independently, (T,).
        play: probability, (T,).
        keep: whether the step becomes a row, bool (T,).
        cuts: whether the frame begins another scene, bool (T,).
        health: last known, (T,), and `health_confidence`.
        died: probability, (T,).
    """

    block: Block
    actions: npt.NDArray[np.uint8]
    confidence: Array
    play: Array
    keep: npt.NDArray[np.bool_]
    cuts: npt.NDArray[np.bool_]
    health: Array
    health_confidence: Array
    died: Array

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Seconds from the beginning of the video, (T,)."""
        return self.block.times[self.block.own]

    @property
    def frames(self) -> Frames:
        """uint8 (T, 120, 160, 3)."""
        return self.block.frames[self.block.own]

    def __len__(self) -> int:
        return len(self.play)


def read_blocks(video: Video, first: int = 0) -> Iterator[Block]:
    """The blocks of a video from number `first` on."""
    start = max(first * STEPS_PER_SHARD - MARGIN, 0)  # step of the video that is held[0]
    times: list[float] = []
    frames: list[Frames] = []
    index = first

    def block(end: int) -> Block:
        begin = index * STEPS_PER_SHARD - start
        last = min(end, begin + STEPS_PER_SHARD)
        return Block(index, slice(begin, last), np.array(times[:end]), np.stack(frames[:end]))

    for step in video.steps(skip=start):
        times.append(step.time)
        frames.append(step.frame)
        needed = (index + 1) * STEPS_PER_SHARD + MARGIN - start
        if len(frames) == needed:
            yield block(needed)
            index += 1
            dropped = max(index * STEPS_PER_SHARD - MARGIN - start, 0)
            del times[:dropped], frames[:dropped]
            start += dropped
    while len(frames) > index * STEPS_PER_SHARD - start:
        yield block(len(frames))
        index += 1


def label_block(model: Labeller, block: Block, least_play: float) -> LabelledBlock:
    """Let a model label a block, scene by scene.

    Args:
        model: what reads the keys.
        block: the frames.
        least_play: how sure it must be that a frame shows play, for the step to be kept.
    """
    cuts = scene_cuts(block.frames)
    parts = [
        labels
        for begin, end in pairwise([0, *np.flatnonzero(cuts).tolist(), len(cuts)])
        for labels in model.label_stream(iter(np.array_split(block.frames[begin:end], -(-(end - begin) // CHUNK))))
    ]

    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    play = smoothed(column("play"), cuts)
    dead = dead_frames(block.frames)
    own = block.own
    health = column("health").astype(np.float32)
    unread = ~np.isfinite(health)
    return LabelledBlock(
        block=block,
        actions=column("actions")[own],
        confidence=column("confidence").prod(1)[own].astype(np.float32),
        play=play[own],
        keep=((play >= least_play) & ~dead)[own],
        cuts=cuts[own],
        health=filled(health)[own],
        health_confidence=np.where(unread, 0, column("health_confidence"))[own].astype(np.float32),
        died=column("died")[own].astype(np.float32),
    )


def smoothed(play: Array, cuts: npt.NDArray[np.bool_]) -> Array:
    """The middle of `SMOOTHED` neighbouring values, within each scene."""
    out = np.empty(len(play), np.float32)
    for begin, end in pairwise([0, *np.flatnonzero(cuts).tolist(), len(play)]):
        padded = np.pad(play[begin:end], SMOOTHED // 2, "edge")
        out[begin:end] = np.median(np.lib.stride_tricks.sliding_window_view(padded, SMOOTHED), -1)
    return out


def filled(health: Array) -> Array:
    """Whole numbers, each the last that is known; before the first one, that; full health if there is none."""
    known = np.flatnonzero(np.isfinite(health))
    if not len(known):
        return np.full(len(health), VARIABLE_SCALES[HEALTH], np.float32)
    latest = np.searchsorted(known, np.arange(len(health)), "right") - 1
    return np.round(health[known[np.maximum(latest, 0)]]).astype(np.float32)


# ---- episodes --------------------------------------------------------------------------------------------------------


def episodes(labelled: LabelledBlock) -> list[tuple[int, int, bool]]:
    """First step, end and "it ends with a death" of every stretch of play without a cut, in order."""
    found: list[tuple[int, int, bool]] = []
    edges = np.flatnonzero(np.diff(labelled.keep.astype(int), prepend=0, append=0))
    for first, end in edges.reshape(-1, 2).tolist():
        inside = np.flatnonzero(labelled.cuts[first + 1 : end]) + first + 1
        for begin, stop in pairwise([first, *inside.tolist(), end]):
            found += _until_deaths(labelled.died, begin, stop)
    return [(begin, end, died) for begin, end, died in found if end - begin >= SHORTEST]


def _until_deaths(died: Array, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """One scene, ended by the deaths in it."""
    while begin < end:
        deaths = np.flatnonzero(died[begin:end] > DIED)
        if not len(deaths):
            yield begin, end, False
            return
        last = begin + int(deaths[0])
        yield begin, last + 1, True
        begin = last + 1
        if end - begin < DEAD_TIME:
            return
        begin += 1
        while begin < end and died[begin] > DIED:
            begin += 1  # the same death


def add_rows(shard: ShardWriter, labelled: LabelledBlock, scenario: Scenario) -> int:
    """Add the episodes of a block to a shard.

    Variables that cannot be read have the values that a model without them is given (`WorldModel.observe`), and no
    confidence. The reward is that of dying; what else the game pays for is not seen.

    Returns:
        the number of rows.
    """
    has = scenario.variable_mask()
    neutral = np.where(has, VARIABLE_SCALES, 0).astype(np.float32)
    price = dict(scenario.rewards).get("death_penalty", 0.0)
    for number, (first, end, died) in enumerate(episodes(labelled)):
        for t in range(first, end):
            last = t == end - 1
            dies = last and died
            following = t if last else t + 1
            sure = np.zeros(len(VARIABLES), np.float32)
            variables = neutral.copy()
            after = neutral.copy()
            if has[HEALTH]:
                variables[HEALTH] = labelled.health[t]
                after[HEALTH] = 0 if dies else labelled.health[following]
                readable = labelled.health_confidence[[t, following]].min()
                sure[HEALTH] = labelled.health_confidence[t] * labelled.died[t] if dies else 0 if last else readable
            shard.add(
                [],
                frame=compress_frame(labelled.frames[t]),
                action=labelled.actions[t],
                reward=np.float32(-price if dies else 0),
                terminated=dies,
                truncated=False,
                variables=variables,
                next_variables=after,
                pose=np.zeros(4, np.float32),
                elapsed=UNKNOWN,
                episode=labelled.block.index * STEPS_PER_SHARD + number,
                behaviour=BEHAVIOUR,
                # The last frame of an episode has no next one that could show what was pressed.
                confidence=np.float32(0 if last and not dies else labelled.confidence[t]),
                variables_confidence=sure,
                outcome_confidence=np.float32(abs(2 * labelled.died[t] - 1)),
                annotated=False,
                video_time=labelled.times[t],
            )
    return len(shard)
