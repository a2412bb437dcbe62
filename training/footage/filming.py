"""Filming one video of free play: the real game at the film's size, interludes cut in, and what was pressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.play.film import Film
from doom_dream_env.scenarios import FRAME_SHAPE, TICS_PER_SECOND, Scenario, get_scenario, press
from doom_dream_env.seeds import SPLITS
from training.config.collect import Split
from training.config.film import Look
from training.footage.interludes import ENDINGS, OPENINGS, PAUSES, Interlude, Picture, death
from training.footage.truth import TruthWriter, keys_file
from training.players.roster import make_player

EPISODES_PER_FILM = 50  # at most; also the stride of the films' seeds
SIGHTLESS = ("random", "alternating")  # players that need nothing of what the game knows
SKILLS = (1, 5)  # easiest and hardest
ARSENAL = ("Shotgun", "Chaingun", "RocketLauncher", "PlasmaRifle", "Chainsaw")
SUPPLIES = ("ClipBox", "ShellBox", "RocketBox", "CellPack")
ARMED = 0.6  # share of the episodes that begin with another weapon than the pistol
PAUSE_AFTER = 35.0  # seconds of play; mean until a menu
SKIPPED = 0.25  # share of the frames that a film of variable rate lacks
HALT = (2, 6)  # tics that such a film stands still now and then
HALTS = 0.01  # how often, per tic

# Where the view is 90 degrees wide and 160 pixels across, this is the distance in pixels of eye and screen.
FOCAL = FRAME_SHAPE[1] / 2


@dataclass(frozen=True)
class FilmJob:
    """One film.

    Attributes:
        path: the .mp4.
        index: number of the film, which says which part of the seeds.
        split: whose seeds.
        tics: length.
        map: of Freedoom.
        player: who plays.
        look: its name, and `appearance` what that is.
        interludes: whether there are any.
        hud: whether the status bar is shown.
    """

    path: Path
    index: int
    split: Split
    tics: int
    map: str
    player: str
    look: str
    appearance: Look
    interludes: bool
    hud: bool

    @property
    def is_done(self) -> bool:
        """Is the film there, whole? What was pressed is written last."""
        return self.path.is_file() and keys_file(self.path).is_file()


class FilmedGame(Game):
    """A game drawn at a film's size, which players see as if it had the size that they know.

    Args:
        scenario: free play.
        size: width and height of its frames.
        skill: 1 to 5.
        hud: show the status bar.
        privileged: as for `Game`.
    """

    def __init__(self, scenario: Scenario, size: tuple[int, int], skill: int, hud: bool, privileged: bool) -> None:
        self._size = size
        self._skill = skill
        self._hud = hud
        super().__init__(scenario, privileged)

    def _configured(self) -> Any:
        game = super()._configured()
        width, height = self._size
        game.set_screen_resolution(getattr(self._vizdoom.ScreenResolution, f"RES_{width}X{height}"))
        game.set_doom_skill(self._skill)
        game.set_render_hud(self._hud)
        return game

    def _observe(self) -> None:
        super()._observe()
        if self.state is None:
            return
        width, height = self._size
        scale = FRAME_SHAPE[0] / height  # a wider picture shows more at the sides, of the same size
        labels = [_scaled(label, scale, FOCAL - scale * width / 2) for label in self.state.labels or ()]
        self.state = SimpleNamespace(labels=labels, objects=self.state.objects)

    def arm(self, rng: np.random.Generator) -> None:
        """Give the player a weapon and rounds for it."""
        for thing in (str(rng.choice(ARSENAL)), *SUPPLIES):
            self._engine.call(self._game.send_game_command, f"give {thing}")


def _scaled(label: Any, scale: float, shift: float) -> SimpleNamespace:
    """A visible object in the columns and rows that players know."""
    return SimpleNamespace(
        object_id=label.object_id,
        object_name=label.object_name,
        object_category=label.object_category,
        object_position_x=label.object_position_x,
        object_position_y=label.object_position_y,
        object_position_z=label.object_position_z,
        x=label.x * scale + shift,
        y=label.y * scale,
        width=label.width * scale,
        height=label.height * scale,
    )


class Canvas:
    """Puts the pictures of a game on a film in its look, at its frame rate."""

    def __init__(self, film: Film, look: Look, rng: np.random.Generator) -> None:
        self._film = film
        self._look = look
        self._rng = rng
        self._tic = 0
        self._frames = 0
        self._halted = 0

    def add(self, picture: Picture) -> None:
        """Show a picture for one tic."""
        look = self._look
        if look.rate is None:
            if self._halted == 0 and self._rng.random() < HALTS:
                self._halted = int(self._rng.integers(*HALT))
            if self._tic == 0 or (self._halted == 0 and self._rng.random() >= SKIPPED):
                self._film.add(self._composed(picture), at=self._tic)
            self._halted = max(self._halted - 1, 0)
        else:
            # Frame k is seen from k / rate on and shows the newest tic, k · 35 / rate rounded down.
            while self._frames * TICS_PER_SECOND // look.rate == self._tic:
                self._film.add(self._composed(picture))
                self._frames += 1
        self._tic += 1

    def _composed(self, picture: Picture) -> Picture:
        look = self._look
        image = Image.fromarray(picture)
        if image.size != look.picture:
            image = image.resize(look.picture, Image.Resampling.BICUBIC)
        if look.picture != look.frame:
            canvas = Image.new("RGB", look.frame)
            left, top = ((whole - part) // 2 for whole, part in zip(look.frame, look.picture, strict=True))
            canvas.paste(image, (left, top))
            image = canvas
        if look.rotation == 90:
            image = image.transpose(Image.Transpose.ROTATE_270)
        return np.asarray(image)


def shoot_film(job: FilmJob) -> int:
    """Film one video, then write down what was pressed.

    Returns:
        its number of tics.
    """
    rng = np.random.default_rng((SPLITS[job.split].start, job.index))
    look = job.appearance
    skill = int(rng.integers(SKILLS[0], SKILLS[1] + 1))
    scenario = get_scenario("freedoom", job.map)
    game = FilmedGame(scenario, look.game, skill, job.hud, privileged=job.player not in SIGHTLESS)
    truth = TruthWriter()
    film = Film(
        job.path,
        look.rate or TICS_PER_SECOND,
        quality=look.quality,
        pixel_aspect=Fraction(*look.pixel_aspect),
        rotation=look.rotation,
    )
    canvas = Canvas(film, look, rng)
    try:
        with film:
            for picture in _pictures(job, game, truth, rng):
                canvas.add(picture)
                if len(truth) == job.tics:
                    break
    except BaseException:
        job.path.unlink(missing_ok=True)  # half a film would look like a whole one
        raise
    finally:
        game.close()
    about = {"look": job.look, "map": job.map, "player": job.player, "skill": skill, "hud": job.hud, **asdict(look)}
    truth.write(keys_file(job.path), about)
    return len(truth)


def _pictures(job: FilmJob, game: FilmedGame, truth: TruthWriter, rng: np.random.Generator) -> Iterator[Picture]:
    """Every picture of the film, tic by tic; `truth` learns what happens in each before it is given out."""
    nothing = press()
    held = game.scenario.frame_skip  # tics for which a player presses the same keys

    def cut_in(kinds: Sequence[Interlude]) -> Iterator[Picture]:
        kind = kinds[int(rng.integers(len(kinds)))]
        for picture in kind(game.frame, rng):
            truth.add(nothing, kind.__name__)
            yield picture

    first = SPLITS[job.split].start + job.index * EPISODES_PER_FILM
    for truth.episode, seed in enumerate(range(first, first + EPISODES_PER_FILM)):
        if seed not in SPLITS[job.split]:
            raise UserError(f"film {job.index} needs seeds beyond those of the split {job.split!r}; film fewer")
        game.reset(seed)
        if rng.random() < ARMED:
            game.arm(rng)
        # Keys change at any moment of a video, not at the beginning of its every fourth tic.
        game.step(nothing, tics=int(rng.integers(1, 1 + held)))
        if job.interludes and seed == first:
            yield from cut_in(OPENINGS)
        player = make_player(job.player, game.scenario, np.random.default_rng(seed))
        until_pause = rng.exponential(PAUSE_AFTER) * TICS_PER_SECOND
        ended = died = False
        while not ended:
            action = player(game)
            for _ in range(held):
                picture = game.frame
                health = float(game.variables[0])
                _, terminated, truncated = game.step(action, tics=1)
                died = bool(terminated and game.variables[0] <= 0)
                truth.add(action, "play", health, died)
                yield picture
                ended = terminated or truncated
                until_pause -= 1
                if ended:
                    break
            if job.interludes and until_pause < 0 and not ended:
                yield from cut_in(PAUSES)
                until_pause = rng.exponential(PAUSE_AFTER) * TICS_PER_SECOND
        if job.interludes:
            if died:
                yield from cut_in([death])
            yield from cut_in(ENDINGS)
    raise UserError(f"{EPISODES_PER_FILM} episodes do not fill {job.path}: make shorter films")
