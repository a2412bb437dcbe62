"""Score an inverse dynamics model where the true keys are known.

    python -m training idm-score --weights runs/idm/weights --data data --maps E1M3 E1M4 MAP05 MAP06
    python -m training idm-score --weights runs/idm/weights --films films/test

Writes `scores.json`, a table `scores.md` and a plot `scores.png`: all together, and by map, player and look. Beside the
model stands persistence (`training.evaluation.key_events`), which reads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from doom_dream_env.errors import UserError
from doom_dream_env.idm import InverseDynamics, Labels
from doom_dream_env.idm.labels import Keys
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import BUTTONS, VARIABLES
from doom_dream_env.world_model.files import write_atomically
from training.config import IDMScoreConfig
from training.data.dataset import Dataset
from training.engine.compute import compute_init
from training.evaluation.figures import panels, save_figure
from training.evaluation.key_events import KeyScores, key_scores, number, persistence
from training.evaluation.tables import markdown_table, short_number

HEALTH = VARIABLES.index("HEALTH")
CHUNK = 256  # frames of a film that are unpacked together
SHORTEST = 16  # steps; shorter stretches of play hold hardly any event
HEALTH_TOLERANCE = 10.0
PLAY = 0.5  # probability from which on a frame counts as play


@dataclass(frozen=True)
class Stretch:
    """Consecutive steps whose keys are known.

    Attributes:
        tags: what it is of: map, player, look.
        labels: what the model says of it, T steps.
        actions: the true keys, (T, 9).
        play: does the frame show play? (T,).
        health: as the game knows it, NaN where there is none, (T,).
        died: did the player die in the step? (T,).
    """

    tags: dict[str, str]
    labels: Labels
    actions: Keys
    play: npt.NDArray[np.bool_]
    health: npt.NDArray[np.float32]
    died: npt.NDArray[np.bool_]


def run(config: IDMScoreConfig) -> None:
    """Score, and write what came out.

    Raises:
        ValueError: if there is nothing to score.
        FileNotFoundError: if weights or data are missing.
    """
    compute = compute_init(config.device, config.threads)
    model = InverseDynamics.from_pretrained(config.weights, compute.device)
    stretches = []
    if config.data is not None:
        stretches += list(recorded(config, model))
    if config.films is not None:
        stretches += list(filmed(config, model))
    if not stretches:
        raise UserError("there is nothing to score: give --data or --films, and maps and players that they hold")
    scores = scored(stretches)
    for name, content in (("scores.json", json.dumps(scores, indent=2) + "\n"), ("scores.md", table(scores))):
        write_atomically(config.out / name, content.encode())
    plot(scores, config.out / "scores.png")
    print(table(scores), end="")


def recorded(config: IDMScoreConfig, model: InverseDynamics) -> Iterator[Stretch]:
    """Every episode of recorded play."""
    assert config.data is not None
    data = Dataset(config.data, ("freedoom",), config.split, keep_frames=False)
    firsts = [int(first) for first in np.unique(data.first)]
    for first in progress(firsts, desc="label", unit="episode"):
        rows = np.arange(first, data.last[first] + 1)
        tags = {
            "map": str(data.place_names[first]).rsplit(":", 1)[-1],
            "player": str(data.behaviour[first]),
            "look": "recorded",
        }
        if len(rows) < SHORTEST or not wanted(tags, config):
            continue
        yield Stretch(
            tags=tags,
            labels=model.label(data.frames(rows)),
            actions=data.actions[rows],
            play=np.ones(len(rows), bool),
            health=data.variables[rows, HEALTH],
            died=data.terminated[rows] & (data.next_variables[rows, HEALTH] <= 0),
        )


def filmed(config: IDMScoreConfig, model: InverseDynamics) -> Iterator[Stretch]:
    """Every film."""
    from training.footage.film_windows import known_films  # which loads PyAV

    assert config.films is not None
    for film in known_films(config.films):
        tags = {name: str(film.about[name]) for name in ("map", "player", "look")}
        if len(film) < SHORTEST or not wanted(tags, config):
            continue
        chunks = (film.window(begin, min(begin + CHUNK, len(film))).frames for begin in range(0, len(film), CHUNK))
        yield Stretch(
            tags=tags,
            labels=Labels.joined(list(model.label_stream(chunks))),
            actions=film.truth.actions,
            play=film.truth.play,
            health=film.truth.health,
            died=film.truth.died,
        )


def wanted(tags: dict[str, str], config: IDMScoreConfig) -> bool:
    """Is this map and player to be scored?"""
    return tags["map"] in (config.maps or (tags["map"],)) and tags["player"] in (config.players or (tags["player"],))


# ---- figures ---------------------------------------------------------------------------------------------------------


def scored(stretches: Sequence[Stretch]) -> dict[str, dict[str, object]]:
    """Scores of all stretches together ("all"), and of those that share a tag ("map E1M3")."""
    groups: dict[str, list[Stretch]] = {"all": list(stretches)}
    for stretch in stretches:
        for kind, name in stretch.tags.items():
            groups.setdefault(f"{kind} {name}", []).append(stretch)
    return {name: scores_of(groups[name]) for name in ["all", *sorted(set(groups) - {"all"})]}


def scores_of(stretches: Sequence[Stretch]) -> dict[str, object]:
    """Scores of some stretches as plain values."""
    parts = [part for stretch in stretches for part in played(stretch)]
    true = [actions for actions, _ in parts]
    scores: KeyScores = key_scores(true, [read for _, read in parts])
    stale = key_scores(true, persistence(true))
    said = np.concatenate([stretch.labels.play for stretch in stretches]) >= PLAY
    play = np.concatenate([stretch.play for stretch in stretches])
    return scores.to_dict() | {
        "persistence": {"event_f1": number(stale.mean_f1), "accuracy": number(stale.accuracy)},
        "persistence_f1": {name: number(value) for name, value in zip(BUTTONS, stale.f1, strict=True)},
        "health": health_scores(stretches),
        "play_kept": number(share(said, play)),
        "other_kept": number(share(said, ~play)),
    }


def played(stretch: Stretch) -> Iterator[tuple[Keys, Keys]]:
    """True and read keys of each uninterrupted part that is play."""
    edges = np.flatnonzero(np.diff(np.r_[False, stretch.play, False].astype(np.int8)))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= SHORTEST:
            yield stretch.actions[begin:end], stretch.labels.actions[begin:end]


def share(hits: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float:
    """Share of the hits among some steps; NaN if there are none."""
    return float(hits[among].mean()) if among.any() else float("nan")


def health_scores(stretches: Sequence[Stretch]) -> dict[str, object]:
    """In how many steps health was read, and in how many of these rightly."""
    true = np.concatenate([stretch.health for stretch in stretches])
    read = np.concatenate([stretch.labels.health for stretch in stretches])
    known = np.isfinite(true)
    both = known & np.isfinite(read)
    right = np.abs(np.where(both, read - true, np.inf)) <= HEALTH_TOLERANCE
    return {"read": number(share(both, known)), "right": number(share(right, both))}


# ---- for people ------------------------------------------------------------------------------------------------------


def table(scores: dict[str, dict[str, object]]) -> str:
    """A Markdown table: a row for each group, the F1 of each key at the end."""
    keys = [name.removeprefix("MOVE_").lower() for name in BUTTONS]
    header = ["play", "steps", "event F1", "persistence", "all visible right", "all nine right", *keys]

    def row(name: str, values: dict[str, object]) -> list[str]:
        stale = values["persistence"]
        by_key = values["keys"]
        assert isinstance(stale, dict) and isinstance(by_key, dict)
        figures = [values["steps"], values["event_f1"], stale["event_f1"]]
        figures += [values["accuracy"], values["accuracy_of_all_nine"]]
        return [name, *map(short_number, figures + [by_key[key]["f1"] for key in BUTTONS])]

    return markdown_table(header, [row(name, values) for name, values in scores.items()])


def plot(scores: dict[str, dict[str, object]], path: Path) -> None:
    """Event F1 of each key of all play, beside persistence."""
    together = scores["all"]
    by_key = together["keys"]
    stale = together["persistence_f1"]
    assert isinstance(by_key, dict) and isinstance(stale, dict)
    figure, (axis,) = panels(size=(7.0, 3.2), title=f"key events, within a step, {together['steps']:,} steps", y="F1")
    places = np.arange(len(BUTTONS))
    width = 0.4
    axis.bar(places - width / 2, [by_key[key]["f1"] or 0.0 for key in BUTTONS], width, label="read")
    axis.bar(places + width / 2, [stale[key] or 0.0 for key in BUTTONS], width, label="persistence")
    axis.set_xticks(places, [key.replace("_", "\n").lower() for key in BUTTONS])
    axis.set_ylim(0, 1)
    axis.legend(fontsize=7)
    save_figure(figure, path)
