"""`dream-doom push`: weights, players and datasets to the Hugging Face hub, with the card that its pages read.

What lies in a folder says what it is. Files go to the hub as they are, so what is fetched has the same checksums; only
the card is made anew (`doom_dream_env.commands.cards`).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from doom_dream_env.agents.quality import best_world, transfer_scores
from doom_dream_env.commands.cards import LIBRARY, NOTICE, SPLITS, Upload, dataset_upload, model_upload, result
from doom_dream_env.errors import UserError
from doom_dream_env.world_model import files
from doom_dream_env.world_model.hub import reason, split_name, unreachable
from doom_dream_env.world_model.origins import NOT_SAID, Origin, together

# Figures of a scorecard that go into the model index, and their names there.
SCORES = {
    "skill_1": "latent skill after 1 step",
    "skill_16": "latent skill after 16 steps, open loop",
    "psnr_16": "PSNR after 16 steps, open loop",
    "death_auc": "AUC of the risk of termination",
    "noop_length_ratio": "episode length of doing nothing, dream over game",
}


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
