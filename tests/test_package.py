"""Promises of the package as a whole: light import, scenarios that agree with ViZDoom, what works on this machine."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import ROOT

import doom_dream_env
from doom_dream_env import seeds
from doom_dream_env.commands import benchmark, doctor
from doom_dream_env.commands.cli import main
from doom_dream_env.scenarios import BUTTONS, SCENARIOS, Scenario

VIZDOOM_IDS = {
    "take_cover": "VizdoomTakeCover-v1",
    "basic": "VizdoomBasic-v1",
    "defend_the_line": "VizdoomDefendLine-v1",
    "health_gathering_supreme": "VizdoomHealthGatheringSupreme-v1",
    "deadly_corridor": "VizdoomDeadlyCorridor-v1",
    "my_way_home": "VizdoomMyWayHome-v1",
    "predict_position": "VizdoomPredictPosition-v1",
    "defend_the_center": "VizdoomDefendCenter-v1",
    "health_gathering": "VizdoomHealthGathering-v1",
}


def test_import_loads_neither_torch_nor_vizdoom_and_registers_the_ids() -> None:
    code = (
        "import sys, doom_dream_env, doom_dream_env.scenarios, doom_dream_env.seeds, doom_dream_env.scenarios.wads\n"
        "import doom_dream_env.envs, gymnasium as gym\n"
        "heavy = {'torch', 'vizdoom', 'timm', 'stable_baselines3', 'pygame'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'DreamDoom-v0', 'RealDoom-v0'} <= set(gym.registry)\n"
        "print('light')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "light", done.stderr


def test_public_names_exist_and_others_do_not() -> None:
    from doom_dream_env import envs
    from doom_dream_env.world_model import WorldModel

    assert doom_dream_env.WorldModel is WorldModel
    for name in doom_dream_env.__all__:
        assert getattr(doom_dream_env, name) is not None
    for name in envs.__all__:
        assert getattr(envs, name).__name__ == name
    with pytest.raises(AttributeError, match="WorldModle"):
        doom_dream_env.WorldModle  # noqa: B018
    with pytest.raises(AttributeError, match="DreamBach"):
        envs.DreamBach  # noqa: B018


def test_a_place_is_the_scenario_with_its_wad_and_map() -> None:
    own = Scenario("freedoom", "freedoom2.cfg", BUTTONS, (), 10, map="MAP07", wad="/somewhere/mine.wad")
    assert SCENARIOS["take_cover"].place == "take_cover"
    assert SCENARIOS["freedoom"].place == "freedoom:MAP01"
    assert own.place == "freedoom:mine:MAP07"


def test_no_seed_is_in_two_splits_and_each_use_has_the_split_it_should() -> None:
    splits = list(seeds.SPLITS.values())
    assert all(left.stop == right.start for left, right in zip(splits, splits[1:], strict=False))
    assert {seeds.BLIND_SEARCH, seeds.CLONING} <= set(seeds.TRAINING)
    assert seeds.AGENT_SELECTION in seeds.VALIDATION
    assert {seeds.EVALUATION, seeds.RANKING, seeds.FILM, seeds.SHIPPED_TESTS} <= set(seeds.TEST)


@pytest.mark.parametrize("name", VIZDOOM_IDS)
def test_action_table_is_that_of_vizdooms_own_environment(name: str) -> None:
    import vizdoom.gymnasium_wrapper  # noqa: F401

    env = gym.make(VIZDOOM_IDS[name]).unwrapped
    try:
        buttons = [button.name for button in env.game.get_available_buttons()]
        space = env.action_space["binary"] if hasattr(env.action_space, "spaces") else env.action_space
        expected = np.zeros((space.n, len(BUTTONS)))
        for row, pressed in enumerate(env.button_map):
            for button, value in zip(buttons, pressed, strict=True):
                expected[row, BUTTONS.index(button)] = value
        table = SCENARIOS[name].action_table()
        assert table.dtype == np.uint8
        np.testing.assert_array_equal(table, expected)
        assert SCENARIOS[name].buttons == tuple(buttons)
    finally:
        env.close()


CHECKS = {"Python", "libraries", "for training", "processor", "memory", "screen", "ViZDoom", "weights", "speed"}


def lines_of(text: str) -> dict[str, tuple[str, str]]:
    """Name of a check → its mark and what it found."""
    return {line[8:20].strip(): (line[:8].strip(), line[22:]) for line in text.splitlines()[:-1]}


def test_a_sound_installation_has_a_line_for_each_check(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.05)
    assert main(["doctor", "--weights", str(weights)]) == 0
    found = lines_of(capsys.readouterr().out)
    assert found.keys() == CHECKS
    assert not [name for name, (mark, _) in found.items() if mark == "BROKEN"]
    assert "torch " in found["libraries"][1] and "threads" in found["processor"][1]
    assert "played a second" in found["ViZDoom"][1] and "steps/s" in found["speed"][1]


def test_what_is_broken_is_found_and_the_rest_goes_on(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "decoder.safetensors").write_bytes(b"nothing")

    def broken() -> doctor.Finding:
        raise RuntimeError("no engine\nhere")

    monkeypatch.setattr(doctor, "check_game", broken)
    monkeypatch.setattr(doctor, "check_screen", lambda: doctor.Finding("none", False, essential=False))
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["no-such-library>=1", "tyro>=0.9; extra == 'train'"])
    assert main(["doctor", "--weights", str(copy)]) == 1
    found = lines_of(capsys.readouterr().out)
    assert found["weights"][0] == "BROKEN" and "decoder.safetensors is damaged" in found["weights"][1]
    assert found["ViZDoom"] == ("BROKEN", "RuntimeError: no engine here")
    assert found["libraries"][0] == "BROKEN" and "missing: no-such-library" in found["libraries"][1]
    assert found["screen"][0] == "note" and found["Python"][0] == "ok" and found["speed"][0] == "BROKEN"


def test_the_command_prints_dream_and_game_and_keeps_a_row(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "ENV_COUNTS", (1, 64, 256))
    monkeypatch.setattr(benchmark, "PIXEL_ENV_COUNTS", (1,))
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    table = tmp_path / "results.md"
    table.write_text(f"# Speed\n\n{benchmark.TABLE}| another machine |\n\nThe end.\n")
    assert main(["bench", "--weights", str(weights), "--seconds", "0.1", "--table", str(table)]) == 0
    assert os.environ["SDL_VIDEODRIVER"] == "x11"
    assert [line.count("|") for line in table.read_text().splitlines()] == [0, 0, 7, 7, 7, 2, 0, 0]
    printed = capsys.readouterr().out
    for part in ("256 dreams, steps/s", "with pixels", "window, frames/s", "from a key", "SubprocVecEnv", "GFLOP/s"):
        assert part in printed
