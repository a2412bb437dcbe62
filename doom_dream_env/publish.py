"""`dream-doom push`: weights, players and datasets to the Hugging Face hub, with the card that its pages read.

What lies in a folder says what it is. Files go to the hub as they are, so what is fetched has the same checksums; only
the card is made anew: its metadata (licence, library, tags, measured results as a model index, configurations and
splits of a dataset) are what the hub searches and shows.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doom_dream_env.hub import reason, split_name, unreachable
from doom_dream_env.mistakes import UserError
from doom_dream_env.origins import FREEDOOM, NOT_SAID, Origin, together
from doom_dream_env.quality import best_world, transfer_scores
from doom_dream_env.world_model import files

LIBRARY = "doom-dream-env"
TAGS = ["world-model", "reinforcement-learning", "vizdoom", "doom"]
TASK = "reinforcement-learning"
NOTICE = "NOTICE.md"
SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as shards are named, and as the hub names splits
# Of the licences that the hub abbreviates, those that people give to pictures; it refuses a card with any other word.
LICENCES = (
    *("bsd-3-clause", "mit", "apache-2.0", "gpl-2.0", "gpl-3.0", "unlicense", "cc0-1.0", "cc-by-3.0", "cc-by-4.0"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0"),
)

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
    """What a push sends.

    Attributes:
        what: for people.
        files: paths in the repository, and what goes there.
        metadata: of the card, `ModelCardData` or `DatasetCardData`.
        card: its Markdown.
        is_dataset: a dataset's repository, not a model's.
        shows_freedoom: Freedoom's notice goes along.
    """

    what: str
    files: dict[str, Path]
    metadata: Any
    card: str
    is_dataset: bool = False
    shows_freedoom: bool = False

    def lay_out(self, folder: Path) -> None:
        """Make a folder of all that is sent: links to what is there, the card and the notice."""
        for name, path in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(path.absolute())
        if self.shows_freedoom:
            (folder / NOTICE).write_bytes(notice())
        metadata = self.metadata.to_yaml().strip()
        (folder / files.CARD).write_text(f"---\n{metadata}\n---\n\n{self.card.strip()}\n", "utf-8")


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
        ValueError: if it is damaged, if it is not known under which licence its frames, or those that it learned from,
            may be passed on, or if no repository can have such a name.
        ConnectionError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi, errors

    found = split_name(name)
    if found is None:
        raise UserError(f"{name!r} is no name on the hub: give owner/name")
    repository, branch = found
    upload = prepared(folder, repository, said)
    api = HfApi(library_name=LIBRARY)
    about: dict[str, Any] = {"repo_type": "dataset" if upload.is_dataset else "model"}
    try:
        with tempfile.TemporaryDirectory() as staged:
            upload.lay_out(Path(staged))
            url = api.create_repo(repository, private=private or None, exist_ok=True, **about)
            if branch is not None and not api.revision_exists(repository, branch, **about):
                api.create_branch(repository, branch=branch, exist_ok=True, **about)
            api.upload_folder(
                repo_id=repository,
                folder_path=staged,
                commit_message=message or f"{upload.what} by dream-doom push",
                revision=branch,
                **about,
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
        ValueError: as for `push`.
    """
    kinds = {
        files.MANIFEST: weights_upload,
        "agent.json": agent_upload,
        "policy.json": policy_upload,
        "idm.safetensors": idm_upload,
    }
    for name, upload in kinds.items():
        if (folder / name).is_file():
            return upload(folder, repository, said)
    if any(shards(folder)):
        if said != NOT_SAID:
            raise UserError(f"{folder} is a dataset: every shard says whose it is, so leave out --source and --licence")
        return dataset_upload(folder, repository)
    raise FileNotFoundError(
        f"{folder} holds nothing to push: expected {', '.join(kinds)}, or a dataset (SCENARIO/train-*.parquet)"
    )


def notice() -> bytes:
    """Freedoom's notice, which travels with its graphics and with what was learned from them."""
    root = Path(__file__).resolve().parent.parent
    if (root / NOTICE).is_file():
        return (root / NOTICE).read_bytes()
    return (importlib.metadata.distribution(LIBRARY).read_text(f"licenses/{NOTICE}") or "").encode()


# ---- models ----------------------------------------------------------------------------------------------------------


def weights_upload(folder: Path, repository: str, said: Origin) -> Upload:
    """A set of weights with its scorecard and pictures."""
    from huggingface_hub import ModelCard

    origins = publishable_origins(folder, files.origins_of(folder), said)
    manifest = files.check(folder)
    scorecard = folder / "scorecard.json"
    worlds = files.read_json(scorecard).get("worlds", {}) if scorecard.is_file() else {}
    results = [
        result(name, key, scores[key], metric_name=shown, task_name="world model")
        for name, scores in worlds.items()
        for key, shown in SCORES.items()
        if key in scores
    ]
    use = f"""import gymnasium as gym
import doom_dream_env

env = gym.make("DreamDoom-v0", scenario="{best_world(folder)}", weights="{repository}")
model = doom_dream_env.WorldModel.from_pretrained("{repository}")"""
    own = ModelCard.load(folder / files.CARD).text if (folder / files.CARD).is_file() else ""
    names = [
        *files.CHECKED,
        files.MANIFEST,
        *(path.name for path in (*folder.glob("*.png"), *folder.glob(scorecard.name))),
    ]
    return model_upload(f"weights {manifest['fingerprint']}", folder, names, repository, use, own, origins, results)


def agent_upload(folder: Path, repository: str, said: Origin) -> Upload:
    """An agent; with its score in the real game where it is one that ships, whose score was measured."""
    from doom_dream_env.agents import agent

    card = agent.check(folder)
    is_shipped = folder.resolve().parent == agent.SHIPPED
    scores = transfer_scores(card.fingerprint).get(card.scenario) if is_shipped else None
    # As Stable-Baselines3's agents on the hub give it.
    results = [result(card.scenario, "mean_reward", "{} +/- {}".format(*scores.agent))] if scores else []
    use = f"""from doom_dream_env.agents import Agent

agent = Agent.load("{repository}")"""
    about = f"Plays {card.scenario} through the weights {card.fingerprint} (`{card.weights}`), trained in their dream."
    about += training(card.hyper_parameters)
    origins = publishable_origins(folder, origins_of_weights(card.weights, card.fingerprint), said)
    return model_upload(
        f"agent of {card.scenario}", folder, (agent.CARD, agent.TENSORS), repository, use, about, origins, results
    )


def policy_upload(folder: Path, repository: str, said: Origin) -> Upload:
    """An action policy, cloned from others' play."""
    from doom_dream_env.agents import action_policy

    config = action_policy.check(folder)
    use = f"""from doom_dream_env.agents.action_policy import ActionPolicy

policy = ActionPolicy.load("{repository}")"""
    about = f"Plays {', '.join(config.scenarios)} through the weights {config.fingerprint} (`{config.weights}`)."
    about += training(config.training)
    origins = publishable_origins(folder, origins_of_weights(config.weights, config.fingerprint), said)
    names = (action_policy.CARD, action_policy.TENSORS)
    return model_upload("action policy", folder, names, repository, use, about, origins)


def idm_upload(folder: Path, repository: str, said: Origin) -> Upload:
    """An inverse dynamics model, which reads keys off pictures."""
    from doom_dream_env.idm import model

    model.read_files(folder)
    origins = publishable_origins(folder, model.origins_of(folder), said)
    use = f"""from doom_dream_env.idm import InverseDynamics

labels = InverseDynamics.from_pretrained("{repository}").label(frames)  # uint8 (T, 120, 160, 3), 8.75 a second"""
    about = f"Reads the nine keys off gameplay pictures: `python -m training label play.mp4 --weights {repository}`."
    names = (files.CONFIG, model.WEIGHTS)
    return model_upload("inverse dynamics model", folder, names, repository, use, about, origins)


def model_upload(
    what: str,
    folder: Path,
    names: Iterable[str],
    repository: str,
    use: str,
    about: str,
    origins: Sequence[Origin],
    results: Sequence[Any] = (),
) -> Upload:
    """Files of a folder, with the card that the hub reads.

    Args:
        what: for people.
        folder: of the files.
        names: of the files.
        repository: `owner/name`.
        use: how to load it, Python.
        about: what else there is to say, Markdown.
        origins: whose pictures it learned from.
        results: of measurements.
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
    card = f"`pip install {LIBRARY}`\n\n```python\n{use}\n```\n\n{about}\n\n## Sources\n\n{sources(origins)}"
    named = {name: folder / name for name in names}
    return Upload(what, named, metadata, card, shows_freedoom=FREEDOOM in origins)


def publishable_origins(folder: Path, found: Iterable[Origin], said: Origin) -> tuple[Origin, ...]:
    """Whose pictures a model learned from, if it is known under which licence those may be passed on.

    Args:
        folder: of the model.
        found: what is known of itself.
        said: what is not known otherwise.

    Raises:
        ValueError: if it is not, or was known without being said; the message says what to do.
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
    known = licence in LICENCES
    return {"license": licence if known else "other", "license_name": None if known else licence}


def cells(origin: Origin) -> str:
    """Two cells of a table in Markdown."""
    texts = (" ".join(str(text).split()).replace("|", "\\|") for text in (origin.source, origin.licence))
    return " | ".join(texts)


def sources(origins: Iterable[Origin]) -> str:
    """A table of what a model learned from, Markdown."""
    rows = "".join(f"\n| {cells(origin)} |" for origin in origins)
    return f"| learned from | licence |\n|---|---|{rows}"


def training(settings: dict[str, Any]) -> str:
    """How something was trained, Markdown."""
    about = "\n".join(f"* {key}: {value}" for key, value in settings.items())
    return f"\n\n## Training\n\n{about}" if about else ""


def result(scenario: str, metric: str, value: Any, **names: str) -> Any:
    """A measurement, as a model index has it."""
    from huggingface_hub import EvalResult

    about: dict[str, Any] = {"metric_name": metric} | names
    about |= {"dataset_type": scenario, "dataset_name": f"ViZDoom {scenario}"}
    return EvalResult(task_type=TASK, metric_type=metric, metric_value=value, **about)


# ---- datasets --------------------------------------------------------------------------------------------------------


def shards(folder: Path) -> Iterator[Path]:
    """All shards of a dataset."""
    for path in sorted(folder.glob("*/*.parquet")):
        if path.name.partition("-")[0] in SPLITS:
            yield path


def dataset_upload(folder: Path, repository: str) -> Upload:
    """Recorded play, with one configuration for each scenario: `load_dataset("owner/name", "take_cover")`."""
    from huggingface_hub import DatasetCardData

    from doom_dream_env.recording import publishable_origin

    found_files: dict[str, Path] = {}
    found: dict[str, Counter[str]] = {}
    origins: Counter[Origin] = Counter()
    for path in shards(folder):
        origins[publishable_origin(path)] += 1
        found.setdefault(path.parent.name, Counter())[path.name.partition("-")[0]] += 1
        found_files[f"{path.parent.name}/{path.name}"] = path
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
        **licence_of(origins),
        task_categories=[TASK],
        tags=[*TAGS, LIBRARY],
        pretty_name=f"{repository.partition('/')[2]}: recorded DOOM",
        configs=configs,
    )
    frames = "\n".join(f"| {cells(origin)} | {count} |" for origin, count in origins.items())
    rows = "\n".join(f"| {name} | {' | '.join(str(counts[s]) for s in SPLITS)} |" for name, counts in found.items())
    card = f"""# {repository}

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
        card += f"\nFreedoom's licence is in {NOTICE}.\n"
    return Upload(f"{origins.total()} shards", found_files, metadata, card, True, FREEDOOM in origins)
