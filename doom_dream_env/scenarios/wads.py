"""WAD files: which maps they hold, and which ones ship with ViZDoom."""

from __future__ import annotations

import filecmp
import os
import re
import struct
import zipfile
from pathlib import Path

from doom_dream_env.errors import UserError

HEADER = struct.Struct("<4sii")  # kind, number of lumps, place of the directory
PLAYER_START = (1).to_bytes(2, "little")  # type of the thing that says where a single player begins
MAP_LUMPS = 10  # that follow a map's name, at most
ENTRY = struct.Struct("<ii8s")  # place, size and name of a lump


def wad_directory(wad: str | Path) -> list[tuple[str, int, int]]:
    """The lumps of a WAD in its order: name, offset and size in bytes.

    Raises:
        ValueError: if the file is missing, not a WAD, or damaged.
    """
    path = Path(wad)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a WAD: it is not a file")
        total = path.stat().st_size
        with open(path, "rb") as file:
            kind, count, directory = HEADER.unpack(file.read(HEADER.size))
            if kind not in (b"IWAD", b"PWAD"):
                raise UserError(f"{path} is not a WAD: it begins with {kind!r}, not with IWAD or PWAD")
            # The numbers are compared before anything is read: a file of 12 bytes may claim to have 2^31 lumps.
            if count < 0 or directory < HEADER.size or directory + ENTRY.size * count > total:
                raise UserError(
                    f"the WAD {path} is damaged: its directory of {count} entries at byte {directory} is cut off"
                )
            file.seek(directory)
            entries = file.read(ENTRY.size * count)
    except OSError as error:
        raise UserError(f"cannot read the WAD {path}: {error.strerror}") from error
    except struct.error as error:
        raise UserError(f"{path} is not a WAD: it is only {path.stat().st_size} bytes long") from error
    lumps = [
        (name.split(b"\0")[0].decode("latin-1").upper(), offset, size)
        for offset, size, name in ENTRY.iter_unpack(entries)
    ]
    for name, offset, size in lumps:
        if size < 0 or (size > 0 and not 0 <= offset <= total - size):
            raise UserError(f"the WAD {path} is damaged: its lump {name!r} lies outside the file")
    return lumps


def is_pk3(wad: str | Path) -> bool:
    """Is it a ZIP, which ViZDoom reads like a WAD?"""
    return Path(wad).is_file() and zipfile.is_zipfile(wad)


def maps_in(wad: str | Path) -> list[str]:
    """Names of the maps in a WAD, or in a PK3, in its order.

    Raises:
        ValueError: as for `wad_directory`.
    """
    if is_pk3(wad):
        with zipfile.ZipFile(wad) as archive:
            found = (re.fullmatch(r"maps/(\w+)\.wad", name, re.IGNORECASE) for name in archive.namelist())
            return [match[1].upper() for match in found if match]
    names = [name for name, _, _ in wad_directory(wad)]
    # A map is an empty lump with its name, followed by the lumps that hold its parts.
    return [name for name, following in zip(names, names[1:], strict=False) if following in ("THINGS", "TEXTMAP")]


def map_lumps(wad: str | Path, name: str) -> dict[str, bytes]:
    """What a map of a WAD consists of, by the names of its lumps.

    Raises:
        ValueError: as for `wad_directory`, or if the WAD has no such map.
    """
    directory = wad_directory(wad)
    if name.upper() not in maps_in(wad):
        raise UserError(f"{wad} has no map {name!r}")
    first = [lump for lump, _, _ in directory].index(name.upper()) + 1
    lumps: dict[str, bytes] = {}
    with open(wad, "rb") as file:
        for lump, offset, size in directory[first : first + MAP_LUMPS]:
            if lump not in lumps:  # where a map has fewer, the next one's follow
                file.seek(offset)
                lumps[lump] = file.read(size)
    return lumps


def has_player_start(wad: str | Path, name: str) -> bool:
    """Has a map of a WAD a place where a single player begins?

    Raises:
        ValueError: as for `map_lumps`.
    """
    lumps = map_lumps(wad, name)
    if "TEXTMAP" in lumps:
        text = lumps["TEXTMAP"].decode("latin-1")
        return re.search(r"\bthing\b[^{]*\{[^}]*\btype\s*=\s*1\s*;", text, re.IGNORECASE) is not None
    # A thing is a row of 16-bit numbers; its type is the fourth, or in Hexen's format, which has scripts, the sixth.
    width, place = (20, 10) if "BEHAVIOR" in lumps else (10, 6)
    things = lumps["THINGS"]
    starts = range(place, len(things) - width + place + 1, width)
    return any(things[start : start + 2] == PLAYER_START for start in starts)


def is_iwad(wad: str | Path) -> bool:
    """Is it a whole game (IWAD), not an addition to one (PWAD)?

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        with open(wad, "rb") as file:
            return file.read(4) == b"IWAD"
    except OSError as error:
        raise UserError(f"cannot read the WAD {wad}: {error.strerror}") from error


def shipped_wad(map_name: str) -> Path:
    """The Freedoom WAD that ships with ViZDoom and numbers its maps like `map_name` (E1M1 or MAP01)."""
    import vizdoom

    name = "freedoom1.wad" if map_name.upper().startswith("E") else "freedoom2.wad"
    return Path(vizdoom.__file__).parent / name


def ships(wad: Path) -> bool:
    """Is it, byte for byte, a WAD that ships with ViZDoom?"""
    import vizdoom

    theirs = Path(vizdoom.__file__).parent.rglob("*.wad")
    return any(other.samefile(wad) or filecmp.cmp(other, wad, shallow=False) for other in theirs)


def as_text(path: str | Path) -> str:
    """A path for people and for files of text, whatever bytes it consists of."""
    return os.fsencode(path).decode("utf-8", "replace")
