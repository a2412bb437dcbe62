"""What goes to the Hugging Face hub of a model or a dataset, with the card that its pages read.

The metadata of a card (licence, library, tags, measured results as a model index, configurations and splits of a
dataset) are what the hub searches and shows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doom_dream_env.world_model.origins import FREEDOOM, Origin

LIBRARY = "doom-dream-env"
TAGS = ["world-model", "reinforcement-learning", "vizdoom", "doom"]
TASK = "reinforcement-learning"
NOTICE = "NOTICE.md"
SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as shards are named, and as the hub names splits
# Licences of pictures that the hub abbreviates; it refuses a card with any other word.
LICENCES = r"bsd-3-clause|mit|apache-2\.0|gpl-[23]\.0|unlicense|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[34]\.0"


@dataclass(frozen=True)
class Upload:
    """What a push sends beside the notice.

    Attributes:
        what: for people.
        names: files of the folder, by their paths in it.
        card: `ModelCardData` or `DatasetCardData` and the Markdown below it.
        repo_type: "model" or "dataset".
        shows_freedoom: Freedoom's notice goes along.
    """

    what: str
    names: list[str]
    card: tuple[Any, str]
    repo_type: str = "model"
    shows_freedoom: bool = True


def model_upload(
    repository: str,
    *,
    what: str,
    names: list[str],
    use: str,
    about: str,
    origins: Sequence[Origin],
    settings: Mapping[str, Any] | None = None,
    results: Sequence[Any] = (),
) -> Upload:
    """A model with the card that the hub reads.

    Args:
        repository: `owner/name`.
        what: for people.
        names: of its files.
        use: how to load it, Python.
        about: what else there is to say, Markdown.
        origins: whose pictures it learned from.
        settings: how it was trained.
        results: of measurements, for the model index.
    """
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        **licence_of([origin for origin in origins if origin != FREEDOOM] or [Origin(None, "mit")]),
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=TAGS,
        model_name=repository.partition("/")[2] if results else None,
        eval_results=list(results) or None,
    )
    text = f"`pip install {LIBRARY}`\n\n```python\n{use}\n```\n\n{about}"
    if settings:
        text += "\n\n## Training\n\n" + "\n".join(f"* {key}: {value}" for key, value in settings.items())
    text += f"\n\n## Sources\n\n{sources(origins)}"
    return Upload(what, names, (metadata, text), shows_freedoom=FREEDOOM in origins)


def dataset_upload(shards: list[Path], repository: str) -> Upload:
    """Recorded play, with one configuration for each scenario: `load_dataset("owner/name", "take_cover")`."""
    from huggingface_hub import DatasetCardData

    from doom_dream_env.game.recording import publishable_origin

    found: dict[str, Counter[str]] = {}
    origins: Counter[Origin] = Counter()
    for path in shards:
        origins[publishable_origin(path)] += 1
        found.setdefault(path.parent.name, Counter())[path.name.partition("-")[0]] += 1
    metadata = DatasetCardData(
        **licence_of(origins),
        task_categories=[TASK],
        tags=[*TAGS, LIBRARY],
        pretty_name=f"{repository.partition('/')[2]}: recorded DOOM",
        configs=[
            {
                "config_name": scenario,
                "data_files": [
                    {"split": shown, "path": f"{scenario}/{split}-*.parquet"}
                    for split, shown in SPLITS.items()
                    if split in counts
                ],
            }
            for scenario, counts in found.items()
        ],
    )
    frames = "\n".join(f"| {cells(origin)} | {count} |" for origin, count in origins.items())
    rows = "\n".join(f"| {name} | {' | '.join(str(counts[s]) for s in SPLITS)} |" for name, counts in found.items())
    text = f"""# {repository}

Play of DOOM, recorded by DreamDoom (`{LIBRARY}`) or read off videos. One row is one step of four tics: the frame, the
nine buttons that were pressed after it, and what the step returned.

```python
import numpy as np
import pyarrow as pa
from datasets import load_dataset

steps = load_dataset("{repository}", "{next(iter(found))}", split="train", streaming=True)
row = next(iter(steps))
frame = np.frombuffer(pa.Codec("lz4_raw").decompress(row["frame"], 120 * 160 * 3), np.uint8).reshape(120, 160, 3)
```

| shards of | {" | ".join(SPLITS.values())} |
|---|---|---|---|
{rows}

| frames of | licence | shards |
|---|---|---|
{frames}
"""
    if FREEDOOM in origins:
        text += f"\nFreedoom's licence is in {NOTICE}.\n"
    names = [f"{path.parent.name}/{path.name}" for path in shards]
    return Upload(f"{origins.total()} shards", names, (metadata, text), "dataset", FREEDOOM in origins)


def licence_of(origins: Iterable[Origin]) -> dict[str, Any]:
    """The licence of what comes of several origins, as the metadata of a card name it."""
    licences = {str(origin.licence).lower() for origin in origins}
    licence = licences.pop() if len(licences) == 1 else "see the table of sources"
    known = re.fullmatch(LICENCES, licence)
    return {"license": licence if known else "other", "license_name": None if known else licence}


def cells(origin: Origin) -> str:
    """Two cells of a table in Markdown."""
    texts = (" ".join(str(text).split()).replace("|", "\\|") for text in (origin.source, origin.licence))
    return " | ".join(texts)


def sources(origins: Iterable[Origin]) -> str:
    """A table of what a model learned from, Markdown."""
    rows = "".join(f"\n| {cells(origin)} |" for origin in origins)
    return f"| learned from | licence |\n|---|---|{rows}"


def result(scenario: str, metric: str, value: Any, shown: str = "") -> Any:
    """A measurement, as a model index has it."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=TASK,
        dataset_type=scenario,
        dataset_name=f"ViZDoom {scenario}",
        metric_type=metric,
        metric_name=shown or metric,
        metric_value=value,
    )
