"""A person's play of the real game as data: what `training.data.collect` records of its own players."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import BUTTONS, Buttons, Scenario, press
from doom_dream_env.seeds import TRAINING

LOSS = 60.0  # s of play, at most, that a killed program takes with it


class HumanRecorder:
    """Plays the real game for a person, tic by tic, and records it step by step.

    The buttons of a step's first tic are held for all of it, as every other player holds them: the frames between two
    steps are only to be looked at. Shards are `folder/<scenario>/train-human-00000.parquet` and on, in free play
    `train-human-MAP01-00000.parquet`; none of an earlier session is overwritten. The newest is written again, whole,
    whenever an episode ends, every minute of a longer one, and on `close`: a program that is killed loses no more than
    that. The next one begins with the episode after 1500 steps.

    Args:
        folder: of the dataset; made if it is missing.
        scenario: what is played.
        game: made with `privileged=True`; whoever made it closes it.
        licence: under which its pictures may be passed on, where a WAD does not ship with ViZDoom. What was recorded of
            the same before gets it, too.

    Raises:
        ImportError: without pyarrow; the message has the command that installs it.
        OSError: if the folder cannot be written to.
    """

    def __init__(self, folder: Path, scenario: Scenario, game: Game, licence: str | None = None) -> None:
        from doom_dream_env.game import recording  # needs pyarrow, which playing does not

        self._recording = recording
        self._shard = recording.ShardWriter()
        self.folder = folder / scenario.name
        self.scenario = scenario
        self.game = game
        self._has_button = np.array([name in scenario.buttons for name in BUTTONS])
        self._seed = -1
        self._elapsed = 0  # whole steps of the episode
        self._ended = True
        self._tics = 0  # of the step that is being played
        self._before: dict[str, Any] = {}  # what its row holds of the moment before it
        self._action: Buttons = press()
        self._reward = 0.0
        self._path: Path | None = None  # of the newest shard, once it is written
        self._unsaved = 0  # steps that are not in it yet
        self._origin = recording.game_origin(scenario, licence)
        self._stem = "-".join(["train", "human", *scenario.place.split(":")[1:]])
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise OSError(error.errno, f"cannot record in {self.folder}: {error.strerror}") from error
        if licence is not None:
            for path in self._recorded():
                if recording.read_origin(path).source == self._origin.source:
                    recording.state_origin(path, self._origin)

    def _recorded(self) -> list[Path]:
        """The shards of this scenario and map that are there."""
        return list(self.folder.glob(f"{self._stem}-*.parquet"))

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed; one that has not ended is left as it is.

        Raises:
            ValueError: if the seed is not one of training.
        """
        if seed not in TRAINING:
            raise UserError(f"recorded play is for training, so its seeds are 0 to {TRAINING[-1]}, not {seed}")
        if seed == self._seed:
            self.close()  # within a shard, episodes are told apart by their seeds
        self._save()
        self.game.reset(seed)
        self._seed = seed
        self._elapsed = 0
        self._ended = False
        self._tics = 0

    def tic(self, buttons: npt.ArrayLike) -> tuple[float, bool, bool]:
        """Play one tic; the last one of a step records it.

        Args:
            buttons: nine 0/1; looked at in a step's first tic only.

        Returns:
            reward of the tic, terminated, truncated; after an end, `begin` again.

        Raises:
            RuntimeError: if no episode has begun or it has ended.
            OSError: if the shard that is due cannot be written.
        """
        if self._ended:
            raise RuntimeError("no episode is running: call begin(seed)")
        if self._tics == 0:
            self._before = self._recording.before_step(self.game)
            self._action = np.asarray(buttons, np.uint8) * self._has_button
            self._reward = 0.0
        reward, terminated, truncated = self.game.step(self._action, tics=1)
        self._reward += reward
        self._tics += 1
        self._ended = terminated or truncated
        if self._ended or self._tics == self.scenario.frame_skip:
            self._record_step(terminated, truncated)
        return reward, terminated, truncated

    def _record_step(self, terminated: bool, truncated: bool) -> None:
        self._shard.add(
            **self._before,
            action=self._action,
            reward=np.float32(self._reward),
            terminated=terminated,
            truncated=truncated,
            next_variables=self.game.variables,
            elapsed=self._elapsed,
            episode=self._seed,
            behaviour="human",
        )
        self._elapsed += 1
        self._unsaved += 1
        self._tics = 0
        if self._ended or self._unsaved * self.scenario.seconds_per_step >= LOSS:
            self._save()
        if self._ended and len(self._shard) >= self._recording.STEPS_PER_SHARD:
            self.close()

    def step(self, buttons: npt.ArrayLike) -> tuple[float, bool, bool]:
        """Play the tics that are left of the current step; as `tic`, with the sum of their rewards."""
        total = 0.0
        terminated = False
        truncated = False
        for _ in range(self.scenario.frame_skip - self._tics):
            reward, terminated, truncated = self.tic(buttons)
            total += reward
            if terminated or truncated:
                break
        return total, terminated, truncated

    def _save(self) -> None:
        """Write the newest shard again, if there are steps that it lacks."""
        if not self._unsaved:
            return
        if self._path is None:
            numbers = [int(path.stem.rpartition("-")[2]) for path in self._recorded()]
            self._path = self.folder / f"{self._stem}-{max(numbers, default=-1) + 1:05d}.parquet"
        self._shard.write(self._path, self.scenario.name, self.scenario.place, self._origin)
        self._unsaved = 0

    def close(self) -> None:
        """Finish the newest shard; of an episode that has not ended, whole steps. Playing may go on in another one.

        Raises:
            OSError: if it cannot be written; what was written before stays.
        """
        self._save()
        self._path = None
        self._shard = self._recording.ShardWriter()
