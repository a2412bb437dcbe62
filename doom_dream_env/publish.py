"""`dream-doom push`: weights, players and datasets to the Hugging Face hub, with the card that its pages read.

What lies in a folder says what it is. Files go to the hub as they are, so what is fetched has the same checksums; only
the card is made anew: its metadata (licence, library, tags, measured results as a model index, configurations and
splits of a dataset) are what the hub searches and shows.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doom_dream_env.hub import reason, split_name, unreachable
from doom_dream_env.mistakes import UserError
from doom_dream_env.quality import best_world, transfer_scores
from doom_dream_env.world_model import files

LIBRARY = "doom-dream-env"
TAGS = ["world-model", "reinforcement-learning", "vizdoom", "doom"]
TASK = "reinforcement-learning"
NOTICE = "NOTICE.md"
SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as shards are named, and as the hub names splits
# Licences of pictures that the hub abbreviates; it refuses a card with any other word.
LICENCES = r"bsd-3-clause|mit|apache-2\.0|gpl-[23]\.0|unlicense|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[34]\.0"

# Figures of a scorecard that go into the model index, and their names there.
SCORES = {
    "skill_1": "latent skill after 1 step",
    "skill_16": "latent skill after 16 steps, open loop",
    "psnr_16": "PSNR after 16 steps, open loop",
    "death_auc": "AUC of the risk of termination",
    "noop_length_ratio": "episode length of doing nothing, dream over game",
}


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


def push(name: str, folder: Path, *, private: bool = False, message: str | None = None) -> str:
    """Send a folder of weights, a player or a dataset to the hub, in one commit.

    A push that was interrupted goes on when it is given again: what the hub has is not sent twice.

    Args:
        name: `owner/name`, or `owner/name@branch`; made if it does not exist. `owner/name@refs/pr/1` is a pull request
            that is open.
        folder: what to send.
        private: make a new repository private.
        message: of the commit.

    Returns:
        the address of the repository.

    Raises:
        FileNotFoundError: if the folder holds nothing of the kind.
        UserError: if it is damaged, if its frames may not be passed on, or if no repository can have such a name.
        ConnectionError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    found = split_name(name)
    if found is None:
        raise UserError(f"{name!r} is no name on the hub: give owner/name")
    repository, branch = found
    upload = prepared(folder, repository)
    metadata, text = upload.card
    sent: dict[str, Path | bytes] = {own: folder / own for own in upload.names}
    sent[files.CARD] = f"---\n{metadata.to_yaml().strip()}\n---\n\n{text.strip()}\n".encode()
    if upload.shows_freedoom:
        sent[NOTICE] = notice()
    api = HfApi(library_name=LIBRARY)
    kind: dict[str, Any] = {"repo_type": upload.repo_type}
    try:
        url = api.create_repo(repository, private=private or None, exist_ok=True, **kind)
        if branch is not None and not api.revision_exists(repository, branch, **kind):
            api.create_branch(repository, branch=branch, exist_ok=True, **kind)
        api.create_commit(
            repository,
            [CommitOperationAdd(path, content) for path, content in sent.items()],
            commit_message=message or f"{upload.what} by dream-doom push",
            revision=branch,
            **kind,
        )
    except errors.HFValidationError as error:
        raise UserError(f"no repository on the hub can be called {name!r}: {reason(error)}") from error
    except unreachable() as error:
        raise ConnectionError(
            f"{repository} at {api.endpoint} could not be written ({reason(error)}); log in with `hf auth login`, see "
            "that the owner is you, and give the same command again"
        ) from error
    return str(url)


def prepared(folder: Path, repository: str) -> Upload:
    """What goes to the hub of a folder, checked.

    Raises:
        FileNotFoundError: if it holds neither weights nor a player nor shards.
        UserError: if it is damaged, or its frames may not be passed on.
    """
    kinds = {
        files.MANIFEST: weights,
        "agent.json": agent,
        "policy.json": action_policy,
        "idm.safetensors": inverse_dynamics,
    }
    for name, describe in kinds.items():
        if (folder / name).is_file():
            return describe(folder, repository)
    shards = [path for path in sorted(folder.glob("*/*.parquet")) if path.name.partition("-")[0] in SPLITS]
    if shards:
        return dataset_upload(shards, repository)
    raise FileNotFoundError(
        f"{folder} holds nothing to push: expected {', '.join(kinds)}, or a dataset (SCENARIO/train-*.parquet)"
    )


def notice() -> bytes:
    """Freedoom's notice, which travels with its graphics and with what was learned from them."""
    path = Path(__file__).resolve().parent.parent / NOTICE
    if path.is_file():
        return path.read_bytes()
    return (importlib.metadata.distribution(LIBRARY).read_text(f"licenses/{NOTICE}") or "").encode()


# ---- models ----------------------------------------------------------------------------------------------------------


def weights(folder: Path, repository: str) -> Upload:
    """A set of weights with its scorecard and pictures."""
    from huggingface_hub import ModelCard

    manifest = files.check(folder)
    own = folder / files.CARD
    scorecard = folder / files.SCORECARD
    worlds = files.read_json(scorecard).get("worlds", {}) if scorecard.is_file() else {}
    pictures = [path.name for path in (*folder.glob("*.png"), *folder.glob(files.SCORECARD))]
    return model_upload(
        repository,
        what=f"weights {manifest['fingerprint']}",
        names=[*files.CHECKED, files.MANIFEST, *pictures],
        use=f"""import gymnasium as gym
import doom_dream_env

env = gym.make("DreamDoom-v0", scenario="{best_world(folder)}", weights="{repository}")
model = doom_dream_env.WorldModel.from_pretrained("{repository}")""",
        about=ModelCard.load(own).text if own.is_file() else "",
        results=[
            result(name, key, scores[key], shown)
            for name, scores in worlds.items()
            for key, shown in SCORES.items()
            if key in scores
        ],
    )


def agent(folder: Path, repository: str) -> Upload:
    """An agent; with its score in the real game where it is one that ships, whose score was measured."""
    from doom_dream_env.agents import agent

    card = agent.check(folder)
    is_shipped = folder.resolve().parent == agent.SHIPPED
    scores = transfer_scores(card.fingerprint).get(card.scenario) if is_shipped else None
    return model_upload(
        repository,
        what=f"agent of {card.scenario}",
        names=[agent.CARD, agent.TENSORS],
        use=f'from doom_dream_env.agents import Agent\n\nagent = Agent.load("{repository}")',
        about=f"Plays {card.scenario} through the weights {card.fingerprint} (`{card.weights}`), trained in their "
        "dream.",
        settings=card.hyper_parameters,
        # As Stable-Baselines3's agents on the hub give it.
        results=[result(card.scenario, "mean_reward", "{} +/- {}".format(*scores.agent))] if scores else [],
    )


def action_policy(folder: Path, repository: str) -> Upload:
    """An action policy, cloned from others' play."""
    from doom_dream_env.agents import action_policy

    config = action_policy.check(folder)
    return model_upload(
        repository,
        what="action policy",
        names=[action_policy.CARD, action_policy.TENSORS],
        use=f"from doom_dream_env.agents.action_policy import ActionPolicy\n\n"
        f'policy = ActionPolicy.load("{repository}")',
        about=f"Plays {', '.join(config.scenarios)} through the weights {config.fingerprint} (`{config.weights}`).",
        settings=config.training,
    )


def inverse_dynamics(folder: Path, repository: str) -> Upload:
    """An inverse dynamics model, which reads keys off pictures."""
    from doom_dream_env.idm import model

    model.read_files(folder)
    return model_upload(
        repository,
        what="inverse dynamics model",
        names=[files.CONFIG, model.WEIGHTS],
        use=f"""from doom_dream_env.idm import InverseDynamics

labels = InverseDynamics.from_pretrained("{repository}").label(frames)  # uint8 (T, 120, 160, 3), 8.75 a second""",
        about=f"Reads the nine keys off gameplay pictures: `python -m training label play.mp4 --weights {repository}`.",
    )


def model_upload(
    repository: str,
    *,
    what: str,
    names: list[str],
    use: str,
    about: str,
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
        settings: how it was trained.
        results: of measurements, for the model index.
    """
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        license="mit",
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=TAGS,
        model_name=repository.partition("/")[2] if results else None,
        eval_results=list(results) or None,
    )
    text = f"`pip install {LIBRARY}`\n\n```python\n{use}\n```\n\n{about}"
    if settings:
        text += "\n\n## Training\n\n" + "\n".join(f"* {key}: {value}" for key, value in settings.items())
    return Upload(what, names, (metadata, text))


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


# ---- datasets --------------------------------------------------------------------------------------------------------


def dataset_upload(shards: list[Path], repository: str) -> Upload:
    """Recorded play, with one configuration for each scenario: `load_dataset("owner/name", "take_cover")`."""
    from huggingface_hub import DatasetCardData

    from doom_dream_env.recording import FREEDOOM, Origin, publishable_origin

    found: dict[str, Counter[str]] = {}
    origins: Counter[Origin] = Counter()
    for path in shards:
        origins[publishable_origin(path)] += 1
        found.setdefault(path.parent.name, Counter())[path.name.partition("-")[0]] += 1
    licences = {str(origin.licence).lower() for origin in origins}
    licence = licences.pop() if len(licences) == 1 else "see the table of sources"
    known = re.fullmatch(LICENCES, licence)
    metadata = DatasetCardData(
        license=licence if known else "other",
        license_name=None if known else licence,
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
    sources = "\n".join(f"| {origin.source} | {origin.licence} | {count} |" for origin, count in origins.items())
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
{sources}
"""
    if FREEDOOM in origins:
        text += f"\nFreedoom's licence is in {NOTICE}.\n"
    names = [f"{path.parent.name}/{path.name}" for path in shards]
    return Upload(f"{origins.total()} shards", names, (metadata, text), "dataset", FREEDOOM in origins)
