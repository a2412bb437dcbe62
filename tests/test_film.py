"""Promises of films: readable by others, at the right speed, whole whatever happens or not there at all."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from playroom import brightness, grey, shoot

from doom_dream_env.play.film import STEPS_PER_SECOND, Film


def played(path: Path) -> tuple[np.ndarray, list[float]]:
    """Frames (T, H, W, 3) and their times, by PIL or PyAV."""
    frames = []
    times = []
    time = 0.0
    if path.suffix == ".gif":
        with Image.open(path) as image:
            for t in range(getattr(image, "n_frames", 1)):
                image.seek(t)
                frames.append(np.array(image.convert("RGB")))
                times.append(time)
                time += image.info.get("duration", 0) / 1000
        return np.stack(frames), [*times, time]
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.time))
    return np.stack(frames), times


@pytest.mark.parametrize("rate", [STEPS_PER_SECOND, 35])
@pytest.mark.parametrize(("name", "exact"), [("a.mp4", 1e-3), ("a.gif", 0.0051)])
def test_a_film_has_every_frame_at_its_time_and_size(tmp_path: Path, name: str, exact: float, rate: float) -> None:
    frames, times = played(shoot(tmp_path / name, 20, rate, scale=2))
    assert frames.shape == (20, 240, 320, 3) and [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_allclose(brightness(frames), np.arange(20), atol=0.3)
    np.testing.assert_allclose(times, np.arange(len(times)) / rate, atol=exact)
    if name == "a.mp4":
        assert frames[:, :, :150].max() < 10, "the black half is not black"
        with av.open(str(tmp_path / name)) as container:
            stream = container.streams.video[0]
            assert (stream.frames, stream.average_rate, stream.codec_context.pix_fmt) == (20, Fraction(rate), "yuv420p")


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_one_frame_is_a_film_and_none_is_no_file(tmp_path: Path, suffix: str) -> None:
    assert len(played(shoot(tmp_path / f"one{suffix}", 1))[0]) == 1
    shoot(tmp_path / f"none{suffix}", 0)
    assert [path.name for path in tmp_path.iterdir()] == [f"one{suffix}"]


def test_an_odd_size_is_padded(tmp_path: Path) -> None:
    with Film(tmp_path / "a.mp4", 35) as film:
        film.add(np.full((121, 163, 3), 200, np.uint8))
    frames, _ = played(tmp_path / "a.mp4")
    assert frames.shape == (1, 122, 164, 3) and frames[0, :118, :160].mean() > 190


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_an_exception_keeps_what_was_added(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ZeroDivisionError), Film(path, 35) as film:
        for t in range(7):
            film.add(grey(t))
        1 / 0  # noqa: B018
    np.testing.assert_allclose(brightness(played(path)[0]), np.arange(7), atol=0.3)
    film.close()
    with pytest.raises(ValueError, match="a.(mp4|gif) is closed"):
        film.add(grey(0))
    assert len(played(path)[0]) == 7


def test_a_killed_program_leaves_a_film_that_plays(tmp_path: Path) -> None:
    code = (
        "import os, numpy as np\nfrom pathlib import Path\nfrom doom_dream_env.play.film import Film\n"
        f"film = Film(Path({str(tmp_path)!r}) / 'a.mp4', 8.75)\n"
        "for t in range(90): film.add(np.full((120, 160, 3), 2 * t, np.uint8))\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=100).returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.mp4"]
    frames, _ = played(tmp_path / "a.partial.mp4")
    assert len(frames) >= 60
    np.testing.assert_allclose(frames.mean((1, 2, 3)) / 2, np.arange(len(frames)), atol=1.5)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_frames_of_another_size_are_fitted_into_the_first(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with Film(path, 35, scale=2) as film:
        film.add(grey(1))
        film.add(np.full((120, 320, 3), 200, np.uint8))  # 160x60 in the middle
        film.add(grey(3))
    frames, _ = played(path)
    assert frames.shape == (3, 240, 320, 3)
    np.testing.assert_allclose(brightness(frames)[[0, 2]], [1, 3], atol=0.3)
    assert frames[1, :50].max() < 16 and frames[1, -50:].max() < 16 and frames[1, 70:170].min() > 184


def test_what_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.mp4").mkdir()
    for path in (
        tmp_path / "missing" / "a.mp4",
        tmp_path / "missing" / "a.gif",
        tmp_path / "file" / "a.mp4",
        tmp_path / "folder.mp4",
    ):
        with pytest.raises(OSError, match=f"cannot film to {path}: "):
            Film(path, 35)
    with pytest.raises(ValueError, match="a.avi: the name must end in .mp4 or .gif"):
        Film(tmp_path / "a.avi", 35)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_of_a_film_that_the_disk_has_no_room_for_nothing_is_left(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files, which is reported as a full disk is."""
    code = (
        "import resource, sys, numpy as np\nfrom pathlib import Path\nfrom doom_dream_env.play.film import Film\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\nrng = np.random.default_rng(0)\n"
        "try:\n"
        f"    with Film(Path({str(tmp_path)!r}) / 'a{suffix}', 35) as film:\n"
        "        for _ in range(100): film.add(rng.integers(0, 256, (120, 160, 3), np.uint8))\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=100, capture_output=True, text=True)
    assert done.stdout.endswith(f"cannot film to {tmp_path}/a{suffix}: File too large\n") and not done.stderr
    assert not list(tmp_path.iterdir())


def test_a_film_replaces_an_older_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = shoot(tmp_path / "a.mp4", 3)
    with Film(path, 35) as film:
        for t in range(5):
            film.add(grey(t))
        assert len(played(path)[0]) == 3
    assert len(played(path)[0]) == 5
