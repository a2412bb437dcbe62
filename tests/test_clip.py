"""Promises of pictures and clips to dream on from: read as a player program shows them, whatever made them.

Legend: frames of the films here are black on the left and grey on the right, the brighter the later.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from playroom import brightness, grey, shoot

from doom_dream_env.play.clip import START_STEPS, read_start
from doom_dream_env.play.film import STEPS_PER_SECOND, Film

RED, BLUE, GREEN, WHITE = (220, 0, 0), (0, 0, 220), (0, 180, 0), (220, 220, 220)
CORNERS = {"top left": RED, "top right": BLUE, "bottom left": GREEN, "bottom right": WHITE}


def quarters(height: int = 120, width: int = 160) -> np.ndarray:
    """A frame with a colour in every corner."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2], frame[: height // 2, width // 2 :] = RED, BLUE
    frame[height // 2 :, : width // 2], frame[height // 2 :, width // 2 :] = GREEN, WHITE
    return frame


def corners(frame: np.ndarray) -> list[str]:
    """Which of the corners' colours is in the frame's top left, top right, bottom left, bottom right."""
    found = []
    for y, x in ((20, 30), (20, 130), (100, 30), (100, 130)):
        distances = {name: np.abs(frame[y, x].astype(int) - color).sum() for name, color in CORNERS.items()}
        found.append(min(distances, key=lambda name: distances[name]))
        assert distances[found[-1]] < 60, frame[y, x]
    return found


def write_video(path: Path, frames: list[np.ndarray], **more: object) -> Path:
    """A clip of 10 frames/s; `rotation` in degrees, `pixel`: width over height, `sound` in seconds, `codec`."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(str(more.get("codec", "libx264")), 10, options={"g": "5"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if "pixel" in more:
            stream.codec_context.sample_aspect_ratio = more["pixel"]
        if "rotation" in more:
            stream.set_display_rotation(more["rotation"])
        sound = container.add_stream("aac", 8000, layout="mono") if "sound" in more else None
        for t, frame in enumerate(frames):
            video = av.VideoFrame.from_ndarray(frame, format="rgb24")
            video.pts, video.time_base = t, Fraction(1, 10)
            container.mux(stream.encode(video))
        container.mux(stream.encode())
        if sound is not None:
            for second in range(int(more["sound"])):
                audio = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
                audio.sample_rate, audio.pts = 8000, 8000 * second
                container.mux(sound.encode(audio))
            container.mux(sound.encode())
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_is_one_frame(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(grey(10)).save(tmp_path / f"a{suffix}")
    frames = read_start(tmp_path / f"a{suffix}")
    assert frames.shape == (1, 120, 160, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames[0], grey(10), atol=0 if suffix == ".png" else 40)


def test_a_picture_is_cropped_around_the_centre_and_averaged(tmp_path: Path) -> None:
    stripes = np.zeros((240, 520, 3), np.uint8)
    stripes[:, ::2] = 200
    stripes[:, :100] = stripes[:, 420:] = (255, 0, 0)  # 16:9 and more: the sides go
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    assert (read_start(tmp_path / "wide.png") == 100).all()
    Image.fromarray(grey(5, 500, 160)).convert("L").save(tmp_path / "tall.png")
    np.testing.assert_array_equal(read_start(tmp_path / "tall.png")[0], grey(5))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize(("frames", "expected"), [(5, range(5)), (20, range(4, 20))])
def test_a_clip_at_the_games_own_speed_comes_back_step_by_step(
    tmp_path: Path, suffix: str, frames: int, expected: range
) -> None:
    start = read_start(shoot(tmp_path / f"a{suffix}", frames, scale=2))
    np.testing.assert_allclose(brightness(start), expected, atol=0.3)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_clip_of_another_speed_is_sampled_by_its_time_stamps(tmp_path: Path, suffix: str) -> None:
    fast = read_start(shoot(tmp_path / f"fast{suffix}", 20, rate=35))
    np.testing.assert_allclose(brightness(fast), [3, 7, 11, 15, 19], atol=0.3)
    slow = read_start(shoot(tmp_path / f"slow{suffix}", 5, rate=STEPS_PER_SECOND / 2))
    assert len(slow) == 9
    np.testing.assert_allclose(brightness(slow)[::2], range(5), atol=0.3)


def test_of_a_long_clip_only_the_end_is_read(tmp_path: Path) -> None:
    with Film(tmp_path / "long.mp4", 2 * STEPS_PER_SECOND) as film:
        for t in range(400):
            film.add(np.full((120, 160, 3), t // 2, np.uint8))
    np.testing.assert_allclose(read_start(tmp_path / "long.mp4").mean((1, 2, 3)), range(200 - START_STEPS, 200), atol=1)


def test_what_is_neither_picture_nor_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"missing.png is no file; expected a picture \(png, jpg, ...\) or a clip"
    ):
        read_start(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError, match="is no file|is a folder"):
        read_start(tmp_path)
    shoot(tmp_path / "good.mp4", 20)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)).save(tmp_path / "good.png")
    contents = {
        "text.mp4": b"this is no film",
        "text.txt": b"this is no film",
        "empty.png": b"",
        "noise.gif": np.random.default_rng(0).bytes(5000),
        "cut.png": (tmp_path / "good.png").read_bytes()[:5000],
        "cut.mp4": (tmp_path / "good.mp4").read_bytes()[:500],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"cannot read .*{name}: .*; expected a picture"):
            read_start(tmp_path / name)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (90, ["top right", "bottom right", "top left", "bottom left"]),
        (180, ["bottom right", "bottom left", "top right", "top left"]),
        (-90, ["bottom left", "top left", "bottom right", "top right"]),
    ],
)
def test_a_clip_is_turned_as_its_camera_was(tmp_path: Path, rotation: int, expected: list[str]) -> None:
    """Degrees against the clock; of a clip that was lying, the middle is seen."""
    turned = read_start(write_video(tmp_path / "a.mp4", [quarters(160, 160)] * 3, rotation=rotation))
    assert corners(turned[-1]) == expected


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_clip_whose_sound_goes_on_ends_with_its_last_frame(tmp_path: Path, suffix: str) -> None:
    start = read_start(write_video(tmp_path / f"a.{suffix}", [grey(t) for t in range(8)], sound=40))
    np.testing.assert_allclose(brightness(start)[-1], 7, atol=0.4)
    assert len(start) == 7


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "-a.mp4", "concat:a|b.mp4", "a b.mp4", "frame%03d.mp4", "träum☺.mp4", "A.MP4", "caf\udce9.mp4"]
)
def test_any_legal_name_is_filmed_to_and_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for relative in (Path(name), Path(name).with_suffix(".GIF")):
        shoot(relative, 5)
        np.testing.assert_allclose(brightness(read_start(relative)), range(5), atol=0.3)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 100, (100, 100, 100)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (255, 0), (0, 0, 0)),
        ("RGBA", (200, 100, 50, 255), (200, 100, 50)),
        ("RGBA", (255, 255, 255, 0), (0, 0, 0)),
        ("RGBA", (200, 100, 50, 128), (100, 50, 25)),
        ("I;16", 25700, (100, 100, 100)),
    ],
)
def test_a_png_of_any_mode_looks_as_in_a_viewer(tmp_path: Path, mode: str, pixel: object, expected: tuple) -> None:
    Image.new(mode, (320, 240), pixel).save(tmp_path / "a.PNG")  # type: ignore[arg-type]
    np.testing.assert_allclose(read_start(tmp_path / "a.PNG")[0, 60, 80], expected, atol=1)


def test_a_photograph_is_upright(tmp_path: Path) -> None:
    image = Image.fromarray(quarters())
    exif = image.getexif()
    exif[0x0112] = 3  # taken upside down
    for name in ("a.jpg", "a.png", "a.webp"):
        image.save(tmp_path / name, exif=exif)
        found = corners(read_start(tmp_path / name)[0])
        assert found == ["bottom right", "bottom left", "top right", "top left"], name


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_is_a_clip(tmp_path: Path, suffix: str) -> None:
    first, *others = (Image.fromarray(grey(3 * t)) for t in range(6))
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others, duration=[120] * 6, lossless=True)
    np.testing.assert_allclose(brightness(read_start(tmp_path / f"a{suffix}")), [0, 3, 6, 9, 12, 15], atol=0.3)
    first.save(tmp_path / f"b{suffix}", save_all=True, append_images=others, duration=10)
    assert len(read_start(tmp_path / f"b{suffix}")) == 5, "ten milliseconds are a tenth of a second, in browsers"
