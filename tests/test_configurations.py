"""Promises about what users bring: a configuration, WAD or map that cannot be played is refused in one clear line.

ViZDoom itself hangs on most of these, or takes Python with it.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import vizdoom

from doom_dream_env.game import engine
from doom_dream_env.game.game import Game
from doom_dream_env.game.recording import FREEDOOM, Origin, game_origin
from doom_dream_env.scenarios import SCENARIOS, get_scenario
from training.players.maps import read_map

SHIPPED = Path(vizdoom.scenarios_path)
REFUSED = {  # of ViZDoom's own configurations
    "cig": "map MAP01 of cig.wad, which has no place where a single player begins: it is for several",
    "multi_duel": "map MAP01 of multi_duel.wad, which has no place",
    "doom": "needs the WAD .*doom.wad, which does not exist",
    "doom2": "needs the WAD .*doom2.wad, which does not exist",
    "freedoom1": "plays the map MAP01, which is not in freedoom1.wad; choose another .* from E1M1, E1M2",
}
OWN = "doom_scenario_path = basic.wad\ndoom_map = map01\navailable_buttons = { MOVE_LEFT ATTACK }\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of basic.wad."""
    shutil.copy(SHIPPED / "basic.wad", tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "own.cfg"
    path.write_text(text)
    return path


def play(path: Path) -> None:
    game = Game(get_scenario(path))
    game.reset(1)
    game.step(np.zeros(9))
    assert game.frame.any()
    game.close()


def change_lumps(wad: Path, content: bytes, *names: str) -> None:
    """Overwrite lumps of a WAD with repetitions of `content`; no names: all of them."""
    data = bytearray(wad.read_bytes())
    count, directory = struct.unpack_from("<ii", data, 4)
    for entry in range(count):
        offset, size, name = struct.unpack_from("<ii8s", data, directory + 16 * entry)
        if not names or name.rstrip(b"\0").decode() in names:
            data[offset : offset + size] = (content * size)[:size]
    wad.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", [Path(name).stem for name in vizdoom.configs if Path(name).stem not in REFUSED])
def test_a_configuration_of_vizdooms_is_played(name: str, tmp_path: Path) -> None:
    path = SHIPPED / f"{name}.cfg"
    if name in SCENARIOS:  # the name is taken: somebody's variant of it
        for wad in SHIPPED.glob("*.wad"):
            (tmp_path / wad.name).symlink_to(wad)
        path = Path(shutil.copy(path, tmp_path / f"own_{name}.cfg"))
    play(path)


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_a_configuration_of_vizdooms_that_one_player_cannot_play_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_scenario(SHIPPED / f"{name}.cfg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("map01", "map99"), "plays the map MAP99, which is not in freedoom2.wad or basic.wad"),
        (OWN.replace("basic.wad", "gone.wad"), "needs the WAD .*gone.wad, which does not exist"),
        (OWN + "doom_game_path = gone.wad\n", "needs the WAD .*gone.wad"),
        (OWN + "doom_game_path = own.cfg\n", "own.cfg is not a WAD: it begins with"),
        (OWN + "game_args += -host 2 -deathmatch\n", "for several players: its game_args have -host"),
        (OWN + "game_args += -join 127.0.0.1\n", "would wait for the others"),
        (OWN + "game_args += +viz_controlled 0\n", "which this environment decides"),
        (OWN + "game_args += -iwad doom.wad\n", "which this environment decides"),
        ("\0\1\2 = {{{\n" * 3, "ViZDoom ignores lines of .*own.cfg; its warnings above say which"),
        ("\ufeff" + OWN, "ignores lines"),  # as some editors save it: the WAD of the first line would be another one
        (OWN + "episode_timout = 100\n", "ignores lines"),
    ],
)
def test_a_configuration_that_would_hang_is_refused_before_anything_starts(
    folder: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LAUNCHER", None)
    with pytest.raises(ValueError, match=message) as error:
        get_scenario(write(folder, text))
    assert "\n" not in str(error.value)


def test_a_file_that_would_overrule_every_configuration_is_refused(folder: Path) -> None:
    Path("_vizdoom.cfg").write_text("screen_resolution = RES_640X480\n")
    with pytest.raises(ValueError, match="_vizdoom.cfg would overrule basic.cfg"):
        Game(SCENARIOS["basic"])


def test_a_wad_in_the_working_folder_changes_no_scenario() -> None:
    Path("doom2.wad").write_bytes(b"ViZDoom would take this for the game")
    game = Game(SCENARIOS["basic"])
    game.reset(1)
    game.close()


@pytest.mark.parametrize(
    ("content", "lumps", "message"),
    [
        (b"\0", (), "no place where a single player begins: .* or damaged"),
        (b"thing { type = 1; }\n", ("TEXTMAP",), "ViZDoom cannot play .*; its engine said last: "),
        (b"\xff\0", ("BEHAVIOR", "ZNODES"), ""),
    ],
)
def test_a_wad_with_damaged_lumps_costs_one_line(
    folder: Path, content: bytes, lumps: tuple[str, ...], message: str
) -> None:
    change_lumps(folder / "basic.wad", content, *lumps)
    path = write(folder, OWN)
    if not message:  # the engine puts up with it
        return play(path)
    with pytest.raises(ValueError, match=message) as error:
        play(path)
    assert "\n" not in str(error.value)


def test_a_players_map_is_read_or_refused_by_name(folder: Path) -> None:
    wad = folder / "basic.wad"
    assert len(read_map(wad, "map01").lines) > 0
    with pytest.raises(ValueError, match="basic.wad has no map 'MAP07'"):
        read_map(wad, "MAP07")
    change_lumps(wad, b"linedef { v1 = 9; }\n", "TEXTMAP")
    with pytest.raises(ValueError, match="map MAP01 of .*basic.wad is damaged"):
        read_map(wad, "MAP01")


def test_frames_are_known_by_the_bytes_of_the_wads_whatever_they_are_called(tmp_path: Path) -> None:
    shipped = Path(vizdoom.scenarios_path) / "take_cover.wad"
    mine = os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9.wad")  # no UTF-8
    shutil.copy(shipped, mine)
    scenario = get_scenario("freedoom", "MAP01", mine)
    assert game_origin(scenario) == game_origin(SCENARIOS["take_cover"], "mit") == FREEDOOM
    assert scenario.place == "freedoom:m\ufffd:MAP01"
    with open(mine, "ab") as file:
        file.write(b"changed")
    assert game_origin(scenario, "cc-by-4.0") == Origin("ViZDoom with m\ufffd.wad", "cc-by-4.0")
    assert game_origin(scenario) == Origin("ViZDoom with m\ufffd.wad", None)
