"""Films of what is seen.

Legend: H height, W width.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import TICS_PER_SECOND

STEPS_PER_SECOND = TICS_PER_SECOND / 4
SUFFIXES = (".mp4", ".gif")
SHORTEST_DURATION = 2  # hundredths of a second; viewers take less for ten

Frame = npt.NDArray[np.uint8]  # (H, W, 3)


def check_name(path: Path) -> None:
    """Can a film have this name?

    Raises:
        ValueError: if the suffix says neither .mp4 nor .gif, in small letters or capitals.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot film to {path}: the name must end in {' or '.join(SUFFIXES)}")


def partial_name(path: Path) -> Path:
    """What a film is called until it is whole."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class Film:
    """Writes frames to an .mp4 (H.264) or a .gif; use it in a `with`, or call `close`.

    The file gets its name when it is whole. Until then an .mp4 is `<name>.partial.mp4`: if the program is killed, this
    plays all but the last seconds. A .gif is held in memory until it is closed (2 MB for every second of 160x120 at 35
    frames/s). Frames of another size than the first are fitted into that, with black borders. A film without a frame
    leaves no file, nor does one that cannot be written to its end.

    Args:
        path: where to; a file that exists is replaced.
        rate: frames/s. A .gif counts hundredths of a second: its frames are rounded such that the whole keeps time.
        scale: every pixel becomes so many squared.
        quality: constant rate factor of an .mp4: 18 cannot be told from the original, 36 is mush.
        pixel_aspect: width of an .mp4's pixels over their height.
        rotation: degrees, against the clock, that a player program turns an .mp4 by.

    Raises:
        ValueError: as `check_name`.
        OSError: if the folder is missing or not writable.
    """

    def __init__(
        self,
        path: Path,
        rate: float,
        scale: int = 1,
        *,
        quality: int = 18,
        pixel_aspect: Fraction = Fraction(1),
        rotation: int = 0,
    ) -> None:
        check_name(path)
        self.path = path
        self.scale = scale
        self.quality = quality
        self.pixel_aspect = pixel_aspect
        self.rotation = rotation
        self.rate = Fraction(rate).limit_denominator(1000)
        self.partial = partial_name(path)
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
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OSError:
        return OSError(error.errno, f"cannot film to {self.path}: {error.strerror or error}")

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, frame: Frame, at: int | None = None) -> None:
        """Add a frame, uint8 (H, W, 3).

        Args:
            frame: what is to be seen.
            at: from when on in an .mp4, counted in frames of `rate` from its beginning, above that of the frame before;
                None: as many as there are frames already.

        Raises:
            ValueError: if the film is closed.
            OSError: if the disk is full; nothing is left of the film.
        """
        if not self._open:
            raise UserError(f"the film {self.path} is closed")
        image = Image.fromarray(np.ascontiguousarray(frame))
        if not self._count:
            self._size = image.size
        elif image.size != self._size:
            image = ImageOps.pad(image, self._size)
        if self._is_gif:
            self._held.append(image)
        else:
            with self._nothing_half_written():
                self._encode(self._enlarge(image), self._count if at is None else at)
        self._count += 1

    @property
    def _is_gif(self) -> bool:
        return self.path.suffix.lower() == ".gif"

    @contextmanager
    def _nothing_half_written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._open = False
            self.partial.unlink(missing_ok=True)
            raise self._failure(error) from error

    def _enlarge(self, image: Image.Image) -> Image.Image:
        width, height = self._size
        return image.resize((width * self.scale, height * self.scale), Image.Resampling.NEAREST)

    def _encode(self, image: Image.Image, at: int) -> None:
        if self._container is None:
            self._container = self._start_mp4(*image.size)
        canvas = Image.new("RGB", (self._stream.width, self._stream.height))
        canvas.paste(image)
        video = av.VideoFrame.from_image(canvas)
        video.pts = at
        video.time_base = 1 / self.rate
        self._container.mux(self._stream.encode(video))

    def _start_mp4(self, width: int, height: int) -> av.container.OutputContainer:
        # Fragments, each of them on the disk at once, become an ordinary file when it is closed.
        options = {"movflags": "frag_keyframe+hybrid_fragmented", "flush_packets": "1"}
        # Without "file:", a colon in the name would say how to reach it.
        container = av.open(f"file:{self.partial}", "w", format="mp4", options=options)
        # B frames would make a fragmented film begin two frames late.
        quality = {"preset": "veryfast", "crf": str(self.quality), "bf": "0"}
        self._stream = container.add_stream("libx264", self.rate, options=quality)
        self._stream.pix_fmt = "yuv420p"
        self._stream.gop_size = max(round(self.rate), 1)
        self._stream.width = width + width % 2  # 4:2:0 halves both
        self._stream.height = height + height % 2
        self._stream.codec_context.sample_aspect_ratio = self.pixel_aspect
        if self.rotation:
            self._stream.set_display_rotation(self.rotation)
        return container

    def close(self) -> None:
        """Finish the film and give it its name; a second call does nothing.

        Raises:
            OSError: if the disk is full; nothing is left of the film.
        """
        if not self._open:
            return
        self._open = False
        if not self._count:
            self.partial.unlink()
            return
        with self._nothing_half_written():
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
        first.save(self.partial, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
