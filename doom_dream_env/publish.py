"""`dream-doom push`: weights, agents and datasets to the Hugging Face hub, with the card that its pages read.

What lies in a folder says what it is. Files go to the hub as they are, so what is fetched has the same checksums; only
the card is made anew: its metadata (licence, library, tags, measured results as a model index, configurations and
splits of a dataset) are what the hub searches and shows.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doom_dream_env.hub import Kind, reason, split_name, unreachable
from doom_dream_env.quality import best_world, transfer_scores
from doom_dream_env.world_model import files

LIBRARY = "doom-dream-env"
TAGS = ["world-model", "reinforcement-learning", "vizdoom", "doom"]
TASK = "reinforcement-learning"
AGENT = ("agent.json", "agent.safetensors")
NOTICE = "NOTICE.md"
FREE_GRAPHICS = "freedoom"  # the only game data whose frames may be passed on
SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as shards are named, and as the hub names splits
FILES_PER_COMMIT = 200

# Figures of a scorecard that go into the model index, and their names there.
SCORES = {
    "skill_1": "latent skill after 1 step",
    "skill_16": "latent skill after 16 steps, open loop",
    "psnr_16": "PSNR after 16 steps, open loop",
    "death_auc": "AUC of the risk of termination",
    "noop_length_ratio": "episode length of doing nothing, dream over game",
}

Parts = dict[str, "Path | bytes"]
"""Paths in the repository, and what goes there."""


@dataclass(frozen=True)
class Upload:
    """What a push sends.

    Attributes:
        kind: of repository.
        what: for people.
        parts: the files; the card comes last, so that a repository with one is whole.
    """

    kind: Kind
    what: str
    parts: Parts


def push(name: str, folder: Path, *, private: bool = False, message: str | None = None) -> str:
    """Send a folder of weights, an agent or a dataset to the hub.

    A push that was interrupted goes on when it is given again: what the hub has is not sent twice.

    Args:
        name: `owner/name`, or `owner/name@branch`; made if it does not exist.
        folder: what to send.
        private: make a new repository private.
        message: of the commit.

    Returns:
        the address of the repository.

    Raises:
        FileNotFoundError: if the folder holds none of the three.
        ValueError: if it is damaged, or its frames may not be passed on.
        ConnectionError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    found = split_name(name)
    if found is None:
        raise ValueError(f"{name!r} is no name on the hub: give owner/name")
    repository, branch = found
    upload = prepared(folder, repository)
    api = HfApi(library_name=LIBRARY)
    try:
        url = api.create_repo(repository, repo_type=upload.kind, private=private or None, exist_ok=True)
        if branch is not None:
            api.create_branch(repository, branch=branch, repo_type=upload.kind, exist_ok=True)
        operations = [CommitOperationAdd(path, content) for path, content in upload.parts.items()]
        for begin in range(0, len(operations), FILES_PER_COMMIT):
            api.create_commit(
                repository,
                operations[begin : begin + FILES_PER_COMMIT],
                commit_message=message or f"{upload.what} by dream-doom push",
                repo_type=upload.kind,
                revision=branch,
            )
    except unreachable() as error:
        raise ConnectionError(
            f"{repository} at {api.endpoint} could not be written ({reason(error)}); log in with `hf auth login`, see "
            "that the owner is you, and give the same command again"
        ) from error
    return str(url)


def prepared(folder: Path, repository: str) -> Upload:
    """What goes to the hub of a folder, checked.

    Raises:
        FileNotFoundError: if it holds neither weights nor an agent nor shards.
        ValueError: if it is damaged, or its frames may not be passed on.
    """
    if (folder / files.MANIFEST).is_file():
        return weights_upload(folder, repository)
    if (folder / AGENT[0]).is_file():
        return agent_upload(folder, repository)
    if any(shards(folder)):
        return dataset_upload(folder, repository)
    raise FileNotFoundError(
        f"{folder} holds nothing to push: expected weights ({files.MANIFEST}), an agent ({AGENT[0]}), or a dataset "
        "(SCENARIO/train-*.parquet)"
    )


def notice() -> bytes:
    """Freedoom's notice, which travels with its graphics and with what was learned from them."""
    root = Path(__file__).resolve().parent.parent
    if (root / NOTICE).is_file():
        return (root / NOTICE).read_bytes()
    return (importlib.metadata.distribution(LIBRARY).read_text(f"licenses/{NOTICE}") or "").encode()


# ---- weights ---------------------------------------------------------------------------------------------------------


def weights_upload(folder: Path, repository: str) -> Upload:
    """A set of weights with its scorecard and pictures."""
    manifest = files.check(folder)
    parts: Parts = {name: folder / name for name in files.CHECKED}
    parts |= {path.name: path for path in sorted(folder.glob("*.png"))}
    results = []
    if (folder / "scorecard.json").is_file():
        parts["scorecard.json"] = folder / "scorecard.json"
        results = scorecard_results(files.read_json(folder / "scorecard.json"))
    parts[NOTICE] = notice()
    parts[files.MANIFEST] = folder / files.MANIFEST
    use = f"""```python
import gymnasium as gym
import doom_dream_env

env = gym.make("DreamDoom-v0", scenario="{best_world(folder)}", weights="{repository}")
model = doom_dream_env.WorldModel.from_pretrained("{repository}")
```"""
    own = (folder / files.CARD).read_text("utf-8") if (folder / files.CARD).is_file() else ""
    parts[files.CARD] = model_card(repository, results, "mit", use, without_metadata(own))
    return Upload("model", f"weights {manifest['fingerprint']}", parts)


def scorecard_results(scorecard: dict[str, Any]) -> list[Any]:
    """The figures of a scorecard as a model index has them, by scenario."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=TASK,
            task_name="world model",
            dataset_type=scenario,
            dataset_name=f"ViZDoom {scenario}",
            metric_type=key,
            metric_name=name,
            metric_value=scores[key],
        )
        for scenario, scores in scorecard.get("worlds", {}).items()
        for key, name in SCORES.items()
        if key in scores
    ]


# ---- agents ----------------------------------------------------------------------------------------------------------


def agent_upload(folder: Path, repository: str) -> Upload:
    """An agent; with its score in the real game where it is one that ships."""
    from doom_dream_env.agents import Agent

    card = Agent.load(folder).card
    scores = transfer_scores(card.fingerprint).get(card.scenario) if is_shipped(folder) else None
    results = [] if scores is None else [agent_result(card.scenario, *scores.agent)]
    use = f"""```python
from doom_dream_env.agents import Agent

agent = Agent.load("{repository}")
```

Plays {card.scenario} through the weights {card.fingerprint} (`{card.weights}`), in whose dream it was trained."""
    about = "\n".join(f"* {key}: {value}" for key, value in card.hyper_parameters.items())
    parts: Parts = {name: folder / name for name in AGENT}
    parts[files.CARD] = model_card(repository, results, "mit", use, f"## Training\n\n{about}\n" if about else "")
    return Upload("model", f"agent of {card.scenario}", parts)


def is_shipped(folder: Path) -> bool:
    """Is this the folder of an agent of the package, whose score was measured?"""
    return folder.resolve().parent == Path(__file__).resolve().parent / "agents"


def agent_result(scenario: str, mean: float, margin: float) -> Any:
    """A mean return as Stable-Baselines3's agents on the hub give it."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=TASK,
        dataset_type=scenario,
        dataset_name=f"ViZDoom {scenario}",
        metric_type="mean_reward",
        metric_name="mean_reward",
        metric_value=f"{mean} +/- {margin}",
    )


# ---- datasets --------------------------------------------------------------------------------------------------------


def shards(folder: Path) -> Iterator[Path]:
    """All shards of a dataset."""
    for path in sorted(folder.glob("*/*.parquet")):
        if path.name.partition("-")[0] in SPLITS:
            yield path


def dataset_upload(folder: Path, repository: str) -> Upload:
    """Recorded play, with one configuration for each scenario: `load_dataset("owner/name", "take_cover")`."""
    from huggingface_hub import DatasetCardData

    parts: Parts = {}
    found: dict[str, dict[str, int]] = {}
    for path in shards(folder):
        check_shard(path)
        split = path.name.partition("-")[0]
        counts = found.setdefault(path.parent.name, {})
        counts[split] = counts.get(split, 0) + 1
        parts[f"{path.parent.name}/{path.name}"] = path
    configs = [
        {
            "config_name": scenario,
            "data_files": [
                {"split": SPLITS[split], "path": f"{scenario}/{split}-*.parquet"} for split in SPLITS if split in counts
            ],
        }
        for scenario, counts in found.items()
    ]
    metadata = DatasetCardData(
        license="bsd-3-clause",
        task_categories=[TASK],
        tags=[*TAGS, LIBRARY],
        pretty_name=f"{repository.partition('/')[2]}: recorded DOOM",
        configs=configs,
    ).to_yaml()
    rows = "\n".join(
        f"| {scenario} | {' | '.join(str(counts.get(split, 0)) for split in SPLITS)} |"
        for scenario, counts in found.items()
    )
    first = next(iter(found))
    card = f"""---
{metadata.strip()}
---

# {repository}

Play of ViZDoom with Freedoom's graphics, recorded by `python -m training collect` of DreamDoom. One row is one step of
four tics: the frame, the nine buttons that were pressed after it, and what the step returned.

```python
import numpy as np
import pyarrow as pa
from datasets import load_dataset

steps = load_dataset("{repository}", "{first}", split="train", streaming=True)
row = next(iter(steps))
frame = np.frombuffer(pa.Codec("lz4_raw").decompress(row["frame"], 120 * 160 * 3), np.uint8).reshape(120, 160, 3)
```

| shards of | {" | ".join(SPLITS.values())} |
|---|---|---|---|
{rows}

The frames show Freedoom's graphics, whose licence is in {NOTICE}.
"""
    parts[NOTICE] = notice()
    parts[files.CARD] = card.encode()
    return Upload("dataset", f"{len(parts) - 2} shards", parts)


def check_shard(path: Path) -> None:
    """See that a shard is whole and that its frames may be passed on.

    Raises:
        ValueError: if not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        place = json.loads(pq.read_schema(path).metadata[b"doom_dream_env"])["place"]
    except (pa.ArrowException, OSError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run the collector again") from error
    scenario, *more = place.split(":")
    if scenario == FREE_GRAPHICS and len(more) > 1 and not more[0].startswith(FREE_GRAPHICS):
        raise ValueError(f"{path} shows the graphics of {more[0]}, which may not be passed on; leave it out")


# ---- cards -----------------------------------------------------------------------------------------------------------


def model_card(repository: str, results: list[Any], licence: str, use: str, body: str) -> bytes:
    """A model card with the metadata that the hub reads.

    Args:
        repository: `owner/name`.
        results: of measurements, `EvalResult`s.
        licence: as the hub abbreviates it.
        use: how to load it, Markdown.
        body: what else there is to say, Markdown.
    """
    from huggingface_hub import ModelCardData

    name = repository.partition("/")[2]
    metadata = ModelCardData(
        license=licence,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=TAGS,
        model_name=name if results else None,
        eval_results=results or None,
    ).to_yaml()
    return f"---\n{metadata.strip()}\n---\n\n`pip install {LIBRARY}`\n\n{use}\n\n{body.strip()}\n".encode()


def without_metadata(card: str) -> str:
    """A card's Markdown without the block of metadata at its top."""
    if card.startswith("---\n") and "\n---\n" in card:
        return card.partition("\n---\n")[2]
    return card
