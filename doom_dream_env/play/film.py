"""Films of what is seen, and pictures or clips of the user's own to dream on from.

Legend: T frames, H height, W width.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from doom_dream_env.scenarios import FRAME_SHAPE, TICS_PER_SECOND

STEPS_PER_SECOND = TICS_PER_SECOND / 4
START_STEPS = 16  # at most, of a clip to dream on from
LAST_SECONDS = 10  # a longer clip is read from so long before its end
USUAL_RATE = 25  # frames/s of a clip that does not say
USUAL_DURATION = 100  # ms of a picture of a .gif that does not say
SHORTEST_DURATION = 2  # hundredths of a second; viewers take less for ten

Frame = npt.NDArray[np.uint8]  # (H, W, 3)


class Film:
    """Writes frames to an .mp4 (H.264) or a .gif; use it in a `with`, or call `close`.

    The file gets its name when it is whole. Until then an .mp4 is `<name>.partial.mp4`: if the program is killed, this
    plays all but the last seconds. A .gif is held in memory until it is closed (2 MB for every second of 160x120 at 35
    frames/s). Frames of another size than the first are fitted into that, with black borders. A film without a frame
    leaves no file.

    Args:
        path: where to; a file that exists is replaced.
        rate: frames/s. A .gif counts hundredths of a second: its frames are rounded such that the whole keeps time.
        scale: every pixel becomes so many squared.

    Raises:
        ValueError: if the suffix is neither.
        OSError: if the folder is missing or not writable.
    """

    def __init__(self, path: Path, rate: float, scale: int = 1) -> None:
        if path.suffix not in (".mp4", ".gif"):
            raise ValueError(f"cannot film to {path}: the name must end in .mp4 or .gif")
        self.path = path
        self.scale = scale
        self.rate = Fraction(rate).limit_denominator(1000)
        self.partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._size = (0, 0)  # width and height of the first frame
        self._count = 0
        self._held: list[Image.Image] = []  # the frames of a .gif
        self._container: av.container.OutputContainer | None = None  # of an .mp4
        self._open = True
        try:
            if path.is_dir():
                raise OSError(errno.EISDIR, "it is a folder")
            self.partial.write_bytes(b"")
        except OSError as error:
            raise OSError(error.errno, f"cannot film to {path}: {error.strerror}") from error

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, frame: Frame) -> None:
        """Add a frame, uint8 (H, W, 3).

        Raises:
            ValueError: if the film is closed.
            OSError: if the disk is full.
        """
        if not self._open:
            raise ValueError(f"the film {self.path} is closed")
        image = Image.fromarray(np.ascontiguousarray(frame))
        if not self._count:
            self._size = image.size
        elif image.size != self._size:
            image = ImageOps.pad(image, self._size)
        if self.path.suffix == ".gif":
            self._held.append(image)
        else:
            self._encode(self._enlarge(image))
        self._count += 1

    def _enlarge(self, image: Image.Image) -> Image.Image:
        width, height = self._size
        return image.resize((width * self.scale, height * self.scale), Image.Resampling.NEAREST)

    def _encode(self, image: Image.Image) -> None:
        if self._container is None:
            self._container = self._start_mp4(*image.size)
        canvas = Image.new("RGB", (self._stream.width, self._stream.height))
        canvas.paste(image)
        video = av.VideoFrame.from_image(canvas)
        video.pts = self._count
        video.time_base = 1 / self.rate
        self._container.mux(self._stream.encode(video))

    def _start_mp4(self, width: int, height: int) -> av.container.OutputContainer:
        # Fragments, each of them on the disk at once, become an ordinary file when it is closed.
        options = {"movflags": "frag_keyframe+hybrid_fragmented", "flush_packets": "1"}
        container = av.open(str(self.partial), "w", options=options)
        # B frames would make a fragmented film begin two frames late.
        quality = {"preset": "veryfast", "crf": "18", "bf": "0"}
        self._stream = container.add_stream("libx264", self.rate, options=quality)
        self._stream.pix_fmt = "yuv420p"
        self._stream.gop_size = max(round(self.rate), 1)
        self._stream.width = width + width % 2  # 4:2:0 halves both
        self._stream.height = height + height % 2
        return container

    def close(self) -> None:
        """Finish the film and give it its name; a second call does nothing.

        Raises:
            OSError: if the disk is full; `partial` stays.
        """
        if not self._open:
            return
        self._open = False
        if not self._count:
            self.partial.unlink()
            return
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
        else:
            self._write_gif()
        self.partial.replace(self.path)

    def _write_gif(self) -> None:
        ends = [round(100 * frame / self.rate) for frame in range(self._count + 1)]
        durations = [10 * max(end - begin, SHORTEST_DURATION) for begin, end in pairwise(ends)]  # ms
        first, *others = map(self._enlarge, self._held)
        first.save(self.partial, save_all=True, append_images=others, duration=durations, loop=0)


def read_start(path: Path) -> npt.NDArray[np.uint8]:
    """The last steps of a picture or clip, to dream on from.

    A clip is sampled at the game's 8.75 steps/s by its own time stamps, back from its last frame. Everything is cropped
    to 4:3 around the centre and averaged down (or blown up) to 160x120.

    Returns:
        uint8 (T, 120, 160, 3), T from 1 (a picture) to 16.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither a picture nor a clip, or damaged.
    """
    expected = "expected a picture (png, jpg, ...) or a clip (mp4, gif, ...)"
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; {expected}")
    try:
        timed = list(_timed_frames(path))
        if not timed:
            raise ValueError("there is no frame in it")
    # PIL calls a bad PNG a SyntaxError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read {path}: {reason}; {expected}") from error
    times = np.array([time for time, _ in timed])
    duration = times[-1] - times[0]
    steps = min(int(duration * STEPS_PER_SECOND + 0.1), START_STEPS - 1)  # a .gif rounds its times
    wanted = times[-1] - np.arange(steps, -1, -1) / STEPS_PER_SECOND
    nearest = np.abs(times - wanted[:, None]).argmin(1)
    return np.stack([timed[index][1] for index in nearest])


def _timed_frames(path: Path) -> Iterator[tuple[float, Frame]]:
    """Every frame and its time in seconds; of a long clip, those of the end."""
    try:
        picture = Image.open(path)
    except UnidentifiedImageError:
        yield from _video_frames(path)
        return
    with picture:
        time = 0.0
        for image in ImageSequence.Iterator(picture):
            yield time, _fit(ImageOps.exif_transpose(image))
            time += (image.info.get("duration") or USUAL_DURATION) / 1000


def _video_frames(path: Path) -> Iterator[tuple[float, Frame]]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("there is no video in it")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or USUAL_RATE)
        if container.duration and container.duration > LAST_SECONDS * av.time_base:
            container.seek(container.duration - LAST_SECONDS * av.time_base)  # to a key frame before that
        for index, frame in enumerate(container.decode(stream)):
            yield (index / rate if frame.time is None else frame.time), _fit(frame.to_image())


def _fit(image: Image.Image) -> Frame:
    height, width, _ = FRAME_SHAPE
    return np.array(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BOX))
