"""What was read off a video, to look at: `report.html` beside the notes that labelling makes block by block.

Where the maker of a film wrote down what was pressed (`training.footage.truth`), the report also says how much of play
was lost and how much else was kept.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from doom_dream_env.game.recording import STEPS_PER_SHARD
from doom_dream_env.play.film import STEPS_PER_SECOND
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.scenarios.wads import as_text
from doom_dream_env.world_model.files import read_json, write_atomically
from training.evaluation.figures import panels, save_figure
from training.evaluation.tables import markdown_table
from training.footage.labelling import LabelledBlock, episodes
from training.footage.truth import keys_file, read_truth
from training.footage.video import VideoError

BLOCK_MINUTES = STEPS_PER_SHARD / STEPS_PER_SECOND / 60
BIN = 35  # steps (4 s) of one point of a curve
SHOWN = 12  # frames of each block
GREEN = (40, 200, 60)
RED = (220, 30, 30)
LITTLE_PLAY = 0.2  # share of a video; if less of it is play, something is wrong with one of the two
STYLE = "body{font:15px sans-serif;margin:2em}td{padding:0 1em 0 0}.warning{color:#b00}img{max-width:100%}"
FIGURE = "labels.png"
FINISHED = "report.json"


@dataclass(frozen=True)
class BlockNotes:
    """What is noted of a block.

    Attributes:
        index: of the block.
        steps: how many steps it has.
        rows: times (s) of those that became rows of the dataset.
        cuts, episodes, deaths: how many.
        pressed: how often each button was pressed in the rows.
        confidence: mean of the whole action's in the rows, per `BIN` steps; None where there are none.
        play: mean probability of play, per `BIN` steps.
        strip: frames from all over the block, in a green frame those that were kept, in a red one the others, as JPEG.
    """

    index: int
    steps: int
    rows: list[float]
    cuts: int
    episodes: int
    deaths: int
    pressed: list[int]
    confidence: list[float | None]
    play: list[float]
    strip: bytes

    @classmethod
    def of(cls, labelled: LabelledBlock, rows: list[float]) -> BlockNotes:
        """Notes of a block and of the times of its rows."""
        kept = np.isin(labelled.times, rows)
        found = episodes(labelled)
        confidence: list[float | None] = []
        for begin in range(0, len(labelled), BIN):
            values = labelled.confidence[begin : begin + BIN][kept[begin : begin + BIN]]
            confidence.append(round(float(values.mean()), 4) if len(values) else None)
        return cls(
            index=labelled.block.index,
            steps=len(labelled),
            rows=[round(time, 3) for time in rows],
            cuts=int(labelled.cuts.sum()),
            episodes=len(found),
            deaths=sum(died for _, _, died in found),
            pressed=labelled.actions[kept].sum(0, dtype=int).tolist(),
            confidence=confidence,
            play=[round(float(labelled.play[at : at + BIN].mean()), 4) for at in range(0, len(labelled), BIN)],
            strip=_strip(labelled.frames, kept),
        )


def _strip(frames: npt.NDArray[np.uint8], kept: npt.NDArray[np.bool_]) -> bytes:
    """Frames from all over a block side by side, as JPEG."""
    pictures = []
    for at in np.linspace(0, len(frames) - 1, SHOWN).astype(int):
        small = Image.fromarray(frames[at]).resize((96, 72), Image.Resampling.BOX)
        pictures.append(np.asarray(ImageOps.expand(small, 2, GREEN if kept[at] else RED)))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(pictures, 1)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def write_notes(folder: Path, notes: BlockNotes) -> None:
    """Write the notes of a block; the numbers last, which say that it is finished."""
    values = dataclasses.asdict(notes)
    write_atomically(folder / f"{notes.index:05d}.jpg", values.pop("strip"))
    write_atomically(folder / f"{notes.index:05d}.json", json.dumps(values).encode())


def read_notes(folder: Path) -> list[BlockNotes]:
    """The notes of all finished blocks of a video, in order."""
    files = sorted(folder.glob("[0-9]*.json"))
    return [BlockNotes(**read_json(file), strip=file.with_suffix(".jpg").read_bytes()) for file in files]


# ---- the report ------------------------------------------------------------------------------------------------------


def summary(notes: list[BlockNotes], video: Path) -> dict[str, float]:
    """A video's labels in numbers; with those of `truth_scores`, if it is known what was pressed."""
    steps = sum(block.steps for block in notes)
    rows = sum(len(block.rows) for block in notes)
    confidence = [value for block in notes for value in block.confidence if value is not None]
    numbers = {
        "minutes": steps / STEPS_PER_SECOND / 60,
        "rows": rows,
        "play": rows / max(steps, 1),
        "confidence": float(np.mean(confidence)) if confidence else 0.0,
        "episodes": sum(block.episodes for block in notes),
        "deaths": sum(block.deaths for block in notes),
        "cuts": sum(block.cuts for block in notes),
    }
    if keys_file(video).is_file():
        numbers |= truth_scores(notes, video)
    return numbers


def truth_scores(notes: list[BlockNotes], film: Path) -> dict[str, float]:
    """Share of the steps of play that were dropped, and of the other steps that were kept, in a film."""
    truth = read_truth(keys_file(film))[0].by_steps()
    kept = np.zeros(len(truth), bool)
    rows = np.array([time for block in notes for time in block.rows])
    at = np.round(rows * STEPS_PER_SECOND).astype(int)
    kept[at[at < len(kept)]] = True
    return {
        "play_dropped": float((truth.play & ~kept).sum() / max(truth.play.sum(), 1)),
        "other_kept": float((~truth.play & kept).sum() / max((~truth.play).sum(), 1)),
        "other": float((~truth.play).mean()),
    }


def warnings(numbers: dict[str, float], least_confidence: float) -> list[str]:
    """What is suspicious about a video's labels, in whole sentences."""
    found = []
    if not numbers["rows"]:
        found.append("No play was found in it: nothing of it is in the dataset.")
    elif numbers["confidence"] < least_confidence:
        found.append(
            f"The model is sure of {numbers['confidence']:.0%} of the actions on average, where {least_confidence:.0%} "
            "and more are usual: this is not the game that it knows. Look whether the pictures below show the whole "
            "view and nothing else; if they do, train the model on such footage, or leave the video out."
        )
    if numbers["rows"] and numbers["play"] < LITTLE_PLAY:
        found.append(
            f"Only {numbers['play']:.0%} of it was taken for play. Look at the frames in red: if they show play, "
            "label it again with a lower --least-play."
        )
    return found


def write_report(folder: Path, video: Path, problem: VideoError | None, least_confidence: float) -> None:
    """Write `report.html`, and last `report.json`, which says that a video is finished.

    Args:
        folder: of the notes.
        video: what they are of.
        problem: what was wrong with it.
        least_confidence: see `LabelConfig`.
    """
    notes = read_notes(folder)
    numbers = summary(notes, video)
    problems = [str(problem)] if problem else []
    said = warnings(numbers, least_confidence)
    _draw(notes, folder / FIGURE)
    name = html.escape(as_text(video.name))
    rows = "".join(f"<tr><td>{what}</td><td>{value:.3g}</td></tr>" for what, value in numbers.items())
    shown = "".join(
        f"<p>{block.index * BLOCK_MINUTES:.0f} min<br>{_picture(block.strip, 'jpeg')}</p>" for block in notes
    )
    page = (
        f"<!doctype html><meta charset=utf-8><title>{name}</title>"
        f"<style>{STYLE}</style>"
        f"<h1>{name}</h1>"
        + "".join(f"<p class=warning>{html.escape(sentence)}</p>" for sentence in problems + said)
        + f"<table>{rows}</table>{_picture((folder / FIGURE).read_bytes(), 'png')}"
        "<h2>Frames</h2><p>Green: in the dataset. Red: left out.</p>" + shown
    )
    write_atomically(folder / "report.html", page.encode())
    about = {**numbers, "warnings": said, "problems": problems}
    write_atomically(folder / FINISHED, json.dumps(about, indent=2).encode())


def label_table(rows: dict[Path, dict[str, float]]) -> str:
    """The numbers of some videos as a Markdown table."""
    header = ["video", "minutes", "rows", "play", "confidence", "play dropped", "other kept"]
    return markdown_table(header, ([as_text(path), *_cells(numbers)] for path, numbers in rows.items()))


def _cells(numbers: dict[str, float]) -> list[str]:
    shares = ("play", "confidence", "play_dropped", "other_kept")
    shown = [f"{numbers[name]:.1%}" if name in numbers else "–" for name in shares]
    return [f"{numbers['minutes']:.1f}", f"{numbers['rows']:.0f}", *shown]


def _picture(data: bytes, kind: str) -> str:
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _draw(notes: list[BlockNotes], path: Path) -> None:
    """Confidence and play over time, how often buttons are pressed, how sure the actions are."""
    figure, (over_time, buttons, histogram) = panels(3, (4.2, 2.6))
    play = [value for block in notes for value in block.play]
    confidence = [np.nan if value is None else value for block in notes for value in block.confidence]
    minutes = np.arange(len(play)) * BIN / STEPS_PER_SECOND / 60
    over_time.plot(minutes, play, label="play", color="tab:grey", linewidth=0.8)
    over_time.plot(minutes, confidence, label="confidence", color="tab:green")
    over_time.set_xlabel("minutes", fontsize=8)
    over_time.set_ylim(-0.02, 1.02)
    over_time.legend(fontsize=7)
    rows = max(sum(len(block.rows) for block in notes), 1)
    pressed = np.sum([block.pressed for block in notes], 0) / rows if notes else np.zeros(len(BUTTONS))
    buttons.barh([name.removeprefix("MOVE_").lower() for name in BUTTONS], pressed)
    buttons.invert_yaxis()
    buttons.set_xlabel("share of the rows in which it is pressed", fontsize=8)
    histogram.hist([value for value in confidence if np.isfinite(value)], bins=np.linspace(0, 1, 21).tolist())
    histogram.set_xlabel("confidence of the whole action", fontsize=8)
    save_figure(figure, path)
