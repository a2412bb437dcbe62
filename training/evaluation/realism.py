"""Does a long dream still look like DOOM, and does one that is fed its own pictures?

The players walk at random. Pictures are compared as sets, by the Fréchet distance of what a perceptual network sees in
them: each picture by itself may be good, and yet all of them show the same corridor.

Legend: N pictures or dreams, K features of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from doom_dream_env.envs.game import Game
from doom_dream_env.policies import HeldRandomPolicy
from doom_dream_env.scenarios import Scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import DreamState, WorldModel
from training.data.dataset import Dataset
from training.evaluation.dreams import begin_dreams
from training.evaluation.open_loop import Scores
from training.metrics import frechet
from training.models.perceptual import feature_maps

LASTING = ("my_way_home", "freedoom")  # whose episodes of random walking last half a minute
DREAMS = 256
PICTURES = 128  # on each side of a Fréchet distance
LONGEST_HOLD = 8  # steps that a walker keeps pressing the same
EARLY = 18  # steps: two seconds
LATE = 262  # steps: half a minute
FED_STEPS = (1, 10, 30, 100)  # steps on its own pictures after which a dream is measured
STRIP_STEPS = (1, 8, 26, 105)
STRIP_DREAMS = 4
AT_ONCE = 16  # pictures

Features = npt.NDArray[np.float64]  # N, K


def picture_features(network: nn.Module, pictures: Tensor) -> Features:
    """What the last level of a perceptual network sees, averaged over places: uint8 (N, 120, 160, 3) → (N, K)."""
    parts = [
        feature_maps(network, part.permute(0, 3, 1, 2).float() / 255)[-1].mean((2, 3))
        for part in pictures.split(AT_ONCE)
    ]
    return torch.cat(parts).double().numpy()


@torch.inference_mode()
def random_walks(
    model: WorldModel, scenario: Scenario, at: Sequence[int], fed: bool = False
) -> dict[int, tuple[Tensor, DreamState]]:
    """Pictures and states of `DREAMS` dreams of random walkers, after each number of steps in `at`.

    Args:
        model: who dreams.
        scenario: where.
        at: steps.
        fed: every dream goes on from what the encoder sees in its own picture, instead of from its own state.
    """
    state = begin_dreams(model, scenario, DREAMS)
    walker = HeldRandomPolicy(scenario, np.random.default_rng(0), 1, LONGEST_HOLD, DREAMS)
    generator, luck = (torch.Generator().manual_seed(number) for number in range(2))
    codes = None
    seen = {}
    for step in range(1, max(at) + 1):
        pressed = torch.from_numpy(walker.next_buttons()).float()
        following, *_ = model.imagine(state, pressed, 1.0, generator)
        if fed:
            picture, codes = model.draw(following, codes, pressed, luck)
            following = model.advance(state, model.encode(picture[:, None])[:, 0], following.variables, pressed)
        state = following
        if step in at:
            seen[step] = picture if fed else model.draw(state, generator=luck)[0], state
    return seen


def real_walks(scenario: Scenario, game: Game, at: Sequence[int]) -> dict[int, Tensor]:
    """Frames of real random walkers after each number of steps in `at`, uint8 (PICTURES, 120, 160, 3)."""
    frames: dict[int, list[npt.NDArray[np.uint8]]] = {step: [] for step in at}
    walker = HeldRandomPolicy(scenario, np.random.default_rng(1), 1, LONGEST_HOLD)
    seed = EVALUATION
    while len(frames[max(at)]) < PICTURES:
        game.reset(seed)
        seed += 1
        for step in range(1, max(at) + 1):
            _, terminated, truncated = game.step(walker.next_buttons()[0])
            if terminated or truncated:
                break
            if step in frames and len(frames[step]) < PICTURES:
                frames[step].append(game.frame)
    return {step: torch.from_numpy(np.stack(found)) for step, found in frames.items()}


def recorded_frames(data: Dataset, scenario: int) -> Tensor:
    """Recorded frames of the scenario with this index, uint8 (PICTURES, 120, 160, 3)."""
    rows = np.flatnonzero(data.scenario == scenario)
    return torch.from_numpy(data.frames(np.random.default_rng(1).choice(rows, PICTURES, replace=False)))


@torch.inference_mode()
def lasting_scores(model: WorldModel, scenario: Scenario, game: Game, network: nn.Module) -> Scores:
    """Fréchet distance of dreamed to real pictures of random walkers, after two seconds and after half a minute."""
    steps = {"2s": EARLY, "30s": LATE}
    dreamed = random_walks(model, scenario, tuple(steps.values()))
    real = real_walks(scenario, game, tuple(steps.values()))
    scores: Scores = {}
    for name, step in steps.items():
        pictures, _ = dreamed[step]
        one = picture_features(network, pictures[:PICTURES])
        scores[f"frechet_{name}"] = frechet(one, picture_features(network, real[step]))
    return scores | {"frechet_ratio": scores["frechet_30s"] / scores["frechet_2s"]}


@torch.inference_mode()
def loop_scores(model: WorldModel, scenario: Scenario, network: nn.Module, reference: Tensor) -> Scores:
    """A dream that sees its own pictures (decode, encode, predict) beside one that does not.

    Args:
        model: who dreams.
        scenario: where.
        network: the perceptual network.
        reference: real frames, uint8 (PICTURES, 120, 160, 3).

    Returns:
        for each number of steps in `FED_STEPS`, Fréchet distance to the reference and drift |z|²/D − 1.
    """
    real = picture_features(network, reference)
    scores: Scores = {}
    for name, fed in (("plain", False), ("fed", True)):
        for step, (pictures, state) in random_walks(model, scenario, FED_STEPS, fed).items():
            scores[f"{name}_frechet_{step}"] = frechet(picture_features(network, pictures[:PICTURES]), real)
            scores[f"{name}_drift_{step}"] = float(model.drift(state).mean())
    return scores


def dreamed_strip(model: WorldModel, scenario: Scenario) -> npt.NDArray[np.uint8]:
    """For the eye: four dreams of random walkers (down) after some steps (across), uint8 (480, 640, 3)."""
    seen = random_walks(model, scenario, STRIP_STEPS)
    columns = [torch.cat(list(seen[step][0][:STRIP_DREAMS])) for step in STRIP_STEPS]
    return torch.cat(columns, 1).numpy()
