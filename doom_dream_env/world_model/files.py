"""Weights on disk: safetensors and JSON, checksummed, written to temporary names and renamed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

CONFIG, MANIFEST, CARD = "config.json", "manifest.json", "README.md"
WEIGHTS, DECODER, STARTS = "world_model.safetensors", "decoder.safetensors", "starts.safetensors"
DECODER_PREFIX = "decoder."
SHIPPED = Path(__file__).resolve().parent.parent / "weights"
PREFERENCE = ("base", "nano")


def shipped() -> list[str]:
    """Names of the weights inside the package, best first."""
    found = {path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}")}
    return [name for name in PREFERENCE if name in found] + sorted(found - set(PREFERENCE))


def find_weights(name_or_path: str | Path | None) -> Path:
    """Folder of a name, path or hub id; see `WorldModel.from_pretrained`."""
    names = shipped()
    if name_or_path is None:
        if not names:
            raise FileNotFoundError(f"no weights ship with this installation ({SHIPPED} is empty); train some: python -m training.pipeline")
        return SHIPPED / names[0]
    if str(name_or_path) in names:
        return SHIPPED / str(name_or_path)
    folder = Path(name_or_path)
    if (folder / CONFIG).is_file():
        return folder
    if not folder.exists() and str(name_or_path).count("/") == 1 and not str(name_or_path).startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

        try:
            return Path(snapshot_download(str(name_or_path), allow_patterns=["*.json", "*.safetensors", "*.md"]))
        except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
            raise FileNotFoundError(f"{name_or_path!r} is no folder and could not be fetched from the hub: {error}") from error
    raise FileNotFoundError(
        f"no weights at {str(name_or_path)!r}: expected one of {', '.join(names) or '(none shipped)'}, or a folder with {CONFIG}"
    )


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
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; fetch it anew") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object; fetch it anew")
    return values


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(folder: Path) -> dict[str, Any]:
    """Compare every file with its checksum; return the manifest.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged. Both name the file.
    """
    manifest = read_json(folder / MANIFEST)
    if not {"fingerprint", "sha256"} <= manifest.keys():
        raise ValueError(f"{folder / MANIFEST} is damaged: it lacks fingerprint or checksums; fetch it anew")
    for name, digest in manifest["sha256"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing; fetch the folder anew")
        if sha256(folder / name) != digest:
            raise ValueError(f"{folder / name} is damaged: its checksum is not the one in {MANIFEST}; fetch it anew")
    return manifest


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Read one safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / name)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder / name} could not be read: {error}; fetch it anew") from error


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


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a set of weights, the decoder's too, by their names in `WorldModel.state_dict`."""
    return read_tensors(folder, WEIGHTS) | read_tensors(folder, DECODER)


def write_weights(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], starts: dict[str, Tensor], card: str) -> str:
    """Write a set of weights; the manifest comes last, so that a folder with one is whole.

    Returns:
        the fingerprint: of all but the decoder, which no agent sees, and the beginnings. A better decoder leaves it as it is.
    """
    from safetensors.torch import save

    contents = {
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        WEIGHTS: save({key: value for key, value in tensors.items() if not key.startswith(DECODER_PREFIX)}),
        DECODER: save({key: value for key, value in tensors.items() if key.startswith(DECODER_PREFIX)}),
        STARTS: save(starts),
        CARD: card.encode(),
    }
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in contents.items():
        write_atomically(folder / name, data)
    checked = (CONFIG, WEIGHTS, DECODER, STARTS)
    fingerprint = hashlib.sha256(contents[WEIGHTS]).hexdigest()[:16]
    manifest = {
        "fingerprint": fingerprint,
        "sha256": {name: hashlib.sha256(contents[name]).hexdigest() for name in checked},
    }
    write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return fingerprint
