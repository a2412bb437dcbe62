"""Label videos of play: what an inverse dynamics model reads off them becomes a dataset to train on.

    python -m training label play.mp4 --out footage --source "https://... by me" --licence cc-by-4.0
    python -m training label films/ --out footage --weights runs/idm/weights
    python -m training label monday.mkv tuesday.webm --out footage --split val

Any video that FFmpeg reads is streamed once (`training.footage.video`). Menus, intermissions, death screens, pictures
that stand still and other programs are left out; at scene changes a new episode begins. The shards are those of
`training.data.collect` with four more columns, which say how sure each step is (`doom_dream_env.game.recording`):
training weighs its losses by them, and what only the game knows is not asked for.

A video is known by its bytes, whatever it is called. A killed run goes on with the same command, shard by shard.
`OUT/labelling/VIDEO/report.html` shows what was read and warns if a video does not look like the game that the model
knows. A video that cannot be read, or not to its end, is named with the reason; the others go on, and the exit status
is 2.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from doom_dream_env.errors import UserError
from doom_dream_env.game.recording import STEPS_PER_SHARD, Origin, ShardWriter, state_origin
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.scenarios.wads import as_text
from doom_dream_env.world_model.files import read_json, sha256, write_json
from training.config import LabelConfig, Split, record_config
from training.data.latents import digest
from training.data.shard_checks import FOOTAGE
from training.evaluation.label_report import FINISHED, BlockNotes, label_table, write_notes, write_report
from training.footage.labelling import Labeller, add_rows, label_block, read_blocks
from training.footage.video import Video, VideoError, find_videos
from training.processes import sole_writer

VAL_SHARE = 0.1  # of the blocks of each video, those that go to the split val; only with the split train
SLUG = 40  # characters of a video's name in the names of its shards
DIGITS = 12  # of the checksum of its bytes, by which it is known


@dataclass(frozen=True)
class Target:
    """Where the labels of one video go.

    Attributes:
        folder: of the shards.
        notes: folder of what is noted of the video, and of its report.
        stem: of the shards' names, behind the split.
        place: of the shards.
        origin: of the video, as far as it was said, now or when it was labelled before.
    """

    folder: Path
    notes: Path
    stem: str
    place: str
    origin: Origin

    def shard(self, split: Split, block: int) -> Path:
        """The shard of a block."""
        return self.folder / f"{split}-{self.stem}-{block:05d}.parquet"

    def shards(self) -> list[Path]:
        """All shards that are written."""
        return sorted(self.folder.glob(f"*-{self.stem}-*.parquet"))

    def finished_blocks(self) -> int:
        """How many blocks were labelled before; what is noted of a block is written last."""
        return len(list(self.notes.glob("[0-9]*.json")))


def label(config: LabelConfig) -> None:
    """Label the videos that are not labelled yet.

    Raises:
        FileNotFoundError: if a path does not exist, or there are no weights.
        ValueError: if videos could not be read, or not to their end: the message names each; the others are labelled.
            If a video was labelled before by another model, or into another split.
    """
    videos = find_videos(config.videos)
    if not videos:
        raise UserError("there is no video to label: python -m training label VIDEO... --out FOLDER")
    scenario = get_scenario(config.scenario, config.map)
    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_model(config.weights)
    checksum = digest(model)
    problems: list[str] = []
    reports: dict[Path, dict[str, Any]] = {}
    unsaid = False
    with sole_writer(config.out / "labelling"):
        record_config(config, config.out / f"label-{config.split}.config.json")
        for number, path in enumerate(videos, 1):
            print(f"[{number}/{len(videos)}] {as_text(path)}", flush=True)
            try:
                video = Video(path, config.threads)
                target = make_target(path, config, scenario, checksum)
                found = label_video(video, target, model, scenario, config)
            except VideoError as error:
                problems.append(str(error))
                continue
            reports[path] = found
            unsaid |= None in (target.origin.source, target.origin.licence)
            for warning in found["warnings"]:
                print(f"  {warning}")
            problems += found["problems"]
    if config.split == "train" and not list((config.out / scenario.name).glob("val-*.parquet")):
        print("nothing went to the split val, which training needs: label another video with --split val")
    if unsaid:
        print("these are not to be published before it is said whose they are: --source and --licence")
    print(f"{label_table(reports)}reports: {config.out / 'labelling'}/*/report.html")
    if problems:
        raise UserError(f"{len(problems)} of {len(videos)} videos: {'; '.join(problems)}")


def load_model(weights: Path | None) -> Any:
    """The inverse dynamics model; see `doom_dream_env.idm.InverseDynamics.from_pretrained`."""
    from doom_dream_env.idm import InverseDynamics

    return InverseDynamics.from_pretrained(weights)


def make_target(path: Path, config: LabelConfig, scenario: Scenario, model: str) -> Target:
    """Where the labels of a video go; the folders are made.

    Args:
        path: the video.
        config: where, and into which split.
        scenario: what is played.
        model: checksum of the model.

    Raises:
        ValueError: if it was labelled before by another model or into another split.
    """
    name = sha256(path)[:DIGITS]
    known = next((config.out / "labelling").glob(f"*-{name}"), None)
    slug = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_")[:SLUG] or "video"
    stem = f"{slug}-{name}" if known is None else known.name
    folder = config.out / scenario.name
    notes = config.out / "labelling" / stem
    place = scenario.place if config.map is not None else f"{scenario.name}:{FOOTAGE}"
    settings = notes / "video.json"
    before = read_json(settings) if settings.exists() else {}
    origin = Origin(config.source or before.get("source"), config.licence or before.get("licence"))
    about = {
        "model": model,
        "split": config.split,
        "val_share": VAL_SHARE,
        "place": place,
        "least_play": config.least_play,
    }
    if changed := [name for name in about if before and before.get(name) != about[name]]:
        raise UserError(
            f"{path} was labelled before with another {', '.join(changed)}; give another --out, or delete "
            f"{notes} and {folder}/*-{stem}-*.parquet"
        )
    folder.mkdir(parents=True, exist_ok=True)
    notes.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"*-{stem}-*.partial"):
        leftover.unlink()
    target = Target(folder, notes, stem, place, origin)
    for shard in target.shards():
        state_origin(shard, origin)
    write_json(settings, about | asdict(origin) | {"video": str(path)})
    return target


def label_video(
    video: Video, target: Target, model: Labeller, scenario: Scenario, config: LabelConfig
) -> dict[str, Any]:
    """Label what is not labelled yet of one video.

    Args:
        video: what is labelled.
        target: where to.
        model: who reads the keys.
        scenario: what is played.
        config: what is kept.

    Returns:
        its report, as in the file.

    Raises:
        VideoError: if not a single frame can be decoded.
    """
    report = target.notes / FINISHED
    if report.exists():
        return read_json(report)
    finished = target.finished_blocks()
    done = min(finished * STEPS_PER_SHARD, video.expected_steps)
    with progress(total=video.expected_steps or None, initial=done, desc=as_text(video.path.name), unit="step") as bar:
        for block in read_blocks(video, finished):
            labelled = label_block(model, block, config.least_play)
            shard = ShardWriter()
            if add_rows(shard, labelled, scenario):
                split = split_of(block.index, config)
                shard.write(target.shard(split, block.index), scenario.name, target.place, target.origin)
            write_notes(target.notes, BlockNotes.of(labelled, kept_times(shard)))
            bar.update(len(labelled))
    write_report(target.notes, video.path, video.problem, config.least_confidence)
    return read_json(report)


def kept_times(shard: ShardWriter) -> list[float]:
    """When the rows of a shard were seen, in seconds."""
    return [float(time) for time in shard.columns.get("video_time", [])]


def split_of(block: int, config: LabelConfig) -> Split:
    """The split that a block goes to: `VAL_SHARE` of them, evenly, to val."""
    if config.split != "train":
        return config.split
    return "val" if int((block + 1) * VAL_SHARE + 0.5) > int(block * VAL_SHARE + 0.5) else "train"
