"""Promises of the game itself: true colours, whole endings, declared time limits, WADs of the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import SCENARIOS, get_scenario
from doom_dream_env.wads import shipped_wad
from training.players.roster import TEACHERS


def test_frames_are_rgb_not_bgr() -> None:
    """Against ViZDoom's own planes: CRCGCB is red, green, blue, one after the other."""
    import vizdoom as vzd

    game = Game(SCENARIOS["health_gathering"])
    game.reset(3)
    planes = vzd.DoomGame()
    planes.load_config(os.path.join(vzd.scenarios_path, "health_gathering.cfg"))
    planes.set_screen_resolution(vzd.ScreenResolution.RES_160X120)
    planes.set_screen_format(vzd.ScreenFormat.CRCGCB)
    planes.set_window_visible(False)
    planes.set_seed(3)
    planes.init()
    planes.set_seed(3)
    planes.new_episode()
    expected = np.moveaxis(planes.get_state().screen_buffer, 0, -1)
    assert np.array_equal(game.frame, expected) and not np.array_equal(game.frame, expected[..., ::-1])
    game.close()
    planes.close()


def test_an_ended_game_keeps_its_last_frame_and_tells_the_final_variables() -> None:
    game = Game(SCENARIOS["health_gathering"])
    game.reset(0)
    frame = game.frame
    ended = False
    while not ended:
        frame = game.frame.copy()
        reward, terminated, truncated = game.step(np.zeros(9))
        ended = terminated or truncated
    assert terminated and not truncated and reward < -90
    assert np.array_equal(game.frame, frame) and game.frame.any()
    assert game.variables[0] <= 0 and game.variables[1] == 0
    game.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_players_whole_life_ends_by_time_at_the_declared_limit(name: str) -> None:
    """Every real scenario truncates at `time_limit`, whatever its own configuration says about time."""
    scenario = SCENARIOS[name]
    game = Game(scenario, privileged=True)
    limits = set()
    for seed in range(6):
        player = TEACHERS[name](scenario, np.random.default_rng(seed))
        game.reset(70_000 + seed)
        steps = 0
        ended = False
        while not ended:
            _, terminated, truncated = game.step(player(game))
            assert not (terminated and truncated)
            steps += 1
            ended = terminated or truncated
        assert steps <= scenario.time_limit
        if truncated:
            limits.add(steps)
    game.close()
    assert limits <= {scenario.time_limit}


# ---- maps and WADs ---------------------------------------------------------------------------------------------------


def test_a_wad_of_ones_own_is_played_as_a_whole_game_or_as_an_addition(tmp_path: Path) -> None:
    own = tmp_path / "own.wad"
    own.symlink_to(shipped_wad("MAP01"))
    scenario = get_scenario("freedoom", wad=own)
    assert (scenario.map, scenario.place) == ("MAP01", "freedoom:freedoom2:MAP01")
    game = Game(scenario)
    game.reset(1)
    assert game.frame.any() and game.variables[0] == 100
    game.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "only 0 bytes"),
        (b"ZIP!" + bytes(20), "begins with"),
        (b"PWAD" + bytes([9, 0, 0, 0, 12, 0, 0, 0]), "cut off"),
        (b"PWAD\xff\xff\xff\x7f" + (12).to_bytes(4, "little"), "directory of 2147483647 entries"),
        (b"PWAD\xff\xff\xff\xff" + (12).to_bytes(4, "little"), "directory of -1 entries"),
        (b"PWAD\x01\0\0\0" + (12).to_bytes(4, "little") + b"\0\0\0\x40\x09\0\0\0MAP01\0\0\0", "'MAP01' lies outside"),
    ],
)
def test_what_is_no_wad_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.wad"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        get_scenario("freedoom", wad=path)
    assert "broken.wad" in str(error.value)


def test_maps_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no map 'MAP99'; it has MAP01, MAP02"):
        get_scenario("freedoom", map="MAP99")
    with pytest.raises(ValueError, match="map of its own"):
        get_scenario("take_cover", map="MAP01")
    with pytest.raises(ValueError, match="cannot read the WAD"):
        get_scenario("freedoom", wad="/nowhere/doom2.wad")
