"""Promises of the package as a whole: light import, registered ids, scenarios that agree with ViZDoom."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from conftest import ROOT

import doom_dream_env
from doom_dream_env import seeds
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
        "import sys, doom_dream_env, doom_dream_env.scenarios, doom_dream_env.seeds, doom_dream_env.wads\n"
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
