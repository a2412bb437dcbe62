"""What an export is made of: it tells whether the one that is there is the one that would be made now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doom_dream_env.world_model import files

MANIFEST = "manifest.json"  # of an export
PACKAGE = Path(__file__).resolve().parent.parent


def sources(weights: str | Path | None) -> str:
    """Hexadecimal digest of all that goes into an export: the weights, and this package with its agents and its page.

    Args:
        weights: as for `WorldModel.from_pretrained`.
    """
    folder = files.find_weights(weights)
    parts = [folder / name for name in (*files.CHECKED, files.SCORECARD)]
    others = ("__pycache__", files.SHIPPED.name)
    parts += sorted(path for path in PACKAGE.rglob("*") if not {*others} & {*path.relative_to(PACKAGE).parts})
    digests = (f"{path.name} {files.sha256(path)}" for path in parts if path.is_file())
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def exported(folder: Path, weights: str | Path | None) -> tuple[tuple[str, ...], bool]:
    """The scenarios of the export in a folder, and whether it is whole and of these weights, agents, page and code."""
    try:
        manifest = files.read_json(folder / MANIFEST)
        scenarios = tuple(dict.fromkeys(str(world["scenario"]) for world in manifest["worlds"]))
        whole = all((folder / entry["file"]).stat().st_size == entry["bytes"] for entry in _entries(manifest))
    except (OSError, ValueError, KeyError, TypeError):
        return (), False
    return scenarios, whole and manifest.get("sources") == sources(weights)


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """What a manifest says of each file."""
    if isinstance(value, dict) and "file" in value:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _entries(part)
