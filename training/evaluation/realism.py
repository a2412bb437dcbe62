"""Does a long dream still look like DOOM, and does one that is fed its own pictures?

The players walk at random. Pictures are compared as sets, by the Fréchet distance of what a perceptual network sees in
them: each picture by itself may be good, and yet all of them show the same corridor.

Legend: N pictures or dreams, K features of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.envs.drawing import Drawing
from doom_dream_env.game.game import Game
from doom_dream_env.policies import HeldRandomPolicy
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import Scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import DreamState, WorldModel
from training.data.dataset import Dataset
from training.evaluation.controls import WITH_WEAPON, flash_scores, key_scores
from training.evaluation.dreams import begin_dreams
from training.evaluation.figures import save_png
from training.evaluation.open_loop import Scores
from training.evaluation.picture_scores import drawn_pictures
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
BESIDE_STEPS = (4, 9, 18, 30, 44)  # up to five seconds
STRIP_DREAMS = 4
AT_ONCE = 16  # pictures
CLASSIFIER = "mobilenetv3_small_050"  # of timm, from random weights
TOLD = 200  # pictures of each scenario
TOLD_STEPS = 400

Features = npt.NDArray[np.float64]  # N, K


def playing_scores(model: WorldModel, scenario: Scenario, data: Dataset, network: nn.Module, out: Path) -> Scores:
    """What shows while somebody plays: keys, flashes, and in scenarios whose episodes last, long dreams.

    Args:
        model: whose dreams, which begin where real episodes do and run at temperature 1.
        scenario: where.
        data: recorded steps, whose frames are the reference of dreams on their own pictures.
        network: the perceptual network.
        out: folder in which strips of a dream beside the game and of several dreams are left.
    """
    game = Game(scenario)
    try:
        scores = key_scores(model, scenario, game)
        save_png(side_by_side(model, scenario, game), out / f"beside_{scenario.name}.png")
        if scenario.name in WITH_WEAPON:
            scores |= flash_scores(model, scenario, game)
        if scenario.name in LASTING:
            frames = recorded_frames(data, model.config.scenarios.index(scenario.name))
            scores |= lasting_scores(model, scenario, game, network)
            scores |= loop_scores(model, scenario, network, frames)
    finally:
        game.close()
    save_png(dreamed_strip(model, scenario), out / f"dreamed_{scenario.name}.png")
    return scores


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


def told_apart(model: WorldModel, data: Dataset, z: Tensor, names: Sequence[str]) -> dict[str, float]:
    """How well a small classifier tells drawn pictures of real states from the game's own, accuracy by scenario.

    .5: not at all. It learns on half of the episodes and is asked on the others.

    Args:
        model: who draws.
        data: recorded steps.
        z: states of all rows, (N, D).
        names: of the scenarios.
    """
    rng = np.random.default_rng(2)
    rows = np.concatenate(
        [
            rng.choice(found, min(TOLD, len(found)), replace=False)
            for name in names
            if len(found := np.flatnonzero(data.scenario == data.names.index(name)))
        ]
    )
    learned = np.unique(data.first, return_inverse=True)[1][rows] % 2 == 0
    pictures = torch.stack(
        [torch.from_numpy(data.frames(rows)), drawn_pictures(model, z[rows])], 1
    )  # rows, 2, 120, 160, 3
    torch.manual_seed(0)
    network = timm.create_model(CLASSIFIER, num_classes=1).train()

    def logits(chosen: npt.NDArray[np.int64]) -> Tensor:
        pixels = pictures[chosen].flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        answers: Tensor = network(pixels)
        return answers.view(-1, 2)

    pool = np.flatnonzero(learned)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for step in progress(range(TOLD_STEPS), desc="told apart", leave=False):
        answers = logits(np.random.default_rng(step).choice(pool, AT_ONCE))
        loss = F.binary_cross_entropy_with_logits(answers, torch.tensor([0.0, 1.0]).expand_as(answers))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        right = torch.cat([logits(part) for part in np.array_split(np.arange(len(rows)), len(rows) // AT_ONCE + 1)])
    right = (right > 0) == torch.tensor([False, True])
    asked = {name: ~learned & (data.scenario[rows] == data.names.index(name)) for name in names}
    return {name: float(right[torch.from_numpy(which)].float().mean()) for name, which in asked.items() if which.any()}


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


@torch.inference_mode()
def side_by_side(model: WorldModel, scenario: Scenario, game: Game) -> npt.NDArray[np.uint8]:
    """For the eye: five seconds of the game (above) and of a dream from its first frame under the same random keys."""
    player = HeldRandomPolicy(scenario, np.random.default_rng(0), 1, LONGEST_HOLD)
    drawing = Drawing(model)
    drawing.begin(seed=0)
    generator = torch.Generator().manual_seed(0)
    game.reset(EVALUATION)
    variables = torch.from_numpy(game.variables).float()[None, None]
    state = model.observe(game.frame[None, None], variables=variables, scenario=scenario.name)
    pairs = [torch.cat([torch.from_numpy(game.frame), drawing.draw(state.z)[0]])]
    for step in range(1, max(BESIDE_STEPS) + 1):
        buttons = player.next_buttons()[0]
        _, terminated, truncated = game.step(buttons)
        if terminated or truncated:
            break
        pressed = torch.from_numpy(buttons[None]).float()
        state, *_ = model.imagine(state, pressed, 1.0, generator)
        picture = drawing.draw(state.z, pressed)[0]
        if step in BESIDE_STEPS:
            pairs.append(torch.cat([torch.from_numpy(game.frame), picture]))
    return torch.cat(pairs, 1).numpy()


def dreamed_strip(model: WorldModel, scenario: Scenario) -> npt.NDArray[np.uint8]:
    """For the eye: four dreams of random walkers (down) after some steps (across), uint8 (480, 640, 3)."""
    seen = random_walks(model, scenario, STRIP_STEPS)
    columns = [torch.cat(list(seen[step][0][:STRIP_DREAMS])) for step in STRIP_STEPS]
    return torch.cat(columns, 1).numpy()
