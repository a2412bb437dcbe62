"""Promises of reading videos of play: step by step by their time stamps, upright, without bars; faults are named.

Legend: frames of the films here are grey, the brighter the later, unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from doom_dream_env.play.film import STEPS_PER_SECOND, Film
from training.footage.video import Video, VideoError, find_videos


def shoot(path: Path, levels: Iterable[int], rate: float, at: Iterable[int] | None = None, **look: Any) -> Path:
    """A film of grey frames, at times that are counted in frames."""
    levels = list(levels)
    times = list(range(len(levels)) if at is None else at)
    with Film(path, rate, **look) as film:
        for level, time in zip(levels, times, strict=True):
            film.add(np.full((48, 64, 3), level, np.uint8), at=time)
    return path


def levels_of(path: Path, skip: int = 0) -> list[float]:
    return [float(step.frame.mean()) for step in Video(path).steps(skip)]


def sound(path: Path, **container_options: Any) -> Path:
    with av.open(str(path), "w", **container_options) as container:
        stream = container.add_stream("aac", 8000, layout="mono")
        audio = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        audio.sample_rate = 8000
        container.mux(stream.encode(audio))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("rate", [24, 30, 35, 50, 60])
def test_a_step_shows_what_a_player_program_shows_at_that_moment(tmp_path: Path, rate: int) -> None:
    seen = levels_of(shoot(tmp_path / "a.mp4", range(20, 20 + 2 * rate), rate))
    wanted = [20 + int(step / STEPS_PER_SECOND * rate + 1e-6) for step in range(len(seen))]
    assert len(seen) == pytest.approx(2 * STEPS_PER_SECOND, abs=1)
    np.testing.assert_allclose(seen, wanted, atol=2.5)


def test_frames_that_come_irregularly_are_taken_by_their_times(tmp_path: Path) -> None:
    kept = np.flatnonzero(np.random.default_rng(0).random(105) < 0.6)
    kept[0] = 0
    seen = levels_of(shoot(tmp_path / "a.mp4", 20 + kept, 35, kept))
    newest = [kept[kept <= 4 * step].max() for step in range(len(seen))]
    np.testing.assert_allclose(seen, np.add(newest, 20), atol=2.5)


def test_a_long_halt_is_left_out(tmp_path: Path) -> None:
    path = shoot(tmp_path / "a.mp4", range(20, 90), 35, [*range(35), *range(35 * 60, 35 * 61)])
    steps = list(Video(path).steps())
    assert len(steps) == pytest.approx(2 * STEPS_PER_SECOND, abs=2)
    assert steps[-1].time == pytest.approx(61, abs=0.2), "the times are those of the file"
    assert (np.diff([step.time for step in steps]) > 0).all()


def test_reading_on_gives_the_same_steps(tmp_path: Path) -> None:
    path = shoot(tmp_path / "a.mp4", range(20, 90), 30)
    assert levels_of(path, skip=7) == levels_of(path)[7:]


def bright(height: int, width: int) -> np.ndarray:
    """A frame whose left half is red and whose right half is blue."""
    frame = np.full((height, width, 3), (200, 40, 40), np.uint8)
    frame[:, width // 2 :] = (40, 40, 200)
    return frame


@pytest.mark.parametrize(
    ("size", "picture"), [((90, 160), (90, 120)), ((120, 160), (90, 160)), ((100, 200), (60, 80)), ((120, 160), None)]
)
def test_black_bars_are_cut_off(tmp_path: Path, size: tuple[int, int], picture: tuple[int, int] | None) -> None:
    height, width = picture or size
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = bright(height, width)
    with Film(tmp_path / "a.mp4", 10) as film:
        for _ in range(10):
            film.add(canvas)
    read = Video(tmp_path / "a.mp4")
    expected = (left / size[1], top / size[0], (left + width) / size[1], (top + height) / size[0])
    assert read.picture == pytest.approx(expected, abs=0.021)
    frame = next(read.steps()).frame
    for corner in (frame[3, 3], frame[-4, 3], frame[60, 70]):
        assert corner[0] > 150 > corner[2]
    assert frame[60, 90, 2] > 150 > frame[60, 90, 0]


def test_turned_and_anamorphic_videos_are_seen_as_they_are_meant(tmp_path: Path) -> None:
    upright = bright(120, 160)
    with Film(tmp_path / "turned.mp4", 10, rotation=90) as film:
        film.add(np.ascontiguousarray(np.rot90(upright, -1)))
    with Film(tmp_path / "narrow.mp4", 10, pixel_aspect=Fraction(2)) as film:
        film.add(np.ascontiguousarray(upright[:, ::2]))
    for name in ("turned", "narrow"):
        frame = next(Video(tmp_path / f"{name}.mp4").steps()).frame
        np.testing.assert_allclose(frame[:, 10:70], upright[:, 10:70], atol=40, err_msg=name)
        np.testing.assert_allclose(frame[:, 90:150], upright[:, 90:150], atol=40, err_msg=name)


def broken(kind: str, folder: Path) -> Path:
    """A video that something is wrong with."""
    good = shoot(folder / "good.mp4", [30] * 90, 30)
    path = folder / "broken.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "not a video":
        path.write_bytes(b"dear diary, " * 1000)
    elif kind == "audio only":
        return sound(folder / "broken.m4a")
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[:200])
    elif kind == "encrypted":
        key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32, "encryption_kid": "1" * 32}
        with av.open(str(path), "w", options=key) as container:
            stream = container.add_stream("libx264", 10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    elif kind == "missing":
        pass
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "not a video", "audio only", "truncated", "encrypted"])
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, kind: str) -> None:
    path = broken(kind, tmp_path)
    with pytest.raises(VideoError, match=f"{path} is {kind}: ") as fault:
        next(Video(path).steps())
    assert fault.value.kind == kind and fault.value.path == path


def test_a_video_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (240, 48, 64, 3), np.uint8)
    with av.open(str(tmp_path / "whole.mkv"), "w") as container:
        stream = container.add_stream("libx264", 30, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    whole = Video(tmp_path / "whole.mkv")
    assert len(list(whole.steps())) == 70 and whole.problem is None
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    cut = Video(tmp_path / "cut.mkv")
    assert 20 < len(list(cut.steps())) < 45
    assert cut.problem is not None and cut.problem.kind == "truncated" and "of 8 s" in str(cut.problem)
    spoilt = bytearray(data)
    rng = np.random.default_rng(1)
    for at in rng.integers(len(data) // 10, len(data) * 9 // 10, 300):
        spoilt[at] ^= 0xFF
    (tmp_path / "spoilt.mkv").write_bytes(bytes(spoilt))
    corrupt = Video(tmp_path / "spoilt.mkv")
    list(corrupt.steps())
    assert corrupt.problem is not None and corrupt.problem.kind in ("corrupt", "truncated")


def test_folders_hold_videos_and_other_things(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "a.keys.parquet", "c.partial.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_videos([tmp_path, tmp_path / "b.mp4"])] == ["a.MKV", "b.mp4"]
    assert find_videos([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"], "what is named is tried"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_videos([tmp_path / "missing.mp4"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no video"):
        find_videos([tmp_path / "nothing"])
