"""Real ViZDoom behind the project's contracts.

RGB frames of 160x120, nine buttons, terminated or truncated but never both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, VARIABLES, Scenario
from doom_dream_env.wads import is_iwad, shipped_wad


def make_engine_folder() -> None:
    """Make the folder that the engine wants in the working folder.

    The engine makes it itself, but dies of finding it there if another engine was quicker by a moment.

    Raises:
        OSError: the working folder cannot be written.
    """
    folder = Path("_vizdoom")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OSError(
            f"ViZDoom keeps its files in {folder.absolute()}, which cannot be made ({error}); "
            "start from a folder that can be written"
        ) from error


class Game:
    """One running ViZDoom instance.

    Args:
        scenario: what is played.
        privileged: also expose what a player cannot know (`state.labels`, `state.objects`); used for data only.

    Attributes:
        frame: the newest frame, uint8 (120, 160, 3). When an episode has ended there is no new one (ViZDoom has none):
            this keeps the last.
        variables: values of `VARIABLES`, float32 (V,), zero where the scenario hides them; final ones after the end.
        state: ViZDoom's own state; None after the end.
    """

    def __init__(self, scenario: Scenario, privileged: bool = False) -> None:
        import vizdoom as vzd

        self.scenario = scenario
        self.frame: npt.NDArray[np.uint8] = np.zeros(FRAME_SHAPE, np.uint8)
        self.variables: npt.NDArray[np.float32] = np.zeros(len(VARIABLES), np.float32)
        self.state: Any = None
        self._vizdoom = vzd
        self._game = game = vzd.DoomGame()
        game.load_config(os.path.join(vzd.scenarios_path, scenario.config))  # an absolute path stays as it is
        self._choose_map()
        for name, value in scenario.rewards:
            getattr(game, f"set_{name}")(value)
        names = [button.name for button in game.get_available_buttons()]
        if missing := [name for name in scenario.buttons if name not in names]:
            raise ValueError(f"{scenario.config} lacks the buttons {', '.join(missing)} of {scenario.name}")
        # Buttons that the model does not have (weapon keys of free play, say) are never pressed: -1.
        self._buttons = [BUTTONS.index(name) if name in scenario.buttons else -1 for name in names]
        game.set_screen_resolution(vzd.ScreenResolution.RES_160X120)
        game.set_screen_format(vzd.ScreenFormat.RGB24)
        game.set_window_visible(False)
        game.set_render_messages(False)  # They covered a third of the picture whenever something was picked up.
        game.set_mode(vzd.Mode.PLAYER)
        if not game.get_episode_timeout() or scenario.map is not None:
            game.set_episode_timeout(scenario.time_limit * scenario.frame_skip)
        for name in ("automap", "audio", "depth"):
            getattr(game, f"set_{name}_buffer_enabled")(False)  # nobody looks
        game.set_labels_buffer_enabled(privileged)
        game.set_objects_info_enabled(privileged)
        self._readers = [getattr(vzd.GameVariable, name) if name in scenario.variables else None for name in VARIABLES]
        make_engine_folder()
        game.init()

    def _choose_map(self) -> None:
        """Load the scenario's map and WAD, where it names any: a whole game, or an addition to one."""
        scenario = self.scenario
        if scenario.map is None:
            return
        if scenario.wad is None:
            self._game.set_doom_game_path(str(shipped_wad(scenario.map)))
        elif is_iwad(scenario.wad):
            self._game.set_doom_game_path(scenario.wad)
        else:
            self._game.set_doom_game_path(str(shipped_wad(scenario.map)))
            self._game.set_doom_scenario_path(scenario.wad)
        self._game.set_doom_map(scenario.map)

    def _observe(self) -> None:
        get = self._game.get_game_variable
        # The game counts below zero when it kills; its own display does not.
        values = [0.0 if reader is None else max(get(reader), 0.0) for reader in self._readers]
        self.variables = np.array(values, np.float32)
        self.state = self._game.get_state()
        if self.state is not None:
            self.frame = np.array(self.state.screen_buffer, np.uint8)

    def reset(self, seed: int) -> None:
        """Start a new episode that the seed determines."""
        self._game.set_seed(int(seed) % 2**32)
        self._game.new_episode()
        self._observe()

    def step(self, buttons: npt.ArrayLike, tics: int | None = None) -> tuple[float, bool, bool]:
        """Hold the nine 0/1 `buttons` for one step.

        Args:
            buttons: 0/1 vector of length 9; buttons the scenario lacks are ignored, as the game would.
            tics: hold for so many tics instead of the scenario's frame skip.

        Returns:
            reward, terminated (the player died or the scenario ended), truncated (time ran out).
        """
        pressed = np.asarray(buttons)
        action = [0 if index < 0 else int(pressed[index]) for index in self._buttons]
        reward = self._game.make_action(action, tics or self.scenario.frame_skip)
        finished = self._game.is_episode_finished()
        truncated = finished and self._game.is_episode_timeout_reached() and not self._game.is_player_dead()
        self._observe()
        return float(reward), finished and not truncated, truncated

    def pose(self) -> npt.NDArray[np.float32]:
        """Player's x, y, z (map units) and angle (degrees)."""
        variable = self._vizdoom.GameVariable
        wanted = (variable.POSITION_X, variable.POSITION_Y, variable.POSITION_Z, variable.ANGLE)
        return np.array([self._game.get_game_variable(reader) for reader in wanted], np.float32)

    def close(self) -> None:
        """Stop the game."""
        self._game.close()
