"""Reading videos of play as the steps of a dataset: streamed, in little memory, whatever made them.

A video is decoded once from its beginning to its end. Of all its frames only those are converted that are seen at the
beginning of a step (8.75 a second, by the presentation times of the frames, which need not be regular). A frame is
turned as a player program would turn it, black bars are cut off, what is wider than 4:3 is cropped around the centre
(a wider game shows more at the sides, of the same size), and the rest is averaged down to 160x120.

Legend: T steps, H height and W width of a decoded frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from doom_dream_env.errors import UserError
from doom_dream_env.play.clip import fitted, frame_interval, upright
from doom_dream_env.play.film import STEPS_PER_SECOND

SUFFIXES = (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".flv", ".ts", ".mpg", ".mpeg", ".wmv", ".ogv")

EARLY = 1e-3  # seconds by which a frame may come late and still be seen at a step: times are rounded in files
LONGEST_HALT = 5.0  # seconds without a new frame, above which they are left out: nothing happens in them
BACKWARDS = 0.5  # seconds by which time may run back within a video; beyond, it is another recording behind the first
MISSING = 2.0  # seconds that may be missing at the end before a video counts as cut off
MOST_DAMAGED = 0.05  # share of the packets that may be damaged before the video counts as corrupt

BAR_SAMPLES = 24  # frames from all over a video in which bars are looked for
BAR_LEVEL = 22  # of 255: what is darker than this in all of them is a bar
BAR_SHARE = 0.98  # of the pixels of a row or column must be so dark; there may be a mark in a corner
LEAST_PICTURE = 0.3  # share of the width or height that must be left; otherwise the video is dark, and nothing is cut

Frame = npt.NDArray[np.uint8]  # (120, 160, 3)
Kind = Literal["missing", "empty", "not a video", "audio only", "without times", "encrypted", "corrupt", "truncated"]
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class VideoError(UserError):
    """A video that cannot be read, or not to its end.

    Attributes:
        path: the file.
        kind: what is wrong with it.
    """

    def __init__(self, path: Path, kind: Kind, reason: str) -> None:
        super().__init__(f"{path} is {kind}: {reason}")
        self.path = path
        self.kind = kind


@dataclass(frozen=True)
class Step:
    """What is seen at the beginning of a step.

    Attributes:
        time: seconds from the beginning of the video.
        frame: uint8 (120, 160, 3).
    """

    time: float
    frame: Frame


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """The videos among files and in folders, in order; files that are named need no particular suffix.

    Raises:
        FileNotFoundError: if a path does not exist, or a folder holds no video.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
            whole = [file for file in inside if ".partial" not in file.suffixes]
            if not whole:
                raise FileNotFoundError(f"{path} holds no video (expected {', '.join(SUFFIXES)})")
            found += whole
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no file {path}; give videos, or folders of them")
    return list(dict.fromkeys(found))


class Video:
    """A video file that can be read.

    Attributes:
        path: the file.
        seconds: how long it says it is; 0 if it does not say.
        picture: the part of its upright frames that is no black bar.
        problem: what was wrong, once `steps` has come to the end; None: nothing.

    Args:
        path: any file that FFmpeg reads.
        threads: of the decoder; None: as many as it likes.

    Raises:
        VideoError: if it cannot be read at all.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path = path
        self.problem: VideoError | None = None
        self._threads = threads or 0
        with self._open() as container:
            stream = self._stream(container)
            length = stream.duration * stream.time_base if stream.duration and stream.time_base else 0
            self.seconds = float(length or (container.duration or 0) / av.time_base)
            packet = next(container.demux(stream), None)
            try:
                self._interval = frame_interval(container, stream)
            except ValueError as error:
                raise VideoError(path, "without times", str(error)) from error
            if "enc_key_id" in stream.metadata or (packet is not None and packet.has_sidedata("encryption_info")):
                raise VideoError(path, "encrypted", "its pictures need a key (DRM)")
        self.picture = find_picture(self._samples())

    @property
    def expected_steps(self) -> int:
        """About how many steps `steps` gives; 0 if the file does not say how long it is."""
        return int(self.seconds * STEPS_PER_SECOND)

    def steps(self, skip: int = 0) -> Iterator[Step]:
        """What is seen at every step, in order.

        Args:
            skip: leave out the first so many; they are decoded and not converted.

        Raises:
            VideoError: if not a single frame can be decoded.
        """
        step = 0
        for left_out, until, frame in self._timed():
            picture: Frame | None = None
            # All steps that begin while this frame is on the screen: none of most frames, several of one that halts.
            while step / STEPS_PER_SECOND < until - EARLY:
                if step >= skip:
                    picture = self._converted(frame) if picture is None else picture
                    yield Step(step / STEPS_PER_SECOND + left_out, picture)
                step += 1

    # ---- frames and their times --------------------------------------------------------------------------------------

    def _timed(self) -> Iterator[tuple[float, float, av.VideoFrame]]:
        """Every frame that is whole, behind two times in seconds: what was left out before, and until when it is seen.

        The second runs without what is left out: halts (`LONGEST_HALT`), and jumps between recordings. Their sum is the
        time in the file.
        """
        held: av.VideoFrame | None = None
        held_time = 0.0
        first = 0.0
        left_out = 0.0
        interval = min(self._interval, LONGEST_HALT)  # between the two newest frames that are no halt apart
        length = 0.0  # of the newest one: what it says, or else that of the one before
        for frame in self._decoded():
            time = held_time + interval if frame.time is None else frame.time
            length = float((frame.duration or 0) * (frame.time_base or 0)) or time - held_time
            if held is None:
                first = time
            elif time < held_time - BACKWARDS or time > held_time + LONGEST_HALT:
                yield left_out, held_time + interval - first - left_out, held
                left_out += time - held_time - interval
            elif time <= held_time:
                continue
            else:
                yield left_out, time - first - left_out, held
                interval = time - held_time
            held = frame
            held_time = time
        if held is None:
            raise VideoError(self.path, "corrupt", "none of its frames can be decoded")
        last = length if interval < length <= LONGEST_HALT else interval
        yield left_out, held_time + last - first - left_out, held
        read = held_time + max(length, interval) - first
        if self.problem is None and read < self.seconds - MISSING:
            self.problem = VideoError(
                self.path, "truncated", f"it ends after {read:.0f} of {self.seconds:.0f} s; what is there was read"
            )

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """The frames that are whole."""
        packets = damaged = 0
        with self._open() as container:
            stream = self._stream(container)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = self._threads
            try:
                for packet in container.demux(stream):
                    packets += 1
                    try:
                        frames = packet.decode()
                    except av.InvalidDataError:
                        damaged += 1
                        continue
                    for frame in frames:
                        if not frame.is_corrupt:
                            yield frame
                        else:
                            damaged += 1
            except av.FFmpegError:
                damaged += 1  # the file breaks off in the middle of something; its length says how much is missing
        if damaged > MOST_DAMAGED * packets:
            self.problem = VideoError(
                self.path, "corrupt", f"{damaged} of its {packets} packets are damaged; the others were read"
            )

    def _converted(self, frame: av.VideoFrame) -> Frame:
        image, pixel = upright(frame, self._pixel)
        left, top, right, bottom = self.picture
        if self.picture != WHOLE:
            box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
            image = image.crop(tuple(round(edge) for edge in box))  # type: ignore[arg-type]
        return fitted(image, pixel)

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _open(self) -> av.container.InputContainer:
        path = self.path
        if not path.exists():
            raise VideoError(path, "missing", "there is no such file")
        if not path.is_file():
            raise VideoError(path, "not a video", "it is a device or a pipe, which cannot be read twice")
        if not path.stat().st_size:
            raise VideoError(path, "empty", "it has no bytes")
        try:
            # Without "file:", a colon in the name would say how to reach it.
            return av.open(f"file:{path}", metadata_errors="replace")
        except av.FFmpegError as error:
            with open(path, "rb") as file:
                head = file.read(12)
            if head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3":
                raise VideoError(
                    path,
                    "truncated",
                    "its index is missing, which is written when a recording ends; record again, or "
                    "try a program that repairs videos",
                ) from error
            raise VideoError(path, "not a video", str(error.strerror or error)) from error

    def _stream(self, container: av.container.InputContainer) -> av.VideoStream:
        stream = container.streams.best("video")
        cover = av.stream.Disposition.attached_pic
        if not isinstance(stream, av.VideoStream) or stream.disposition & cover:
            kind: Kind = "audio only" if container.streams.audio else "not a video"
            raise VideoError(self.path, kind, "there are no moving pictures in it")
        context = stream.codec_context
        if context is None:
            raise VideoError(self.path, "corrupt", "its pictures are in a format that cannot be decoded here")
        self._pixel = float(stream.sample_aspect_ratio or 1)
        return stream

    def _samples(self) -> Iterator[Image.Image]:
        """Upright frames from all over the video, or of its beginning if it cannot be read from elsewhere."""
        with self._open() as container:
            stream = self._stream(container)
            begin = (container.start_time or 0) / av.time_base
            for number in range(BAR_SAMPLES):
                at = begin + (number + 0.5) / BAR_SAMPLES * self.seconds
                try:
                    if self.seconds:
                        container.seek(int(at * av.time_base))
                    frame = next(container.decode(stream), None)
                except av.FFmpegError:
                    continue
                if frame is None:
                    return
                yield upright(frame, self._pixel)[0]


def find_picture(images: Iterable[Image.Image]) -> Box:
    """The part of some frames of a video that is not black in all of them, as shares of width and height."""
    rows: list[npt.NDArray[np.float64]] = []
    columns: list[npt.NDArray[np.float64]] = []
    for image in images:
        grey = np.asarray(image.convert("L"))
        if rows and (len(rows[0]), len(columns[0])) != grey.shape:
            continue  # the size changes in the middle
        rows.append(np.quantile(grey, BAR_SHARE, axis=1))
        columns.append(np.quantile(grey, BAR_SHARE, axis=0))
    if not rows:
        return WHOLE
    top, bottom = _inside(np.max(rows, axis=0))
    left, right = _inside(np.max(columns, axis=0))
    return (left, top, right, bottom)


def _inside(levels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """First and last edge of what is brighter than a bar, as shares of the length."""
    bright = np.flatnonzero(levels > BAR_LEVEL)
    if not len(bright) or bright[-1] + 1 - bright[0] < LEAST_PICTURE * len(levels):
        return (0.0, 1.0)
    return (float(bright[0] / len(levels)), float((bright[-1] + 1) / len(levels)))
