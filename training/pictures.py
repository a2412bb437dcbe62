"""What a player sees: do keys move the picture, does the gun flash, does it look like DOOM after half a minute, and on its own pictures?

    python -m training.pictures --weights nano --data data --out runs/pictures
    python -m training.pictures --weights runs/nano/weights --autoencoder runs/nano/autoencoder.safetensors
    python -m training.pictures --decoders l1=runs/l1/decoder.safetensors critic=runs/critic/decoder.safetensors

Writes pictures.json, pictures.md and film strips. Dreams begin where real episodes do and run at temperature 1, as a person plays
them; frames of the split `test` are the reference. Reconstruction and open-loop figures are in the scorecard too
(`training.evaluate`); here the autoencoder stands beside them that `training.decoder --autoencoder` trained, and other decoders of the
same states (`--decoders`: what does each part of the recipe do?).

Legend: N dreams, D state width, K features of a picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from doom_dream_env.envs.game import Game
from doom_dream_env.scenarios import Scenario, get_scenario, press
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.decoder import Decoder
from doom_dream_env.world_model.encoder import Encoder
from doom_dream_env.world_model.files import write_atomically
from training.dataset import Dataset
from training.evaluate import save_png
from training.measure import encode_all, load_split, picture_scores, psnr
from training.perceptual import feature_maps, network, perceptual_distance
from training.players import random_action

OPPOSITES = (("TURN_LEFT", "TURN_RIGHT"), ("MOVE_LEFT", "MOVE_RIGHT"))
WEAPONS = ("basic", "defend_the_center", "defend_the_line", "deadly_corridor", "predict_position", "freedoom")
LASTING = ("my_way_home", "freedoom")  # whose episodes of random walking last half a minute
DREAMS, GAMES, WAIT, HELD = 64, 24, 4, 3  # dreams and real games per figure; steps until the gun is up, and that a key is held
SIGHT = slice(30, 78)  # rows below the sky and above the gun, pixels
FARTHEST, MOVED = 24, 0.25  # pixels that the picture can move in a step, and that it must have moved while a key was held
BAND, BLUR = 4, 11  # rows averaged, and columns over which the picture is blurred twice, before its movement is looked for
MUZZLE, FLASH = (slice(40, 110), slice(60, 100)), 2.0  # rows and columns of the gun and its flash; grey levels
EARLY, LATE = 18, 262  # steps of two seconds and of half a minute
FED = (1, 10, 30, 100)  # steps on its own pictures after which it is measured
CROWD = 256  # pictures on each side of a Fréchet distance

Scores = dict[str, float]


def sideways(before: Tensor, after: Tensor) -> Tensor:
    """How far pictures uint8 (N, 120, 160, 3) moved to the right, pixels (N,): the shift at which their edges correlate best.

    Blurred, so that it is the walls that count and not the grain on them, which a decoder paints as it likes. So measured the
    real game moves the right way in all presses but half of free play's strafes, which begin at a wall; without the blur half of
    free play's turns look wrong too.
    """

    def edges(picture: Tensor) -> Tensor:
        x = F.avg_pool2d(picture.float().mean(-1)[:, None, SIGHT], (BAND, 1))
        for _ in range(2):
            x = F.avg_pool2d(x, (1, BLUR), 1)
        return x[:, 0].diff(dim=-1)

    def best(one: Tensor, two: Tensor) -> Tensor:
        width, scores = one.shape[-1], []
        for shift in range(-FARTHEST, FARTHEST + 1):
            left, right = max(shift, 0), min(width, width + shift)
            there, here = two[..., left:right].flatten(1), one[..., left - shift : right - shift].flatten(1)
            scores.append(F.cosine_similarity(there, here))
        score = torch.stack(scores, 1)
        peak = score.argmax(1, keepdim=True)
        low, mid, high = (score.gather(1, (peak + step).clamp(0, 2 * FARTHEST))[:, 0] for step in (-1, 0, 1))
        return peak[:, 0] - FARTHEST + ((low - high) / (2 * (low - 2 * mid + high)).clamp(max=-1e-6)).clamp(-0.5, 0.5)  # a parabola's

    one, two = edges(before), edges(after)
    return best(one, two) - best(one, one)  # what the picture's borders alone would say


def beginnings(model: WorldModel, scenario: Scenario, count: int) -> DreamState:
    """Dreams (N,) from the real beginnings of a world, `WAIT` steps of doing nothing later."""
    z, variables = model.starts[scenario.starts]
    chosen = torch.arange(count) % len(z)
    state = model.begin(z[chosen], variables[chosen], model.scenario_index(scenario.name, count))
    return dream(model, state, [torch.zeros(count, 9)] * WAIT)[-1]


def dream(model: WorldModel, state: DreamState, buttons: list[Tensor], seed: int = 0) -> list[DreamState]:
    """States after each of some steps with buttons (N, 9)."""
    dice, states = torch.Generator().manual_seed(seed), []
    for pressed in buttons:
        state, *_ = model.imagine(state, pressed, 1.0, dice)
        states.append(state)
    return states


def played(game: Game, buttons: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Real frames before and after each of some steps, `WAIT` steps of doing nothing into a game; fewer if it ends."""
    game.reset(seed)
    for _ in range(WAIT):
        game.step(press())
    frames = [game.frame]
    for pressed in buttons:
        _, terminated, truncated = game.step(pressed)
        if terminated or truncated:
            break
        frames.append(game.frame)
    return frames


def key_scores(model: WorldModel, scenario: Scenario, game: Game) -> Scores:
    """Share of presses after which the picture moved the right way: a key held for `HELD` steps, then its opposite.

    `…_game`: the share that the real game scores by the same measure: who stands at a wall does not strafe. `…_seen`: that of the real
    game, encoded and decoded: what is lost here the dream cannot show, and what is lost only there is the dynamics' fault.
    """
    scores: Scores = {}
    for left, right in OPPOSITES:
        if not {left, right} <= set(scenario.buttons):
            continue
        name, real = left.split("_")[0].lower(), real_keys(game, left, right)
        seen = [[model.decode(model.encode(frames[:, None])[:, 0]) for frames in part] for part in real]
        for suffix, pictures in (("", dreamed_keys(model, scenario, left, right)), ("_seen", seen), ("_game", real)):
            moves = [sum(sideways(*pair) for pair in zip(part, part[1:], strict=False)) for part in pictures]
            signs = torch.cat([torch.as_tensor(moves[0]) > MOVED, torch.as_tensor(moves[1]) < -MOVED])
            scores[f"{name}{suffix}"] = float(signs.float().mean())
    return scores


def dreamed_keys(model: WorldModel, scenario: Scenario, left: str, right: str) -> list[list[Tensor]]:
    """Pictures before and after each step with a key, and then with its opposite."""
    state = beginnings(model, scenario, DREAMS)
    keys = [torch.from_numpy(press(key)).float().expand(len(state), -1) for key in (left, right) for _ in range(HELD)]
    shown = [model.decode(one) for one in (state, *dream(model, state, keys))]
    return [shown[: HELD + 1], shown[HELD:]]


def real_keys(game: Game, left: str, right: str) -> list[list[Tensor]]:
    """The same in the real game."""
    films = [played(game, [press(left)] * HELD + [press(right)] * HELD, 60_000 + seed) for seed in range(GAMES)]
    whole = [film for film in films if len(film) == 2 * HELD + 1]
    shown = [torch.from_numpy(np.stack(frames)) for frames in zip(*whole, strict=True)]
    return [shown[: HELD + 1], shown[HELD:]]


def flash_scores(model: WorldModel, scenario: Scenario, game: Game) -> Scores:
    """Share of moments in which ATTACK brightens the gun's region by `FLASH` grey levels in one of two steps, against doing nothing."""

    def brighter(fired: list[Tensor], withheld: list[Tensor]) -> float:
        change = [(one.float() - two.float())[:, MUZZLE[0], MUZZLE[1]].mean((1, 2, 3)) for one, two in zip(fired, withheld, strict=True)]
        return float((torch.stack(change).amax(0) > FLASH).float().mean())

    state, attack, nothing = beginnings(model, scenario, DREAMS), press("ATTACK"), press()
    shown = [
        [model.decode(one) for one in dream(model, state, [torch.from_numpy(key).float().expand(len(state), -1)] * 2)]
        for key in (attack, nothing)
    ]
    films = [[played(game, [key] * 2, 60_000 + seed)[1:] for seed in range(GAMES)] for key in (attack, nothing)]
    pairs = [pair for pair in zip(*films, strict=True) if len(pair[0]) == len(pair[1]) == 2]
    real = [[torch.from_numpy(np.stack(part)) for part in zip(*side, strict=True)] for side in zip(*pairs, strict=True)]
    return {"flash": brighter(*shown), "flash_game": brighter(*real)}


def features(judge: nn.Module, pictures: Tensor) -> np.ndarray:
    """Pooled features of the trunk's last level, uint8 (N, 120, 160, 3) → (N, K)."""
    parts = [feature_maps(judge, part.permute(0, 3, 1, 2).float() / 255)[-1].mean((2, 3)) for part in pictures.split(16)]
    return torch.cat(parts).double().numpy()


def frechet(one: np.ndarray, two: np.ndarray) -> float:
    """Fréchet distance of two sets of features (N, K), as Gaussians (arXiv 1706.08500)."""
    first, second = np.cov(one.T), np.cov(two.T)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(np.square(one.mean(0) - two.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * shared)


class Walker:
    """Random actions for N players, each held for 1 to 8 steps."""

    def __init__(self, scenario: Scenario, count: int, seed: int) -> None:
        self.scenario, self.rng = scenario, np.random.default_rng(seed)
        self.left, self.pressed = np.zeros(count, int), np.zeros((count, 9), np.uint8)

    def __call__(self) -> np.ndarray:
        """Buttons (N, 9) of the next step."""
        for player in np.flatnonzero(self.left == 0):
            self.pressed[player], self.left[player] = random_action(self.scenario, self.rng), self.rng.integers(1, 9)
        self.left -= 1
        return self.pressed.copy()


def walked(model: WorldModel, scenario: Scenario, at: tuple[int, ...], fed: bool = False) -> dict[int, tuple[Tensor, DreamState]]:
    """Pictures and dreams of `CROWD` random walkers at some steps; `fed`: each dream goes on from what the encoder sees in its picture."""
    state = beginnings(model, scenario, CROWD)
    walker, dice, known, seen = Walker(scenario, CROWD, 0), torch.Generator().manual_seed(0), torch.tensor([1.0, 0.0]), {}
    for step in range(1, max(at) + 1):
        pressed = torch.from_numpy(walker()).float()
        following, *_ = model.imagine(state, pressed, 1.0, dice)
        if fed:
            z = model.encode(model.decode(following)[:, None])[:, 0]
            following = model._advance(state, z, following.variables, pressed, known.expand(CROWD, 2))
        state = following
        if step in at:
            seen[step] = model.decode(state), state
    return seen


def lasting_scores(model: WorldModel, scenario: Scenario, game: Game, judge: nn.Module) -> Scores:
    """Fréchet distance of dreamed to real pictures, both of random walkers, after two seconds and after half a minute."""
    shown, scores = walked(model, scenario, (EARLY, LATE)), {}
    real: dict[int, list[np.ndarray]] = {EARLY: [], LATE: []}
    walker, seed = Walker(scenario, 1, 1), 60_000
    while len(real[LATE]) < CROWD // 2:
        game.reset(seed)
        seed += 1
        for step in range(1, LATE + 1):
            _, terminated, truncated = game.step(walker()[0])
            if terminated or truncated:
                break
            if step in real and len(real[step]) < CROWD // 2:
                real[step].append(game.frame)
    for step, name in ((EARLY, "2s"), (LATE, "30s")):
        pictures = torch.from_numpy(np.stack(real[step]))
        scores[f"frechet_{name}"] = frechet(features(judge, shown[step][0][: CROWD // 2]), features(judge, pictures))
    return scores | {"frechet_ratio": scores["frechet_30s"] / scores["frechet_2s"]}


def loop_scores(model: WorldModel, scenario: Scenario, judge: nn.Module, reference: np.ndarray) -> Scores:
    """A dream that sees its own pictures (decode, encode, predict) beside one that does not: Fréchet distance to real frames, drift."""
    scores: Scores = {}
    for name, fed in (("plain", False), ("fed", True)):
        for step, (pictures, state) in walked(model, scenario, FED, fed).items():
            scores[f"{name}_frechet_{step}"] = frechet(features(judge, pictures[: CROWD // 2]), reference)
            scores[f"{name}_drift_{step}"] = float(model.drift(state).mean())
    return scores


def load_average(path: Path, parts: list[nn.Module]) -> None:
    """Fill parts from a checkpoint of `training.decoder` (the decoder, the yardstick's encoder), averaged over the last steps.

    Raises:
        ValueError: if the file is not of this size, or of a run that had other parts.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    modules, head = nn.Sequential(*parts), "module.average."
    try:
        modules.load_state_dict({k.removeprefix(head): v for k, v in load_file(path).items() if k.startswith(head)})
    except (OSError, SafetensorError, RuntimeError) as error:
        wanted = "decoder" if len(parts) == 1 else "autoencoder"
        raise ValueError(f"{path} is no {wanted} of these weights' size ({error}); training.decoder makes them") from error
    modules.eval().requires_grad_(False)


def decoder_scores(
    model: WorldModel, decoders: dict[str, Decoder], data: Dataset, z: Tensor, world: int, distance: Any
) -> tuple[dict[str, Scores], np.ndarray]:
    """Reconstruction and open-loop figures of several decoders of the same states, and a picture: the game, then each of them."""
    own, scores = model.decoder, {}
    rows: list[Tensor] = []
    for name, model.decoder in decoders.items():
        scores[name], both = picture_scores(model, data, z, world, distance, np.random.default_rng(0))
        rows += [both[:120], both[120:]] if not rows else [both[120:]]
    model.decoder = own
    return scores, torch.cat(rows).numpy()


def yardstick_scores(autoencoder: nn.Sequential, data: Dataset, world: int, distance: Any) -> Scores:
    """Reconstruction by the autoencoder, on the same frames as the scorecard's."""
    rows = np.flatnonzero(data.scenario == world)
    rows = np.random.default_rng(0).choice(rows, min(256, len(rows)), replace=False)
    real = torch.from_numpy(data.frames(rows))
    made = torch.cat([autoencoder(part).clamp(0, 1).permute(0, 2, 3, 1) for part in real.split(64)])
    scores = {"autoencoder_psnr": psnr(F.mse_loss(made, real / 255))}
    if distance:
        scores["autoencoder_lpips"] = distance(real[:48], (255 * made[:48]).round().byte())
    return scores


def strip(model: WorldModel, scenario: Scenario, steps: tuple[int, ...] = (1, 8, 26, 105)) -> np.ndarray:
    """Four dreams of random walkers (down) at some steps (across), for the eye."""
    seen = walked(model, scenario, steps)
    return np.concatenate([np.concatenate([seen[step][0][row].numpy() for step in steps], 1) for row in range(4)], 0)


@torch.inference_mode()
def report(
    weights: str | None,
    data: Path,
    scenarios: list[str] | None,
    out: Path,
    autoencoder: Path | None,
    limit: int,
    decoders: dict[str, str],
) -> dict[str, Scores]:
    """Measure every world and write the report; returns world → scores."""
    model = WorldModel.from_pretrained(weights)
    names = scenarios or list(model.config.scenarios)
    test = load_split(model, data, names, "test", limit)
    z, perceptual, judges = encode_all(model, test), perceptual_distance(), network()
    if perceptual is None or judges is None:
        raise ValueError('this report needs a perceptual network: pip install "doom-dream-env[train]"')
    yardstick = None
    if autoencoder:
        yardstick = nn.Sequential(Encoder(model.config), Decoder(model.config))
        load_average(autoencoder, list(yardstick)[::-1])
    others = {name: Decoder(model.config) for name in decoders}
    for name, path in decoders.items():
        load_average(Path(path), [others[name]])
    compared: dict[str, dict[str, Scores]] = {}
    out.mkdir(parents=True, exist_ok=True)
    scores: dict[str, Scores] = {}
    for name in tqdm(names, desc="pictures"):
        scenario, world = get_scenario(name), model.config.scenarios.index(name)
        game = Game(scenario)
        found, _ = picture_scores(model, test, z, world, perceptual[1], np.random.default_rng(0))
        if others:
            compared[name], beside = decoder_scores(model, others, test, z, world, perceptual[1])
            save_png(beside, out / f"decoders_{name}.png")
        if yardstick:
            found |= yardstick_scores(yardstick, test, world, perceptual[1])
        found |= key_scores(model, scenario, game)
        if name in WEAPONS:
            found |= flash_scores(model, scenario, game)
        if name in LASTING:
            found |= lasting_scores(model, scenario, game, judges[1])
            rows = np.random.default_rng(1).choice(np.flatnonzero(test.scenario == world), CROWD // 2, replace=False)
            found |= loop_scores(model, scenario, judges[1], features(judges[1], torch.from_numpy(test.frames(rows))))
        game.close()
        scores[name] = found
        save_png(strip(model, scenario), out / f"dreamed_{name}.png")
    whole = {"weights": model.fingerprint, "perceptual_distance": perceptual[0], "worlds": scores, "decoders": compared}
    write_atomically(out / "pictures.json", (json.dumps(whole, indent=2) + "\n").encode())
    means = {name: mean_scores([found[name] for found in compared.values()]) for name in others}
    write_atomically(out / "pictures.md", "\n".join([table(scores)] + ([table(means)] if means else [])).encode())
    return scores


def mean_scores(scores: list[Scores]) -> Scores:
    """Means over worlds of the figures that all of them have."""
    shared = [key for key in scores[0] if all(key in found for found in scores)]
    return {key: float(np.mean([found[key] for found in scores])) for key in shared}


def table(scores: dict[str, Scores]) -> str:
    """All figures as a Markdown table, a row for each."""
    keys = list(dict.fromkeys(key for found in scores.values() for key in found))
    lines = [f"| {key} | " + " | ".join(f"{found[key]:.3g}" if key in found else "" for found in scores.values()) + " |" for key in keys]
    return "\n".join(["| | " + " | ".join(scores) + " |", "|---|" + "---|" * len(scores), *lines]) + "\n"


def named(text: str) -> tuple[str, str]:
    """NAME=FILE of the command line."""
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FILE")
    return name, path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best shipped)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset, with the split test")
    parser.add_argument("--scenarios", nargs="+", default=None, help="worlds (default: all the weights know)")
    parser.add_argument("--autoencoder", type=Path, default=None, help="checkpoint of training.decoder --autoencoder")
    parser.add_argument(
        "--decoders", nargs="+", default=[], type=named, metavar="NAME=FILE", help="checkpoints of training.decoder to compare"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"), help="folder of the report")
    parser.add_argument("--limit", type=int, default=4000, help="use at most about so many test steps per world")
    args = parser.parse_args()
    print(table(report(args.weights, args.data, args.scenarios, args.out, args.autoencoder, args.limit, dict(args.decoders))))


if __name__ == "__main__":
    main()
