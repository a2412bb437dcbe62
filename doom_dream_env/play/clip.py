"""Pictures and clips of the user's own to dream on from, as a player program shows them.

Legend: T frames, H height, W width.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from doom_dream_env.errors import UserError
from doom_dream_env.play.film import STEPS_PER_SECOND
from doom_dream_env.scenarios import FRAME_SHAPE

START_STEPS = 16  # at most, of a clip to dream on from
LAST_SECONDS = 10  # a longer clip is read from so long before its end
NO_TIMESTAMPS = 0x80  # of the flags of FFmpeg's formats
USUAL_RATE = 25  # frames/s of a clip in a container that does not say
USUAL_DURATION = 100  # ms of a picture of a .gif that does not say, or says 10 or less: so browsers show it
FLICKER = 10  # ms
WHITE = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535, "I": 65535, "F": 1.0}  # of PIL's deep greys
ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF")  # elsewhere a second picture is a page, a layer or the depth of the first
UPRIGHT = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], np.int32).tobytes()  # a display matrix
TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")  # PIL's modes

Frame = npt.NDArray[np.uint8]  # (120, 160, 3)


def read_start(path: Path) -> npt.NDArray[np.uint8]:
    """The last steps of a picture or clip, to dream on from.

    A clip is sampled at the game's 8.75 steps/s by its own time stamps, back from its last frame. Everything is turned
    as it is meant to be seen, cropped to 4:3 around the centre and averaged down (or blown up) to 160x120; what is
    transparent is black.

    Returns:
        uint8 (T, 120, 160, 3), T from 1 (a picture) to 16.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither a picture nor a clip, or damaged.
    """
    expected = "expected a picture (png, jpg, ...) or a clip (mp4, gif, ...)"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; {expected}")
    try:
        timed = _last_frames(_timed_frames(path))
    # PIL calls a bad PNG a SyntaxError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path}: {reason}; {expected}") from error
    times = np.array([time for time, _ in timed])
    duration = times[-1] - times[0]
    steps = min(int(duration * STEPS_PER_SECOND + 0.1), START_STEPS - 1)  # a .gif rounds its times
    wanted = times[-1] - np.arange(steps, -1, -1) / STEPS_PER_SECOND
    nearest = np.abs(times - wanted[:, None]).argmin(1)
    return np.stack([timed[index][1] for index in nearest])


def _last_frames(frames: Iterator[tuple[float, Frame]]) -> list[tuple[float, Frame]]:
    """Those of the last `START_STEPS` steps and one before; however long a clip is, no more are held."""
    last: deque[tuple[float, Frame]] = deque()
    for time, frame in frames:
        if last and time < last[-1][0]:
            last.clear()  # it is read again, from further back
        last.append((time, frame))
        while len(last) > 1 and last[1][0] <= time - START_STEPS / STEPS_PER_SECOND:
            last.popleft()
    if not last:
        raise UserError("there is no frame in it")
    return list(last)


def _timed_frames(path: Path) -> Iterator[tuple[float, Frame]]:
    """Every frame and its time in seconds; of a long clip, those of the end."""
    Image.init()
    formats = [name for name in Image.ID if name != "MPEG"]  # PIL knows that one by its name, but not how to read it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # today's cameras have so many pixels
        try:
            picture = Image.open(path, formats=formats)
        except UnidentifiedImageError:
            picture = None
    if picture is None:
        yield from _video_frames(path)
        return
    with picture:
        time = 0.0
        for image in ImageSequence.Iterator(picture):
            yield time, fitted(_rgb(ImageOps.exif_transpose(image)))
            if picture.format not in ANIMATIONS:
                return
            duration = image.info.get("duration") or 0
            time += (duration if duration > FLICKER else USUAL_DURATION) / 1000


def _rgb(image: Image.Image) -> Image.Image:
    """A picture of any of PIL's modes, over black where it is transparent."""
    if white := WHITE.get(image.mode):
        levels = np.nan_to_num(np.asarray(image, np.float64)) * (255 / white)
        image = Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))
    if image.mode in TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("RGB")


def _video_frames(path: Path) -> Iterator[tuple[float, Frame]]:
    # Without "file:", a colon in the name would say how to reach it; old clips have titles in other alphabets' bytes.
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        stream = container.streams.best("video")  # not the picture on a cover
        if not isinstance(stream, av.VideoStream):
            raise UserError("there is no video in it")
        pixel = float(stream.sample_aspect_ratio or 1)
        interval = frame_interval(container, stream)
        for begin in _beginnings(container, stream):
            if begin is not None:
                container.seek(begin, stream=stream)  # to a key frame before that
            times: list[float] = []
            for frame in _decoded(container, stream):
                times.append(len(times) * interval if frame.time is None else frame.time)
                yield times[-1], fitted(*upright(frame, pixel))
            if times and times[-1] - times[0] > START_STEPS / STEPS_PER_SECOND:
                return


def frame_interval(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Seconds between two frames, where these do not say it: streams without a container have no times.

    FFmpeg counts 25 a second in such streams, whatever their codec says.

    Raises:
        ValueError: if the codec does not say it either.
    """
    without = bool(container.format.flags & NO_TIMESTAMPS)
    rate = (stream.codec_context.framerate if without else stream.guessed_rate) or 0
    if without and not rate:
        raise UserError(
            f"it is a bare stream ({container.format.name}), which does not say how many frames are a second; put it "
            "into a container: ffmpeg -framerate 30 -i FILE -c copy FILE.mkv"
        )
    return 1 / float(rate or USUAL_RATE)


def _beginnings(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[int | None]:
    """Where to begin reading, in the stream's time base: near its end if it is long, and if too little is there, at 0.

    None: where the container stands. A container may say only how long its sound is.
    """
    unit = stream.time_base or Fraction(1, av.time_base)
    length = stream.duration * unit if stream.duration else Fraction(container.duration or 0, av.time_base)
    if length <= LAST_SECONDS:
        yield None
        return
    begin = stream.start_time or 0
    yield begin + int((length - LAST_SECONDS) / unit)
    yield begin


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames that are whole."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue  # a clip that was cut off plays up to there


def upright(frame: av.VideoFrame, pixel: float) -> tuple[Image.Image, float]:
    """A decoded frame as it is meant to be seen, and the width of its pixels over their height.

    Args:
        frame: with its display matrix, if it has one.
        pixel: width over height of its pixels, as they are stored.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return _turn(frame.to_image(), pixel, UPRIGHT if matrix is None else bytes(matrix))


def _turn(image: Image.Image, pixel: float, matrix: bytes) -> tuple[Image.Image, float]:
    """A picture and its pixels' width over height after a display matrix: quarter turns and mirrors, as in phones."""
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()  # to the right: a x + c y, down: b x + d y
    if abs(a) + abs(d) < abs(b) + abs(c):
        image = image.transpose(Image.Transpose.TRANSPOSE)
        pixel = 1 / pixel
        a, d = c, b
    if a < 0:
        image = ImageOps.mirror(image)
    if d < 0:
        image = ImageOps.flip(image)
    return image, pixel


def fitted(image: Image.Image, pixel: float = 1.0) -> Frame:
    """Crop to 4:3 around the centre and resize; `pixel` is the width of a pixel over its height."""
    height, width, _ = FRAME_SHAPE
    ratio = width / height / pixel
    across = min(image.width, image.height * ratio)
    down = min(image.height, image.width / ratio)
    left = (image.width - across) / 2
    top = (image.height - down) / 2
    box = (left, top, left + across, top + down)
    return np.array(image.resize((width, height), Image.Resampling.BOX, box))
