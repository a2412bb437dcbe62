"""Train predictor and heads on long windows of cached states: rollouts, the sampled future, the game's outcome.

    python -m training.dynamics --data data --out runs/nano --steps 6000
    python -m training.dynamics --data data --out runs/again --init nano       # new dynamics for an encoder that ships

The encoder stays as `training.world_model` left it. All frames are encoded once (`states-*.safetensors` in the run's
folder), after which a step costs a hundredth: windows can be long, every frame is seen many times, and the predictor
is fed its own outputs for `--rollout` steps with gradients through all of them. Resumes like every other stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import PRESETS, WorldModelConfig
from doom_dream_env.world_model.files import write_atomically
from doom_dream_env.world_model.heads import UNIFORM
from doom_dream_env.world_model.manifold import Manifold
from doom_dream_env.world_model.state import later
from training import world_model as joint
from training.dataset import Dataset
from training.loop import Compute, Log, Optimiser, compute_init, load_checkpoint, save_checkpoint, seeded
from training.losses import masked_mean, relative_error
from training.world_model import (
    Batch,
    Trainee,
    by_world,
    embed_window,
    heat_loss,
    make_batch,
    outcome_loss,
    outcome_targets,
    sample_rows,
)

CHECKPOINT = "dynamics.safetensors"
# Of the divergence: at a tenth of it a posterior dream of take_cover kept its fireballs and killed on time, and one drawn from the prior
# lost two of three in flight; the posterior had carried them step by step in codes that nobody can foretell (measured).
WEIGHTS = {
    "prediction": 3.0,
    "coded": 3.0,
    "heat_coded": 2.0,
    "divergence": 2.5,
    "heat_h": 2.0,
    "outcome": 1.0,
    "facts": 1.0,
    "rollout": 3.0,
    "heat_rollout": 3.0,
    "divergence_rollout": 2.5,
    "outcome_rollout": 1.0,
    "facts_rollout": 2.0,
}
PRIOR_SHARE = 0.8  # of the divergence: the prior learns faster than the posterior gives in (arXiv 2010.02193)
NOISY, NOISE = 0.25, 0.3  # of the windows are seen through noise of at most so many spreads of real states along each principal direction
BEGINNINGS = 0.15  # of the windows begin with their episode; of the rollouts, after the first frame of the window: so do dreams
PRIVILEGED = ("scripted", "noisy")
OLD_SHARE = 0.25  # of the shards that earlier training has seen is used again, with --fresh
STARTS, CLIPS, CLIP_STEPS = 128, 128, 12  # of each world, shared by its maps


def load_trainee(path: Path) -> Trainee:
    """A trainee from a checkpoint of any stage, in evaluation mode.

    Raises:
        FileNotFoundError: if the stage before has not been run.
        ValueError: if the checkpoint is damaged; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run the stage that writes it first (see training.pipeline)")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {path} is damaged ({error}); delete it and run its stage again") from error
    trainee = Trainee(WorldModelConfig.from_dict(about["config"]), about["places"])
    load_checkpoint(path, trainee)
    return trainee.eval()


@torch.inference_mode()
def cached_states(trainee: Trainee, data: Dataset, path: Path, compute: Compute) -> Tensor:
    """States of every row (N, D), half precision, from `path` or encoded now and written there, shard by shard.

    Shards that the file lacks are encoded, so a dataset may grow. A file of another encoder or a damaged one is made anew.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    digest = hashlib.sha256()
    for tensor in trainee.model.encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    encoder, found = digest.hexdigest(), {}
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("encoder") == encoder:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        pass
    todo = [(name, rows) for name, rows in data.shard_rows() if len(found.get(name, ())) != len(rows)]
    frames_left, silent = sum(len(rows) for _, rows in todo), not (todo and compute.main)
    with tqdm(total=frames_left, desc="encode", unit="frame", disable=silent, mininterval=5) as bar:
        for name, rows in todo:
            parts, frames = [], data.frames(rows)
            for part in np.array_split(frames, -(-len(rows) // 256)):
                with compute.autocast():
                    parts.append(trainee.model.encode(part[None])[0].half().cpu())
                bar.update(len(part))
            found[name] = torch.cat(parts)
    if todo and compute.main:
        write_atomically(path, save(found, metadata={"encoder": encoder}))
    return torch.cat([found[name] for name in data.shards])


def typical_change(data: Dataset, states: Tensor, ahead: int, seed: int, most: int = 4000) -> Tensor:
    """Mean squared change of the state over 1 … `ahead` steps in each world, (W, ahead)."""
    rng, at, rows = np.random.default_rng((seed, 17)), np.arange(len(data)), []
    for world in range(len(data.names)):
        here = np.flatnonzero((data.scenario == world) & (at < data.last))
        rows.append(rng.choice(here, most))
    out = torch.zeros(len(rows), ahead)
    for world, begin in enumerate(rows):
        for step in range(1, ahead + 1):
            inside = begin[begin + step <= data.last[begin]]
            pairs = (states[inside + step].float() - states[inside].float()).square().mean(-1)
            out[world, step - 1] = pairs.mean() if len(inside) else out[world, step - 2]  # no episode is that long
    return out.clamp(min=1e-3)


def losses(
    trainee: Trainee, batch: Batch, z: Tensor, begin: int, rollout: int, change: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """All terms of this stage for states z (B, T, D); the rollout starts after step `begin`; `change` is `typical_change`."""
    model, dynamics, worlds = trainee.model, trainee.model.dynamics, len(trainee.model.config.scenarios)
    b = len(z)
    world_unknown, age_unknown = (torch.rand(2, b, generator=generator) < 0.05).to(z.device)
    scenario = torch.where(world_unknown, worlds, batch.scenario)
    batch = dataclasses.replace(batch, age=torch.where(age_unknown, -1, batch.age))
    # Some windows are seen through noise: dreamed states are never exactly real ones.
    strength = NOISE * torch.rand(b, 1, 1, generator=generator).sub(1 - NOISY).clamp(min=0).div(NOISY).to(z.device)
    noisy = z + model.manifold.noise(batch.scenario, strength, z, generator)
    h = model.trunk(embed_window(model, noisy, batch, scenario))
    g = dynamics.act(h, batch.actions)
    drawn = outcome_targets(model, batch)
    c = dynamics.given_outcome(g, drawn)
    guess = model.manifold(dynamics.next_state(noisy, c)[:, :-1].float(), batch.scenario)
    shift, divergence = choose_code(trainee, c[:, :-1], noisy[:, :-1], guess, z[:, 1:], generator)
    coded = model.manifold(dynamics.next_state(noisy[:, :-1], c[:, :-1] + shift).float(), batch.scenario)
    terms = {
        "prediction": relative_error(guess, z[:, 1:], change[:, :1], batch.follows, batch.scenario, worlds),
        "coded": relative_error(coded, z[:, 1:], change[:, :1], batch.follows, batch.scenario, worlds),
        "heat_coded": heat_loss(trainee.heat_z(coded), batch.heat[:, 1:], batch.follows),
        "divergence": masked_mean(divergence, batch.follows),
        "heat_h": heat_loss(trainee.heat_h(h), batch.heat, batch.valid),
        "outcome": outcome_loss(model, g, c, drawn, batch),
        "facts": trainee.facts.loss(z, h, batch, batch.valid),
    }
    return terms | rollout_losses(trainee, batch, z, drawn, scenario, begin, rollout, change, generator)


def choose_code(
    trainee: Trainee, c: Tensor, z: Tensor, guess: Tensor, following: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Let the posterior, which has seen the next state, draw the code.

    Gradients go straight through the draw (arXiv 2010.02193); a small share of every posterior is uniform.

    Args:
        trainee: model and posterior.
        c: condition (..., E).
        z: state (..., D).
        guess: the central guess of the next state (..., D).
        following: the next state (..., D).
        generator: the dice.

    Returns:
        the shift of the condition (..., E), and KL(posterior ‖ prior) in nats (...), whose gradient goes to the prior for
        `PRIOR_SHARE` of its size and to the posterior for the rest.
    """
    codes = trainee.model.dynamics.codes
    seen = torch.cat([c, (following - guess).detach().to(c.dtype), (guess - z).detach().to(c.dtype)], -1)
    odds = trainee.posterior(seen).float().unflatten(-1, (codes.groups, codes.size)).softmax(-1)
    odds = (1 - UNIFORM) * odds + UNIFORM / codes.size
    drawn = torch.multinomial(odds.detach().flatten(0, -2).cpu(), 1, generator=generator).view(odds.shape[:-1]).to(odds.device)
    code = F.one_hot(drawn, codes.size).to(odds.dtype)
    log_prior = codes.log_prior(c, code)

    def divergence(posterior: Tensor, prior: Tensor) -> Tensor:
        return (posterior * (posterior.log() - prior)).sum((-1, -2))

    kl = PRIOR_SHARE * divergence(odds.detach(), log_prior) + (1 - PRIOR_SHARE) * divergence(odds, log_prior.detach())
    return codes.embed((code + odds - odds.detach()).to(c.dtype)), kl


def dreamed(
    trainee: Trainee,
    batch: Batch,
    z: Tensor,
    drawn: list[Tensor],
    scenario: Tensor,
    begin: int,
    rollout: int,
    sampled: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """The predictor fed its own outputs for R = `rollout` steps after step `begin` of real states z (B, T, D).

    Args:
        trainee: model and posterior.
        batch: windows (B, T).
        z: their states.
        drawn: `outcome_targets`.
        scenario: index of the world, (B,).
        begin: last real step.
        rollout: R.
        sampled: which windows follow the codes of the posterior, (B, 1); the others follow the central guess.
        generator: the dice.

    Returns:
        dreamed states (B, R, D), trunk features after each (B, R, E), and divergences of posterior and prior (B, R).
    """
    model, dynamics = trainee.model, trainee.model.dynamics
    tokens = embed_window(model, z, batch, scenario)[:, : begin + 1]
    features, cache, length = model.trunk.prefill(tokens)
    state, h = z[:, begin], features[:, -1]
    known = torch.tensor([1.0, 0.0], device=z.device).expand(len(z), 2)
    guesses, trunk, divergences = [], [], []
    for step in range(begin, begin + rollout):
        c = dynamics.given_outcome(dynamics.act(h, batch.actions[:, step]), [index[:, step] for index in drawn])
        central = dynamics.next_state(state, c)
        shift, divergence = choose_code(trainee, c, state, central, z[:, step + 1], generator)
        state = model.manifold(torch.where(sampled, dynamics.next_state(state, c + shift), central).float(), batch.scenario)
        guesses.append(state)
        divergences.append(divergence)
        after = batch.variables[:, step + 1] / model.scales
        moved = after - batch.variables[:, step] / model.scales
        token = model.trunk.embed(state, batch.actions[:, step], after, moved, scenario, known, later(batch.age, step + 1))
        h, cache = model.trunk.step(token, cache, length)
        length = (length + 1).clamp(max=model.config.context - 1)
        trunk.append(h)
    return torch.stack(guesses, 1), torch.stack(trunk, 1), torch.stack(divergences, 1)


def rollout_losses(
    trainee: Trainee,
    batch: Batch,
    z: Tensor,
    drawn: list[Tensor],
    scenario: Tensor,
    begin: int,
    rollout: int,
    change: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The predictor fed its own outputs from step `begin` on, with gradients through all steps; and its skill by horizon.

    In two of three windows the outputs are those of the posterior's codes: a sampled dream that happens to go the way reality went. What
    flies must go on flying in it. In the others they are the central guesses, as at temperature 0.
    """
    model, dynamics, worlds = trainee.model, trainee.model.dynamics, len(trainee.model.config.scenarios)
    sampled = (torch.rand(len(z), 1, generator=generator) < 2 / 3).to(z.device)
    guess, h_dream, divergences = dreamed(trainee, batch, z, drawn, scenario, begin, rollout, sampled, generator)
    here = slice(begin + 1, begin + rollout + 1)
    part = batch.part(begin + 1, begin + rollout + 1)
    g = dynamics.act(h_dream, part.actions)
    targets = [index[:, here] for index in drawn]
    with torch.no_grad():  # not losses, for the log: open-loop skill of the central guess by horizon
        mask = part.valid * (~sampled)
        skills = {
            f"skill_{k}": 1
            - relative_error(guess[:, [k - 1]], z[:, [begin + k]], change[:, [k - 1]], mask[:, [k - 1]], batch.scenario, worlds)
            for k in (1, 2, 4, 8, 16)
            if k <= rollout
        }
    return skills | {
        "rollout": relative_error(guess, z[:, here], change, part.valid, batch.scenario, worlds),
        "heat_rollout": heat_loss(trainee.heat_z(guess), part.heat, part.valid),
        "divergence_rollout": masked_mean(divergences, batch.follows[:, begin : begin + rollout]),
        "outcome_rollout": outcome_loss(model, g, dynamics.given_outcome(g, targets), targets, part),
        "facts_rollout": trainee.facts.loss(guess, h_dream, part, part.valid),
    }


def train(args: argparse.Namespace) -> None:
    """Run the stage."""
    compute = compute_init(args.device, args.threads)
    data = Dataset(args.data, args.scenarios, "train", args.limit, keep_frames=False)
    for option in ("emphasis", "fresh", "privileged"):
        if unknown := set(dict(getattr(args, option))) - set(data.names):
            raise ValueError(f"--{option} names {', '.join(sorted(unknown))}, but the worlds are {', '.join(data.names)}")
    path, first = args.out / CHECKPOINT, 0
    if args.init:
        trainee = joint.new_trainee(args.preset, data, args.seed, args.init).eval().to(compute.device)
    else:
        trainee = load_trainee(args.out / joint.CHECKPOINT).to(compute.device)
        data.count_places_as(trainee.places)
    states = cached_states(trainee, data, args.out / "states-train.safetensors", compute)
    trainee.model.encoder.requires_grad_(False)
    trainee.model.decoder.requires_grad_(False)
    if args.init and not path.exists():
        fit_heat(trainee.heat_z, data, states, compute, args.seed)
    trainee.heat_z.requires_grad_(False)
    optimiser = Optimiser(trainee, args.optimizer, args.lr, args.steps)
    if path.exists():
        first, _ = load_checkpoint(path, trainee, optimiser)
    else:
        fit_manifold(trainee.model.manifold, data, states, args.seed)
    pick_starts(trainee, data, states)
    log = Log(args.out / "dynamics", compute)
    seen = {name: int(shards) for name, shards in args.fresh}
    groups, rollout = by_world(data, chosen_rows(data, seen, dict(args.privileged))), min(args.rollout, args.window - 2)
    shares = np.array([dict(args.emphasis).get(name, 1.0) for name in data.names])
    change = typical_change(data, states, rollout, args.seed).to(compute.device)
    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, disable=not compute.main, desc="dynamics", mininterval=5)
    for step in bar:
        rng = np.random.default_rng((args.seed, 7, step, compute.rank))
        rows = sample_rows(groups, args.batch, rng, shares)
        # windows begin anywhere, also before an episode's last steps: those that would be cut short slide back
        rows = np.maximum(np.minimum(rows, data.last[rows] - rng.integers(0, args.window, len(rows))), data.first[rows])
        rows = np.where(rng.random(len(rows)) < BEGINNINGS, data.first[rows], rows)
        batch = make_batch(data, rows, args.window, compute.device, frames=False)
        z = states[batch.rows.cpu()].to(compute.device).float()
        begin = int(rng.integers(0, args.window - rollout)) if rng.random() < 1 - BEGINNINGS else 0
        with compute.autocast():
            terms = losses(trainee, batch, z, begin, rollout, change, seeded(args.seed, 7, step, compute.rank))
        loss = sum(weight * terms[name] for name, weight in WEIGHTS.items())
        assert isinstance(loss, Tensor)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}: the last checkpoint is intact; resume with a smaller --lr")
        loss.backward()
        norm = optimiser.step(step, compute)
        if step % 25 == 0:
            numbers = {name: float(term.detach()) for name, term in terms.items()} | {"loss": float(loss.detach()), "gradient": norm}
            log.scalars(step, numbers)
            bar.set_postfix(rollout=f"{numbers['rollout']:.3f}", outcome=f"{numbers['outcome']:.3f}", refresh=False)
        if compute.main and ((step + 1) % args.every == 0 or step + 1 == args.steps):
            save_checkpoint(path, trainee, optimiser, step + 1, trainee.about(args.seed))


def chosen_rows(data: Dataset, seen: dict[str, int], privileged: dict[str, float]) -> np.ndarray:
    """Rows to train on.

    Args:
        data: the dataset.
        seen: world → how many of its shards were trained on before: a share of those is used again. Deaths are partly luck, and a
            network that sees the same ones again learns them by heart: on new seeds it then foretells too few.
        privileged: world → share of the episodes of scripted players that is used. What they do betrays what they see and no frame
            shows, and a dream that learned from them spares whoever moves as they do ("delusions", arXiv 2110.10819).
    """
    keep = np.ones(len(data), bool)
    for name, rows in data.shard_rows():
        world, _, stem = name.partition("/")
        number, old = int(stem.rpartition("-")[2]), seen.get(world, 0)
        keep[rows] = number >= old or number < old * OLD_SHARE
    keep |= data.behaviour == "human"  # recorded play has numbers of its own and is always new
    share = np.array([privileged.get(name, 1.0) for name in data.names])[data.scenario]
    lot = np.random.default_rng(0).random(len(data))[data.first]  # one for each episode
    return np.flatnonzero(keep & ((lot < share) | ~np.isin(data.behaviour, PRIVILEGED)))


def parse_share(text: str) -> tuple[str, float]:
    """`take_cover=3` as a pair.

    Raises:
        ValueError: if the share is no number.
    """
    name, _, share = text.partition("=")
    return name, float(share)


def fit_heat(head: torch.nn.Module, data: Dataset, states: Tensor, compute: Compute, seed: int, steps: int = 1500) -> None:
    """Train the heat-map head on real states: the joint stage does this along the way, weights that are begun from come without."""
    head.requires_grad_(True)
    optimiser = Optimiser(head, "adamw", 2e-3, steps)
    for step in tqdm(range(steps), desc="heat maps", disable=not compute.main, mininterval=5):
        rows = np.random.default_rng((seed, 11, step)).integers(len(data), size=512)
        heat = torch.from_numpy(data.heat[rows]).float()[:, None].to(compute.device)
        loss = heat_loss(head(states[rows][:, None].to(compute.device).float()), heat, torch.ones(len(rows), 1, device=compute.device))
        loss.backward()
        optimiser.step(step, compute)


def fit_manifold(manifold: Manifold, data: Dataset, states: Tensor, seed: int, most: int = 50_000) -> None:
    """Where the real states of each world are, and those of all worlds for the unknown one."""
    rng, worlds = np.random.default_rng((seed, 13)), len(data.names)
    for world in range(worlds + 1):
        rows = np.flatnonzero(data.scenario == world) if world < worlds else np.arange(len(data))
        manifold.fit(world, states[rng.permutation(rows)[:most]])


def pick_starts(trainee: Trainee, data: Dataset, states: Tensor) -> None:
    """Give the model real beginnings (first frames) and clips (a dozen steps from anywhere), `STARTS` and `CLIPS` of each world."""
    at = np.arange(len(data))
    for name in np.unique(data.starts).tolist():
        here, rng = data.starts == name, np.random.default_rng(0)
        maps = len(np.unique(data.place[data.scenario == data.scenario[here][0]]))
        rows = rng.permutation(np.flatnonzero((data.age == 0) & here))[: STARTS // maps]
        trainee.model.starts[name] = (states[rows].float(), torch.from_numpy(data.variables[rows]))
        ends = rng.permutation(np.flatnonzero((at - data.first >= CLIP_STEPS - 1) & here))[: CLIPS // maps]
        clip = ends[:, None] - np.arange(CLIP_STEPS)[::-1]
        if len(clip):
            actions, variables = torch.from_numpy(data.actions[clip[:, :-1]]).float(), torch.from_numpy(data.variables[clip])
            age = torch.from_numpy(data.age[clip[:, 0]]).float()
            trainee.model.clips[name] = (states[torch.from_numpy(clip)].float(), actions, variables, age)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help="worlds, as in the joint stage")
    parser.add_argument("--init", default=None, help="begin from these weights (name or folder) instead of the joint stage")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano", help="their sizes, with --init")
    parser.add_argument("--steps", type=int, default=6000, help="optimiser steps in all")
    parser.add_argument("--batch", type=int, default=40, help="windows per step and rank")
    parser.add_argument("--window", type=int, default=36, help="steps per window")
    parser.add_argument("--rollout", type=int, default=22, help="steps the predictor is fed its own outputs")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon", help="for hidden matrices")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument(
        "--emphasis", type=parse_share, nargs="+", default=[], help="world=share: of the windows, where every other world has a share of 1"
    )
    parser.add_argument(
        "--fresh", type=parse_share, nargs="+", default=[], help="world=N: of its first N shards, seen before, only a quarter is used"
    )
    parser.add_argument(
        "--privileged", type=parse_share, nargs="+", default=[], help="world=share: of the episodes of scripted players that is used"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of windows and dice")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--limit", type=int, default=None, help="use at most so many steps per world")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
