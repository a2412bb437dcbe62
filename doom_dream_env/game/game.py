"""Real ViZDoom behind the project's contracts.

RGB frames of 160x120, nine buttons, terminated or truncated but never both.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.errors import UserError
from doom_dream_env.game.engine import LOG_VARIABLE, Engine, EngineError
from doom_dream_env.game.rehearsal import rehearse
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, VARIABLES, Scenario
from doom_dream_env.scenarios.configurations import load_configuration


class Game:
    """One running ViZDoom instance.

    Args:
        scenario: what is played.
        privileged: also expose what a player cannot know (`state.labels`, `state.objects`, `state.depth_buffer`); used
            for data only.
        rehearsed: it is known that this scenario starts; otherwise, a scenario of the user's own is tried first.

    Attributes:
        frame: the newest frame, uint8 (120, 160, 3). When an episode has ended there is no new one (ViZDoom has none):
            this keeps the last.
        variables: values of `VARIABLES`, float32 (V,), zero where the scenario hides them; final ones after the end.
        state: ViZDoom's own state; None after the end.

    Raises:
        ValueError: if the configuration, WAD or map cannot be played.
        EngineError: if the game does not start.
        OSError: if there is no room for its files.
    """

    def __init__(self, scenario: Scenario, privileged: bool = False, *, rehearsed: bool = False) -> None:
        import vizdoom as vzd

        self.scenario = scenario
        self.privileged = privileged
        self.frame: npt.NDArray[np.uint8] = np.zeros(FRAME_SHAPE, np.uint8)
        self.variables: npt.NDArray[np.float32] = np.zeros(len(VARIABLES), np.float32)
        self.state: Any = None
        self._vizdoom = vzd
        self._readers = [getattr(vzd.GameVariable, name) if name in scenario.variables else None for name in VARIABLES]
        self._closed = False
        game = self._configured()
        if not rehearsed:
            rehearse(scenario)
        self._start(game)

    def _configured(self) -> Any:
        """A `DoomGame` with all settings, not yet started."""
        vzd = self._vizdoom
        scenario = self.scenario
        game = load_configuration(scenario.config, scenario.map, scenario.wad)
        for name, value in scenario.rewards:
            getattr(game, f"set_{name}")(value)
        names = [button.name for button in game.get_available_buttons()]
        if missing := [name for name in scenario.buttons if name not in names]:
            raise UserError(f"{scenario.config} lacks the buttons {', '.join(missing)} of {scenario.name}")
        # Buttons that the model does not have (weapon keys of free play, say) are never pressed: -1.
        self._buttons = [BUTTONS.index(name) if name in scenario.buttons else -1 for name in names]
        game.set_screen_resolution(vzd.ScreenResolution.RES_160X120)
        game.set_screen_format(vzd.ScreenFormat.RGB24)
        game.set_window_visible(False)
        game.set_render_messages(False)  # They covered a third of the picture whenever something was picked up.
        game.set_mode(vzd.Mode.PLAYER)
        if not game.get_episode_timeout() or scenario.map is not None:
            game.set_episode_timeout(scenario.time_limit * scenario.frame_skip)
        game.set_depth_buffer_enabled(self.privileged)
        for name in ("automap", "audio", "notifications"):
            getattr(game, f"set_{name}_buffer_enabled")(False)  # nobody looks
        game.set_sound_enabled(False)  # nobody listens, and not every machine can
        game.set_console_enabled(LOG_VARIABLE in os.environ)
        game.set_labels_buffer_enabled(self.privileged)
        game.set_objects_info_enabled(self.privileged)
        return game

    def _start(self, game: Any) -> None:
        self._game = game
        self._engine = Engine(game)

    def _observe(self) -> None:
        get = self._game.get_game_variable
        # The game counts below zero when it kills; its own display does not.
        values = [0.0 if reader is None else max(get(reader), 0.0) for reader in self._readers]
        self.variables = np.array(values, np.float32)
        self.state = self._game.get_state()
        if self.state is not None:
            self.frame = np.array(self.state.screen_buffer, np.uint8)

    def reset(self, seed: int) -> None:
        """Start a new episode that the seed determines; with a new engine, if the old one has failed.

        Raises:
            EngineError: if the game is closed, or the new engine fails, too.
        """
        number = int(seed) % 2**32
        try:
            self._engine.call(self._begin, number)
        except EngineError:
            if self._closed or not self._engine.is_ours():
                raise
            self._engine.close()
            self._start(self._configured())
            self._engine.call(self._begin, number)
        self._observe()

    def _begin(self, seed: int) -> None:
        self._game.set_seed(seed)
        self._game.new_episode()

    def step(self, buttons: npt.ArrayLike, tics: int | None = None) -> tuple[float, bool, bool]:
        """Hold the nine 0/1 `buttons` for one step.

        Args:
            buttons: 0/1 vector of length 9; buttons the scenario lacks are ignored, as the game would.
            tics: hold for so many tics instead of the scenario's frame skip.

        Returns:
            reward, terminated (the player died or the scenario ended), truncated (time ran out).

        Raises:
            EngineError: if the game is closed, or the engine fails; after a failure the game can be reset.
        """
        pressed = np.asarray(buttons)
        action = [0 if index < 0 else int(pressed[index]) for index in self._buttons]
        reward = self._engine.call(self._game.make_action, action, tics or self.scenario.frame_skip)
        finished = self._game.is_episode_finished()
        truncated = finished and self._game.is_episode_timeout_reached() and not self._game.is_player_dead()
        self._observe()
        return float(reward), finished and not truncated, truncated

    def pose(self) -> npt.NDArray[np.float32]:
        """Player's x, y, z (map units) and angle (degrees)."""
        variable = self._vizdoom.GameVariable
        wanted = (variable.POSITION_X, variable.POSITION_Y, variable.POSITION_Z, variable.ANGLE)
        return np.array([self._engine.call(self._game.get_game_variable, reader) for reader in wanted], np.float32)

    def kills(self) -> int:
        """Monsters that the player has killed in this episode."""
        return int(self._engine.call(self._game.get_game_variable, self._vizdoom.GameVariable.KILLCOUNT))

    def close(self) -> None:
        """Stop the game."""
        self._closed = True
        self._engine.close()
