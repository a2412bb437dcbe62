"""Promises of the game: true colours, whole endings, own WADs; through the encoder it is the dream's twin."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import make_model, play, random_frames, same

from doom_dream_env.envs import GameBatch, RealBatch
from doom_dream_env.envs.base import FEATURE_LIMIT
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import SCENARIOS, get_scenario
from doom_dream_env.scenarios.wads import shipped_wad
from doom_dream_env.world_model import WorldModel
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


def test_the_real_game_repeats_with_its_seed_and_shows_real_frames(weights: Path) -> None:
    env = gym.make("RealDoom-v0", observation="pixels", weights=weights, render_mode="rgb_array").unwrapped
    first, again, other = play(env, 7, 20), play(env, 7, 20), play(env, 8, 20)
    assert same(first, again) and not same(first, other)
    assert all(0 < step[0].mean() < 255 for step in first)
    assert np.array_equal(env.render(), env.batch.games[0].frame)
    env.close()
    env.close()


def test_real_features_are_the_encoders_of_the_real_history(model: WorldModel) -> None:
    env = gym.make("RealDoom-v0", scenario="defend_the_center", weights=model).unwrapped
    frames = []
    variables = []
    actions = [1, 3, 0, 2]
    observation, _ = env.reset(seed=3)
    for action in [*actions, None]:
        frames.append(env.batch.games[0].frame.copy())
        variables.append(env.batch.games[0].variables.copy())
        if action is not None:
            observation = env.step(action)[0]
    pressed = SCENARIOS["defend_the_center"].action_table()[actions]
    state = model.observe(np.stack(frames)[None], pressed[None], None, np.stack(variables)[None], "defend_the_center")
    np.testing.assert_allclose(
        observation, model.features(state)[0].clamp(-FEATURE_LIMIT, FEATURE_LIMIT).numpy(), atol=1e-4
    )
    with pytest.raises(ValueError, match="cannot begin from a clip"):
        env.reset(options={"frames": random_frames(1)})
    env.close()
    assert variables[0].tolist() == [100.0, 26.0, 0.0, 0.0]


def test_the_real_game_ends_by_death_or_time_never_both(weights: Path) -> None:
    env = gym.make("RealDoom-v0", scenario="health_gathering", weights=weights).unwrapped
    env.reset(seed=1)
    rewards = []
    done = False
    while not done:  # standing still on the burning floor
        frame = env.batch.games[0].frame.copy()
        observation, reward, terminated, truncated, info = env.step(0)
        assert env.observation_space.contains(observation)
        rewards.append(reward)
        done = terminated or truncated
    assert terminated and not truncated and info["HEALTH"] <= 0
    assert rewards[-1] < -90 and set(rewards[:-1]) == {4.0}
    assert np.array_equal(env.batch.games[0].frame, frame), "an ended game keeps its last frame"
    with pytest.raises(RuntimeError, match="ended"):
        env.step(0)
    env.close()


def test_a_scenario_that_the_weights_do_not_know_is_played_for_real_with_neutral_heads() -> None:
    config = make_model().config
    narrow = WorldModel(dataclasses.replace(config, scenarios=("take_cover",), known=config.known[:1])).eval()
    env = gym.make("RealDoom-v0", scenario="basic", weights=narrow).unwrapped
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation) and (set(info), info["AMMO2"]) == ({"drift", "AMMO2"}, 50)
    assert int(env.batch.state.scenario[0]) == 1
    env.close()


def test_bare_games_are_those_of_the_encoded_ones(weights: Path) -> None:
    bare = GameBatch(2, "take_cover")
    seen = RealBatch(2, "take_cover", weights=weights)
    try:
        for batch in (bare, seen):
            batch.reset(seed=[5, 6])
            assert batch.seeds == [5, 6] and batch.per_episode_seeds
        for action in (0, 1, 2, 2):
            mine = bare.step(torch.tensor([action, 0]))
            theirs = seen.step(torch.tensor([action, 0]))
            assert all(torch.equal(a, b) for a, b in zip(mine[1:], theirs[1:], strict=True))
            assert np.array_equal(bare.frames(), seen.frames())
        with pytest.raises(RuntimeError, match="nothing is encoded here"):
            _ = bare.features
        bare.reset(torch.tensor([False, True]), seed=[9])
        assert bare.seeds == [5, 9] and bare.steps.tolist() == [4, 0]
        with pytest.raises(ValueError, match="one for each of the 2 games"):
            bare.reset(seed=[1])
    finally:
        bare.close()
        seen.close()


def test_a_game_that_has_ended_stands_still_until_it_is_reset() -> None:
    batch = GameBatch(2, "take_cover", privileged=True, max_episode_steps=3)
    try:
        batch.reset(seed=0)
        assert all(game.state.objects for game in batch.games), "privileged games do not show the game's objects"
        for _ in range(2):
            batch.step(torch.zeros(2, dtype=torch.long))
        batch.reset(torch.tensor([False, True]))
        _, _, terminated, truncated = batch.step(torch.zeros(2, dtype=torch.long))
        assert truncated.tolist() == [True, False] and not terminated.any()
        with pytest.raises(RuntimeError, match=r"environments \[0\] have ended"):
            batch.step(torch.zeros(2, dtype=torch.long))
        frame = batch.games[0].frame
        _, reward, _, truncated = batch.step(torch.zeros(2, dtype=torch.long), allow_ended=True)
        assert batch.games[0].frame is frame and reward.tolist() == [0.0, 4.0] and not truncated.any()
    finally:
        batch.close()
        batch.close()
