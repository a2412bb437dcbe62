"""ViZDoom configurations, with everything checked that its engine would answer by hanging, or by crashing Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios.wads import has_player_start, is_iwad, is_pk3, maps_in, shipped_wad

OVERRIDE = "_vizdoom.cfg"  # ViZDoom lets a file of this name in the working folder overrule every configuration
# Arguments of the engine that make it wait for other players, play something else, or find other files.
NETWORK_ARGUMENTS = ("-host", "-join", "-port", "-netmode", "-dup", "-extratic", "-deathmatch", "-altdeath", "-timer")
OTHER_ARGUMENTS = ("-iwad", "-file", "-config", "-record", "-playdemo", "-timedemo", "-loadgame", "-warp", "-norun")
OTHER_COMMANDS = ("+map", "+exec", "+quit", "+viz_")


def load_configuration(config: str | Path, map: str | None = None, wad: str | None = None) -> Any:
    """A `vizdoom.DoomGame` with the settings of a configuration, not started; all its files exist.

    The main WAD is the one that the configuration names, or else Freedoom 2: what lies in the working folder does not
    matter.

    Args:
        config: file name of a configuration that ships with ViZDoom, or a path.
        map: map to play instead of the configuration's own.
        wad: with `map`: the WAD that has it, a whole game or an addition to one; None: what ships with ViZDoom.

    Raises:
        ValueError: if there is no such configuration, map or WAD, if one of them is damaged, or if the configuration
            asks for what cannot be played here.
    """
    return _load(config, map, wad)[0]


def wads_of(config: str | Path, map: str | None = None, wad: str | None = None) -> list[Path]:
    """The WADs that a configuration is played with, the whole game first; arguments and errors as above."""
    return _load(config, map, wad)[1]


def _load(config: str | Path, map: str | None, wad: str | None) -> tuple[Any, list[Path]]:
    import vizdoom as vzd

    path = Path(vzd.scenarios_path) / config  # an absolute path stays as it is
    if not path.is_file():
        raise UserError(f"there is no configuration {str(path)!r}")
    if Path(OVERRIDE).exists():
        raise UserError(f"{Path(OVERRIDE).absolute()} would overrule {path.name}: ViZDoom reads it; move it away")
    game: Any = vzd.DoomGame()
    try:
        whole = game.load_config(os.fsencode(path))
    except Exception as error:  # ViZDoom's exceptions share no base class but this
        raise UserError(f"ViZDoom cannot read the configuration {path}: {error}") from error
    if not whole:  # it would play another game than the one that is meant: its default map, say
        raise UserError(
            f"ViZDoom ignores lines of {path}; its warnings above say which: correct them, or take them out"
        )
    _check_arguments(game.get_game_args().split(), path)
    if map is None:
        named: list[str | None] = [
            game.get_doom_game_path() or str(shipped_wad("MAP01")),
            game.get_doom_scenario_path(),
        ]
    else:
        named = [str(shipped_wad(map)), wad] if wad is None or not is_iwad(wad) else [wad]
        game.set_doom_map(map)
    wads = [_find(name, path) for name in named if name]
    _settle_files(game, wads, path)
    return game, wads


def _check_arguments(arguments: Sequence[str], path: Path) -> None:
    """Refuse arguments of the engine that cannot work here."""
    for argument in arguments:
        name = argument.lower()
        if name in NETWORK_ARGUMENTS:
            raise UserError(
                f"{path} is for several players: its game_args have {argument}, and the game would wait for the "
                "others; take that out"
            )
        if name in OTHER_ARGUMENTS or name.startswith(OTHER_COMMANDS):
            raise UserError(f"{path} has {argument} in its game_args, which this environment decides; take that out")


def _settle_files(game: Any, wads: Sequence[Path], path: Path) -> None:
    """Give the game its WADs, the whole game and perhaps an addition, if they are whole and have its map."""
    # ViZDoom takes names that are not UTF-8 as bytes alone.
    for wad, settle in zip(wads, (game.set_doom_game_path, game.set_doom_scenario_path), strict=False):
        settle(os.fsencode(wad))
    wanted = game.get_doom_map().upper()
    maps = {name: wad for wad in wads for name in maps_in(wad)}  # an addition's maps replace those of the game
    if wanted not in maps:
        raise UserError(
            f"{path} plays the map {wanted}, which is not in {' or '.join(wad.name for wad in wads)}; choose another "
            f"one with doom_map = NAME from {', '.join(maps) or 'a WAD that has some'}"
        )
    if not is_pk3(maps[wanted]) and not has_player_start(maps[wanted], wanted):
        raise UserError(
            f"{path} plays the map {wanted} of {maps[wanted].name}, which has no place where a single player begins: "
            "it is for several players, or damaged"
        )


def _find(named: str, path: Path) -> Path:
    """A WAD where ViZDoom looks for it: where it is said to be, in the working folder, beside the engine."""
    import vizdoom as vzd

    name = Path(named).name
    places = [Path(named), Path(name), Path(vzd.root_path) / name]
    if not Path(name).suffix:
        places = [place for bare in places for place in (bare, bare.with_suffix(".wad"))]
    for place in places:
        if place.is_file():
            return place.absolute()
    raise UserError(f"{path} needs the WAD {named}, which does not exist; put it there")
