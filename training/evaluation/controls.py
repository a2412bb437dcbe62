"""Do the keys do in the dream what they do in the game: does the picture turn, does the gun flash?

Legend: N dreams or pictures, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.game.game import Game
from doom_dream_env.scenarios import Buttons, Scenario, press
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import WorldModel
from training.evaluation.dreams import WAIT, begin_dreams, drawn_film, dream_on, pressed_by_all
from training.evaluation.open_loop import Scores

OPPOSITES = (("TURN_LEFT", "TURN_RIGHT"), ("MOVE_LEFT", "MOVE_RIGHT"))
WITH_WEAPON = ("basic", "defend_the_center", "defend_the_line", "deadly_corridor", "predict_position", "freedoom")
DREAMS = 64  # per figure
GAMES = 24  # real ones per figure
HELD = 3  # steps that a key is held
FLASH_STEPS = 2  # within which a gun flashes

# How the movement of a picture is found; everything in pixels. See `sideways`.
SIGHT = slice(30, 78)  # rows below the sky and above the gun
FARTHEST = 24  # that a picture can move in a step
MOVED = 0.25  # that it must have moved while a key was held
BAND = 4  # rows that are averaged
BLUR = 11  # columns over which the picture is blurred, twice

# Where the gun and its flash are, and how much brighter a flash makes that region, grey levels.
MUZZLE_ROWS = slice(40, 110)
MUZZLE_COLUMNS = slice(60, 100)
FLASH = 2.0


# ---- turning and strafing --------------------------------------------------------------------------------------------


def sideways(before: Tensor, after: Tensor) -> Tensor:
    """How far pictures uint8 (N, 120, 160, 3) moved to the right, pixels (N,).

    It is the shift at which their edges correlate best. They are blurred, so that it is the walls that count and not
    the grain on them, which a decoder paints as it likes. Measured so, the real game moves the right way in all presses
    but half of free play's strafes, which begin at a wall; without the blur half of free play's turns look wrong too.
    """
    one = _edges(before)
    two = _edges(after)
    return _best_shift(one, two) - _best_shift(one, one)  # the latter is what the picture's borders alone would say


def _edges(picture: Tensor) -> Tensor:
    """Differences between neighbouring columns of the blurred picture, (N, bands, columns)."""
    x = F.avg_pool2d(picture.float().mean(-1)[:, None, SIGHT], (BAND, 1))
    for _ in range(2):
        x = F.avg_pool2d(x, (1, BLUR), 1)
    return x[:, 0].diff(dim=-1)


def _best_shift(one: Tensor, two: Tensor) -> Tensor:
    """Shift (N,) to the right of edges `one` at which they correlate best with `two`, to fractions of a pixel."""
    width = one.shape[-1]
    scores = []
    for shift in range(-FARTHEST, FARTHEST + 1):
        left = max(shift, 0)
        right = min(width, width + shift)
        moved = one[..., left - shift : right - shift].flatten(1)
        scores.append(F.cosine_similarity(two[..., left:right].flatten(1), moved))
    score = torch.stack(scores, 1)
    peak = score.argmax(1, keepdim=True)
    low, middle, high = (score.gather(1, (peak + step).clamp(0, 2 * FARTHEST))[:, 0] for step in (-1, 0, 1))
    # The top of the parabola through the best shift and its two neighbours.
    curvature = (2 * (low - 2 * middle + high)).clamp(max=-1e-6)
    return peak[:, 0] - FARTHEST + ((low - high) / curvature).clamp(-0.5, 0.5)


def key_scores(model: WorldModel, scenario: Scenario, game: Game) -> Scores:
    """Share of presses after which the picture moved the right way: a key held for `HELD` steps, then its opposite.

    `…_game`: the share that the real game scores by the same measure: who stands at a wall does not strafe. `…_seen`:
    that of the real game, encoded and decoded: what is lost here the dream cannot show, and what is lost only in the
    dream is the dynamics' fault.
    """
    scores: Scores = {}
    for left, right in OPPOSITES:
        if not {left, right} <= set(scenario.buttons):
            continue
        name = left.split("_")[0].lower()
        real = real_keys(game, left, right)
        seen = [
            drawn_film(model, [model.encode(frames[:, None])[:, 0] for frames in part], [pressed] * HELD)
            for part, pressed in zip(real, pressed_by_all([press(left), press(right)], len(real[0][0])), strict=True)
        ]
        dreamed = dreamed_keys(model, scenario, left, right)
        for suffix, (to_left, to_right) in (("", dreamed), ("_seen", seen), ("_game", real)):
            right_way = torch.cat([moved(to_left) > MOVED, moved(to_right) < -MOVED])
            scores[f"{name}{suffix}"] = float(right_way.float().mean())
    return scores


def moved(pictures: Sequence[Tensor]) -> Tensor:
    """How far films of T pictures (N, 120, 160, 3) moved to the right from the first to the last, pixels (N,)."""
    return torch.stack([sideways(one, other) for one, other in pairwise(pictures)]).sum(0)


def dreamed_keys(model: WorldModel, scenario: Scenario, left: str, right: str) -> list[list[Tensor]]:
    """Pictures before and after each step with a key, and then with its opposite."""
    state = begin_dreams(model, scenario, DREAMS)
    keys = pressed_by_all([press(left)] * HELD + [press(right)] * HELD, len(state))
    shown = drawn_film(model, [state, *dream_on(model, state, keys)], keys)
    return [shown[: HELD + 1], shown[HELD:]]


def real_keys(game: Game, left: str, right: str) -> list[list[Tensor]]:
    """The same in the real game."""
    keys = [press(left)] * HELD + [press(right)] * HELD
    films = [real_film(game, keys, EVALUATION + number) for number in range(GAMES)]
    whole = [film for film in films if len(film) == len(keys) + 1]
    shown = [torch.from_numpy(np.stack(frames)) for frames in zip(*whole, strict=True)]
    return [shown[: HELD + 1], shown[HELD:]]


def real_film(game: Game, keys: Sequence[Buttons], seed: int) -> list[npt.NDArray[np.uint8]]:
    """Real frames before and after each of some steps, `WAIT` steps of doing nothing into a game; fewer if it ends."""
    game.reset(seed)
    for _ in range(WAIT):
        game.step(press())
    frames = [game.frame]
    for pressed in keys:
        _, terminated, truncated = game.step(pressed)
        if terminated or truncated:
            break
        frames.append(game.frame)
    return frames


# ---- shooting --------------------------------------------------------------------------------------------------------


def flash_scores(model: WorldModel, scenario: Scenario, game: Game) -> Scores:
    """Share of moments in which ATTACK brightens the gun's region, in one of two steps, against doing nothing."""
    state = begin_dreams(model, scenario, DREAMS)
    attack = [press("ATTACK")] * FLASH_STEPS
    nothing = [press()] * FLASH_STEPS
    dreamed = []
    for keys in (attack, nothing):
        pressed = pressed_by_all(keys, len(state))
        dreamed.append(drawn_film(model, [state, *dream_on(model, state, pressed)], pressed)[1:])
    return {"flash": flashed(*dreamed), "flash_game": flashed(*real_flashes(game, attack, nothing))}


def flashed(fired: Sequence[Tensor], withheld: Sequence[Tensor]) -> float:
    """Share of N films, T pictures (N, 120, 160, 3) each, that are `FLASH` brighter at the gun than their twins are."""
    brighter = [
        (one.float() - two.float())[:, MUZZLE_ROWS, MUZZLE_COLUMNS].mean((1, 2, 3))
        for one, two in zip(fired, withheld, strict=True)
    ]
    return float((torch.stack(brighter).amax(0) > FLASH).float().mean())


def real_flashes(
    game: Game, attack: Sequence[Buttons], nothing: Sequence[Buttons]
) -> tuple[list[Tensor], list[Tensor]]:
    """Films of T pictures (N, 120, 160, 3) from real games with these keys, and of the same games with the others."""
    fired = []
    withheld = []
    for number in range(GAMES):
        pair = [real_film(game, keys, EVALUATION + number)[1:] for keys in (attack, nothing)]
        if all(len(film) == FLASH_STEPS for film in pair):
            fired.append(pair[0])
            withheld.append(pair[1])

    def stacked(films: list[list[npt.NDArray[np.uint8]]]) -> list[Tensor]:
        return [torch.from_numpy(np.stack(frames)) for frames in zip(*films, strict=True)]

    return stacked(fired), stacked(withheld)
