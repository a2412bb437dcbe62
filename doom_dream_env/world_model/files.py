"""Weights on disk: safetensors and JSON, checksummed, written to temporary names and renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from doom_dream_env.errors import UserError
from doom_dream_env.world_model.hub import find_folder, split_name
from doom_dream_env.world_model.origins import FREEDOOM, NOT_SAID, Origin, from_json
from doom_dream_env.world_model.validation import check_version, parsed, shown

if TYPE_CHECKING:  # finding and checking files needs no torch
    from torch import Tensor

CONFIG = "config.json"
MANIFEST = "manifest.json"
CARD = "README.md"
SCORECARD = "scorecard.json"
WEIGHTS = "world_model.safetensors"
DECODER = "decoder.safetensors"
INITIAL_STATES = "starts.safetensors"
HUB_FILES = ("*.json", "*.safetensors", "*.md")
CHECKED = (CONFIG, WEIGHTS, DECODER, INITIAL_STATES)  # files that the manifest has checksums of
FINGERPRINT_LENGTH = 16  # of the checksum of `WEIGHTS`

DECODER_PREFIX = "decoder."  # of the decoder's tensors in `WorldModel.state_dict`
CLIP_PARTS = ("z", "actions", "variables", "age")  # names of a context clip's tensors in the file
SHIPPED = Path(__file__).resolve().parent.parent / "weights"
PREFERENCE = ("base", "nano")
T = TypeVar("T")

InitialStates = dict[str, "tuple[Tensor, Tensor]"]
"""By `Scenario.place`: states (N, D) and game variables (N, V) of first frames."""
ContextClips = dict[str, "tuple[Tensor, Tensor, Tensor, Tensor]"]
"""By `Scenario.place`, T steps in a row from anywhere in an episode: states (N, T, D), actions between them
(N, T − 1, 9), game variables (N, T, V), and the steps that had elapsed at the first of them (N,)."""


def shipped() -> list[str]:
    """Names of the weights inside the package, best first."""
    found = {path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}")}
    return [name for name in PREFERENCE if name in found] + sorted(found - set(PREFERENCE))


def find_weights(name_or_path: str | Path | None, revision: str | None = None) -> Path:
    """Folder of a name, path or hub id; see `WorldModel.from_pretrained`."""
    names = shipped()
    if revision is not None:
        on_hub = split_name(str(name_or_path), revision)
        if on_hub is None or Path(str(name_or_path)).exists():
            raise UserError(f"only weights on the hub (owner/name) have revisions; {name_or_path!r} is not there")
        name_or_path = "@".join((on_hub[0], revision))
    if name_or_path is None:
        if not names:
            raise FileNotFoundError(
                f"no weights ship with this installation ({SHIPPED} is empty); train some: python -m training pipeline"
            )
        return SHIPPED / names[0]
    if str(name_or_path) in names:
        return SHIPPED / str(name_or_path)
    folder = find_folder(name_or_path, HUB_FILES, check)
    if not (folder / CONFIG).is_file():
        known = ", ".join(names) or "(none shipped)"
        raise FileNotFoundError(
            f"no weights at {str(name_or_path)!r}: expected one of {known}, or a folder with {CONFIG}"
        )
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is not a JSON object.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; fetch the folder anew") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}; fetch it anew") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object; fetch it anew")
    return values


def fingerprint_of(folder: Path) -> str:
    """The fingerprint of a set of weights, as its manifest says."""
    return str(read_json(folder / MANIFEST).get("fingerprint"))


def origins_of(folder: Path) -> tuple[Origin, ...]:
    """Whose pictures a set of weights was trained on. Weights of earlier releases do not say it.

    Raises:
        ValueError: if the manifest is damaged.
    """
    said = read_json(folder / MANIFEST).get("origins")
    if said is None:
        return (FREEDOOM if folder.parent == SHIPPED else NOT_SAID,)
    try:
        return from_json(said)
    except TypeError as error:
        raise UserError(f"{folder / MANIFEST} is damaged: {error}; fetch it anew") from error


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, digest: str, source: str) -> None:
    """Compare a file with its checksum.

    Args:
        path: the file.
        digest: what its `sha256` was when it was written.
        source: name of the file that says so, for the message.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged. Both name it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; fetch the folder anew")
    if sha256(path) != digest:
        raise UserError(f"{path} is damaged: its checksum is not the one in {source}; fetch it anew")


def check(folder: Path) -> dict[str, Any]:
    """Compare every file with its checksum; return the manifest.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged. Both name the file.
    """
    manifest = read_json(folder / MANIFEST)
    digests = manifest.get("sha256")
    if not isinstance(digests, dict) or not digests.keys() >= set(CHECKED):
        raise UserError(f"{folder / MANIFEST} is damaged: it lacks checksums of {', '.join(CHECKED)}; fetch it anew")
    if manifest.get("fingerprint") != str(digests[WEIGHTS])[:FINGERPRINT_LENGTH]:
        raise UserError(f"{folder / MANIFEST} is damaged: its fingerprint is not that of {WEIGHTS}; fetch it anew")
    for name in CHECKED:
        check_file(folder / name, digests[name], MANIFEST)
    return manifest


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Read one safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / name)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / name} could not be read: {error}; fetch it anew") from error


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hexadecimal digest of named CPU tensors and of what their file says of itself."""
    import torch

    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_checked(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write one safetensors file with its checksum in its metadata; read it with `read_checked`."""
    from safetensors.torch import save

    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(whole, metadata=dict(metadata) | {"sha256": checksum(whole, metadata)}))


def read_checked(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file of `write_checked`. Files of earlier releases have no checksum.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; fetch the folder anew")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    expected = metadata.pop("sha256", None)
    if expected is not None and expected != checksum(tensors, metadata):
        raise UserError(f"{path} is damaged: its checksum is not the one that it names")
    return metadata, tensors


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name, flush to the disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"could not write {path}: {error.strerror or error}") from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object; read it with `read_json`."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def write_network(card: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write the tensors of a small network beside a JSON file of the same name, which also holds their checksum.

    The JSON file comes last.
    """
    from safetensors.torch import save

    path = card.with_suffix(".safetensors")
    write_atomically(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    write_json(card, dict(about) | {"sha256": sha256(path)})


def read_about_network(card: Path, cls: type[T], version: int, **defaults: Any) -> T:
    """What the JSON file of `write_network` says of the tensors beside it, which are compared with their checksum.

    Args:
        card: the JSON file.
        cls: dataclass whose fields it has, see `parsed`.
        version: of the format.
        **defaults: of fields that older files lack.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or of another format version.
    """
    about = read_json(card)
    check_version(about, version, card)
    digest = about.pop("sha256", None)
    if not isinstance(digest, str):
        raise UserError(f"{card} is damaged: sha256 must be a text, got {shown(digest)}; fetch it anew")
    found = parsed(cls, defaults | about, card)
    check_file(card.with_suffix(".safetensors"), digest, card.name)
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a set of weights, the decoder's too, by their names in `WorldModel.state_dict`."""
    return read_tensors(folder, WEIGHTS) | read_tensors(folder, DECODER)


def read_initial_states(folder: Path) -> tuple[InitialStates, ContextClips]:
    """The initial states and context clips that come with a set of weights, as float32."""
    tensors = {key: value.float() for key, value in read_tensors(folder, INITIAL_STATES).items()}
    with_states = sorted(key.removesuffix(".z") for key in tensors if key.endswith(".z"))
    with_clips = sorted(key.removesuffix(".clip_z") for key in tensors if key.endswith(".clip_z"))
    expected = {f"{place}.variables" for place in with_states}
    expected |= {f"{place}.clip_{part}" for place in with_clips for part in CLIP_PARTS}
    if missing := expected - tensors.keys():
        raise UserError(f"{folder / INITIAL_STATES} is damaged: it lacks {', '.join(sorted(missing))}; fetch it anew")
    initial_states = {place: (tensors[f"{place}.z"], tensors[f"{place}.variables"]) for place in with_states}
    context_clips = {}
    for place in with_clips:
        z, actions, variables, elapsed = (tensors[f"{place}.clip_{part}"] for part in CLIP_PARTS)
        context_clips[place] = (z, actions, variables, elapsed)
    return initial_states, context_clips


def write_weights(
    folder: Path,
    config: dict[str, Any],
    tensors: dict[str, Tensor],
    initial_states: InitialStates,
    context_clips: ContextClips,
    card: str,
    origins: Iterable[Origin],
) -> str:
    """Write a set of weights in half precision; the manifest comes last, so that a folder with one is whole.

    Args:
        folder: where to; made if it is not there.
        config: what goes into config.json.
        tensors: the model's `state_dict`.
        initial_states: see `InitialStates`.
        context_clips: see `ContextClips`.
        card: the model card, Markdown.
        origins: whose pictures it was trained on.

    Returns:
        the fingerprint: of all but the decoder, which no agent sees, and the initial states. A better decoder leaves it
        as it is.
    """
    from safetensors.torch import save

    def half(tensors: dict[str, Tensor]) -> bytes:
        return save({key: value.half().cpu().contiguous() for key, value in tensors.items()})

    starts = {f"{place}.z": z for place, (z, _) in initial_states.items()}
    starts |= {f"{place}.variables": variables for place, (_, variables) in initial_states.items()}
    for place, clip in context_clips.items():
        starts |= {f"{place}.clip_{part}": value for part, value in zip(CLIP_PARTS, clip, strict=True)}
    contents = {
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        WEIGHTS: half({key: value for key, value in tensors.items() if not key.startswith(DECODER_PREFIX)}),
        DECODER: half({key: value for key, value in tensors.items() if key.startswith(DECODER_PREFIX)}),
        INITIAL_STATES: half(starts),
        CARD: card.encode(),
    }
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in contents.items():
        write_atomically(folder / name, data)
    digests = {name: hashlib.sha256(contents[name]).hexdigest() for name in CHECKED}
    fingerprint = digests[WEIGHTS][:FINGERPRINT_LENGTH]
    manifest = {"fingerprint": fingerprint, "sha256": digests, "origins": [asdict(origin) for origin in origins]}
    write_json(folder / MANIFEST, manifest)
    return fingerprint
