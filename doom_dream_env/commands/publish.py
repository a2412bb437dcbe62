"""`dream-doom push`: weights, players and datasets to the Hugging Face hub, with the card that its pages read.

What lies in a folder says what it is. Files go to the hub as they are, so what is fetched has the same checksums; only
the card is made anew: its metadata (licence, library, tags, measured results as a model index, configurations and
splits of a dataset) are what the hub searches and shows.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doom_dream_env.agents.quality import best_world, transfer_scores
from doom_dream_env.errors import UserError
from doom_dream_env.world_model import files
from doom_dream_env.world_model.hub import reason, split_name, unreachable
from doom_dream_env.world_model.origins import FREEDOOM, NOT_SAID, Origin, together

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


def push(name: str, folder: Path, *, private: bool = False, message: str | None = None, said: Origin = NOT_SAID) -> str:
    """Send a folder of weights, a player or a dataset to the hub, in one commit.

    A push that was interrupted goes on when it is given again: what the hub has is not sent twice.

    Args:
        name: `owner/name`, or `owner/name@branch`; made if it does not exist. `owner/name@refs/pr/1` is a pull request
            that is open.
        folder: what to send.
        private: make a new repository private.
        message: of the commit.
        said: whose pictures it was that a model learned from, where its files do not say it.

    Returns:
        the address of the repository.

    Raises:
        FileNotFoundError: if the folder holds nothing of the kind.
        UserError: if it is damaged, if it is not known under which licence its frames, or those that it learned from,
            may be passed on, or if no repository can have such a name.
        ConnectionError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    found = split_name(name)
    if found is None:
        raise UserError(f"{name!r} is no name on the hub: give owner/name")
    repository, branch = found
    upload = prepared(folder, repository, said)
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


def prepared(folder: Path, repository: str, said: Origin = NOT_SAID) -> Upload:
    """What goes to the hub of a folder, checked.

    Raises:
        FileNotFoundError: if it holds neither weights nor a player nor shards.
        UserError: as for `push`.
    """
    kinds = {
        files.MANIFEST: weights,
        "agent.json": agent,
        "policy.json": action_policy,
        "idm.safetensors": inverse_dynamics,
    }
    for name, describe in kinds.items():
        if (folder / name).is_file():
            return describe(folder, repository, said)
    shards = [path for path in sorted(folder.glob("*/*.parquet")) if path.name.partition("-")[0] in SPLITS]
    if shards:
        if said != NOT_SAID:
            raise UserError(f"{folder} is a dataset: every shard says whose it is, so leave out --source and --licence")
        return dataset_upload(shards, repository)
    raise FileNotFoundError(
        f"{folder} holds nothing to push: expected {', '.join(kinds)}, or a dataset (SCENARIO/train-*.parquet)"
    )


def notice() -> bytes:
    """Freedoom's notice, which travels with its graphics and with what was learned from them."""
    path = Path(__file__).resolve().parents[2] / NOTICE
    if path.is_file():
        return path.read_bytes()
    return (importlib.metadata.distribution(LIBRARY).read_text(f"licenses/{NOTICE}") or "").encode()


# ---- models ----------------------------------------------------------------------------------------------------------


def weights(folder: Path, repository: str, said: Origin) -> Upload:
    """A set of weights with its scorecard and pictures."""
    from huggingface_hub import ModelCard

    origins = publishable_origins(folder, files.origins_of(folder), said)
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
        origins=origins,
        results=[
            result(name, key, scores[key], shown)
            for name, scores in worlds.items()
            for key, shown in SCORES.items()
            if key in scores
        ],
    )


def agent(folder: Path, repository: str, said: Origin) -> Upload:
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
        origins=publishable_origins(folder, origins_of_weights(card.weights, card.fingerprint), said),
        settings=card.hyper_parameters,
        # As Stable-Baselines3's agents on the hub give it.
        results=[result(card.scenario, "mean_reward", "{} +/- {}".format(*scores.agent))] if scores else [],
    )


def action_policy(folder: Path, repository: str, said: Origin) -> Upload:
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
        origins=publishable_origins(folder, origins_of_weights(config.weights, config.fingerprint), said),
        settings=config.training,
    )


def inverse_dynamics(folder: Path, repository: str, said: Origin) -> Upload:
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
        origins=publishable_origins(folder, model.origins_of(folder), said),
    )


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


def publishable_origins(folder: Path, found: Iterable[Origin], said: Origin) -> tuple[Origin, ...]:
    """Whose pictures a model learned from, if it is known under which licence those may be passed on.

    Args:
        folder: of the model.
        found: what is known of itself.
        said: what is not known otherwise.

    Raises:
        UserError: if it is not, or was known without being said; the message says what to do.
    """
    found = tuple(found)
    if said != NOT_SAID and all(each.source and each.licence for each in found):
        raise UserError(f"{folder} says itself what it learned from, so leave out --source and --licence")
    origins = together(Origin(each.source or said.source, each.licence or said.licence) for each in found)
    for origin in origins:
        if not origin.source or not origin.licence:
            raise UserError(
                f"{folder} learned from {origin.source or 'pictures of an unknown source'}, and it is not said under "
                "which licence they may be passed on: give --licence (where the source is unknown --source, too)"
            )
    return origins


def origins_of_weights(name: str, fingerprint: str) -> tuple[Origin, ...]:
    """Whose pictures the weights learned from that a player sees through; unknown if those are not to be had."""
    try:
        folder = files.find_weights(name)
        return files.origins_of(folder) if files.fingerprint_of(folder) == fingerprint else (NOT_SAID,)
    except (OSError, ValueError):
        return (NOT_SAID,)


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


# ---- datasets --------------------------------------------------------------------------------------------------------


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
