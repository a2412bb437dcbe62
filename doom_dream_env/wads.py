"""WAD files: which maps they hold, and which ones ship with ViZDoom."""

from __future__ import annotations

import struct
from pathlib import Path


def wad_directory(wad: str | Path) -> list[tuple[str, int, int]]:
    """The lumps of a WAD in its order: name, offset and size in bytes.

    Raises:
        ValueError: if the file is missing, not a WAD, or damaged.
    """
    path = Path(wad)
    try:
        with open(path, "rb") as file:
            kind, count, directory = struct.unpack("<4sii", file.read(12))
            if kind not in (b"IWAD", b"PWAD"):
                raise ValueError(f"{path} is not a WAD: it begins with {kind!r}, not with IWAD or PWAD")
            file.seek(directory)
            entries = file.read(16 * count)
    except OSError as error:
        raise ValueError(f"cannot read the WAD {path}: {error.strerror}") from error
    except struct.error as error:
        raise ValueError(f"{path} is not a WAD: it is only {path.stat().st_size} bytes long") from error
    if count < 0 or directory < 12 or len(entries) != 16 * count:
        raise ValueError(f"the WAD {path} is damaged: its directory of {count} entries at byte {directory} is cut off")
    lumps = struct.iter_unpack("<ii8s", entries)
    return [(name.split(b"\0")[0].decode("latin-1").upper(), offset, size) for offset, size, name in lumps]


def maps_in(wad: str | Path) -> list[str]:
    """Names of the maps in a WAD, in its order.

    Raises:
        ValueError: as for `wad_directory`.
    """
    names = [name for name, _, _ in wad_directory(wad)]
    # A map is an empty lump with its name, followed by the lumps that hold its parts.
    return [name for name, following in zip(names, names[1:], strict=False) if following in ("THINGS", "TEXTMAP")]


def is_iwad(wad: str | Path) -> bool:
    """Is it a whole game (IWAD), not an addition to one (PWAD)?"""
    with open(wad, "rb") as file:
        return file.read(4) == b"IWAD"


def shipped_wad(map_name: str) -> Path:
    """The Freedoom WAD that ships with ViZDoom and numbers its maps like `map_name` (E1M1 or MAP01)."""
    import vizdoom

    name = "freedoom1.wad" if map_name.upper().startswith("E") else "freedoom2.wad"
    return Path(vizdoom.__file__).parent / name
