"""Train encoder, predictor and heads together on short windows of real frames.

    python -m training.world_model --data data --out runs/nano --preset nano --steps 4000        # two CPU cores
    python -m training.world_model --data data --out runs/base --preset base --batch 128 --steps 20000   # one GPU
    torchrun --nproc-per-node 4 -m training.world_model --data data --out runs/base --preset base --steps 20000

A run that was killed goes on when the same command is given again, along the same loss curve. TensorBoard:
`tensorboard --logdir runs`. Then: `training.dynamics` (long windows, rollouts, the sampled future) and `training.decoder`.

Losses: prediction + λ·SIGReg + rollout (LeWorldModel, arXiv 2603.19312), and what makes the small decisive things enter
the state: object heat maps from ViZDoom's labels, read off the state, off the *predicted* state and off the trunk by heads
that exist in training only, and the game's outcome (variables, reward, end) with gradients into the encoder.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from doom_dream_env.scenarios import SCENARIOS, VARIABLES
from doom_dream_env.world_model import PRESETS, WorldModel, WorldModelConfig, files
from doom_dream_env.world_model.state import later
from training.dataset import HEAT_SHAPE, Dataset, item_ahead
from training.facts import Facts
from training.loop import Compute, Log, Optimiser, compute_init, load_checkpoint, prefetched, save_checkpoint, seeded
from training.losses import effective_rank, masked_mean, nearest_index, sigreg, two_hot
from training.probes import auc

CHECKPOINT = "joint.safetensors"
HEAT_POSITIVE_WEIGHT = 6.0
WEIGHTS = {
    "prediction": 5.0,
    "sigreg": 0.6,
    "rollout": 2.5,
    "heat_z": 6.0,
    "heat_next": 3.0,
    "heat_h": 3.0,
    "outcome": 1.0,
    "facts": 1.0,
    "facts_next": 0.5,
}


@dataclasses.dataclass
class Batch:
    """Windows of B x T steps. `valid` marks steps that exist, `follows` those with a next frame in the window."""

    frames: Tensor | None  # uint8 B, T, 120, 160, 3
    actions: Tensor  # B, T, 9: pressed after frame t
    rewards: Tensor  # B, T
    ended: Tensor  # B, T
    variables: Tensor  # B, T, V
    next_variables: Tensor  # B, T, V
    scenario: Tensor  # B
    age: Tensor  # B: steps since the episode began at the first step; −1 unknown
    heat: Tensor  # B, T, 3, 12, 16
    valid: Tensor  # B, T
    follows: Tensor  # B, T − 1
    rows: Tensor  # B, T
    place: Tensor  # B
    pose: Tensor  # B, T, 4: x, y, z, angle in degrees
    sight: Tensor  # B, T, 3: see `training.facts`; NaN where there is nothing to see

    def part(self, begin: int, end: int) -> Batch:
        """Steps `begin` to `end` of every window, without frames."""
        per_step = ("actions", "rewards", "ended", "variables", "next_variables", "heat", "valid", "rows", "pose", "sight")
        cut = {name: getattr(self, name)[:, begin:end] for name in per_step}
        return dataclasses.replace(self, frames=None, age=later(self.age, begin), follows=self.follows[:, begin : end - 1], **cut)


def make_batch(data: Dataset, rows: np.ndarray, length: int, device: torch.device, frames: bool = True) -> Batch:
    """Cut windows that begin at `rows` (B,); past an episode's end they are marked not valid, never filled with fiction."""
    at = rows[:, None] + np.arange(length)
    valid = at <= data.last[rows][:, None]
    at = np.minimum(at, data.last[rows][:, None])

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    return Batch(
        frames=tensor(data.frames(at)) if frames else None,
        actions=tensor(data.actions[at]).float(),
        rewards=tensor(data.rewards[at]),
        ended=tensor(data.terminated[at]).float(),
        variables=tensor(data.variables[at]),
        next_variables=tensor(data.next_variables[at]),
        scenario=tensor(data.scenario[rows]),
        age=tensor(data.age[rows]),
        heat=tensor(data.heat[at]).float(),
        valid=tensor(valid).float(),
        follows=tensor(valid[:, 1:]).float(),
        rows=tensor(at),
        place=tensor(data.place[rows]),
        pose=tensor(data.pose[at]),
        sight=tensor(np.stack([data.projectile[at, 0], data.crosshair[at], item_ahead(data.heat[at])], -1)).float(),
    )


def by_world(data: Dataset, pool: np.ndarray) -> list[np.ndarray]:
    """Rows of a pool, split by world."""
    return [pool[data.scenario[pool] == index] for index in range(len(data.names))]


def sample_rows(groups: list[np.ndarray], batch: int, rng: np.random.Generator, shares: np.ndarray | None = None) -> np.ndarray:
    """Rows from the worlds (as `by_world` splits them), as many from each or in proportion to `shares` (W,); what is left over by lot."""
    edges = np.linspace(0, 1, len(groups) + 1) if shares is None else np.r_[0, np.cumsum(shares) / np.sum(shares)]
    counts = np.diff(np.floor(edges * batch + rng.random() + 1e-9).astype(int))
    return np.concatenate([rng.choice(group, count) for group, count in zip(groups, counts, strict=True)])


def embed_window(model: WorldModel, z: Tensor, batch: Batch, scenario: Tensor) -> Tensor:
    """Trunk tokens (B, T, E) of a window with states z (B, T, D)."""
    return model.tokens(z, batch.actions[:, :-1], batch.variables, scenario, batch.age)


def outcome_targets(model: WorldModel, batch: Batch) -> list[Tensor]:
    """Per variable, the index of the change that happened, (B, T)."""
    change = batch.next_variables - batch.variables
    return [nearest_index(change[..., i], model.deltas(i)) for i in range(len(VARIABLES))]


def outcome_loss(model: WorldModel, g: Tensor, c: Tensor, drawn: list[Tensor], batch: Batch) -> Tensor:
    """Cross entropies of changes and reward, binary cross entropy of the end, over the valid steps."""
    dynamics, loss = model.dynamics, g.new_zeros(())
    for index, (logits, target) in enumerate(zip(dynamics.outcome_logits(g), drawn, strict=True)):
        error = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), reduction="none").view_as(target)
        has = model.masks[batch.scenario][:, index : index + 1] * batch.valid
        loss = loss + masked_mean(error, has)
    go_on, rewards = dynamics.ending(c, batch.next_variables / model.scales)
    end = F.binary_cross_entropy_with_logits(go_on.float(), 1 - batch.ended, reduction="none")
    reward = -(two_hot(batch.rewards, dynamics.rewards) * rewards.float().log_softmax(-1)).sum(-1)
    return loss + masked_mean(end, batch.valid) + 0.3 * masked_mean(reward, batch.valid)


def heat_loss(logits: Tensor, heat: Tensor, mask: Tensor) -> Tensor:
    """Weighted binary cross entropy per cell; heat (B, T, 3, 12, 16), logits (B, T, 576)."""
    weight = torch.tensor(HEAT_POSITIVE_WEIGHT, device=logits.device)
    error = F.binary_cross_entropy_with_logits(logits.float(), heat.flatten(2), reduction="none", pos_weight=weight)
    return masked_mean(error, mask)


class Trainee(nn.Module):
    """The world model with the heads that exist in training only; `places` are the maps that the read-out of the pose knows."""

    def __init__(self, config: WorldModelConfig, places: Sequence[str] = ()) -> None:
        super().__init__()
        self.places = tuple(places) or config.scenarios
        self.facts = Facts(config.state_width + config.trunk_width, len(self.places))
        cells = int(np.prod(HEAT_SHAPE))
        self.model = WorldModel(config)
        self.heat_z = nn.Sequential(nn.Linear(config.state_width, 256), nn.GELU(), nn.Linear(256, cells))
        self.heat_h = nn.Linear(config.trunk_width, cells)  # linear: what an agent can read at a glance
        width, state = config.code_width, config.state_width
        seen = nn.Linear(config.trunk_width + 2 * state, width)  # the condition, what the central guess misses, what it changes
        self.posterior = nn.Sequential(seen, nn.GELU(), nn.Linear(width, config.code_groups * config.code_size))

    def about(self, seed: int) -> dict[str, object]:
        """What a checkpoint says of itself."""
        return {"config": self.model.config.to_dict(), "places": self.places, "seed": seed}

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """All terms of the joint stage, and the states z (B, T, D)."""
        model, dynamics = self.model, self.model.dynamics
        assert batch.frames is not None
        b, t = batch.valid.shape
        z = model.encoder(batch.frames.flatten(0, 1)).view(b, t, -1)
        unknown = torch.rand(b, generator=generator).to(z.device) < 0.05
        scenario = torch.where(unknown, len(model.config.scenarios), batch.scenario)
        h = model.trunk(embed_window(model, z, batch, scenario))
        g = dynamics.act(h, batch.actions)
        drawn = outcome_targets(model, batch)
        c = dynamics.given_outcome(g, drawn)
        guess = dynamics.next_state(z, c)[:, :-1]
        fed = torch.cat([z[:, :1], guess], 1)  # the predictor fed its own outputs
        h2 = model.trunk(embed_window(model, fed, batch, scenario))
        c2 = dynamics.given_outcome(dynamics.act(h2, batch.actions), drawn)
        guess2 = dynamics.next_state(fed, c2)[:, 1:-1]
        with torch.no_grad():  # worlds in which little changes per step count up to three times as much
            change = (z[:, 1:] - z[:, :-1]).square().mean(-1)
            worlds = len(model.config.scenarios)
            total = torch.zeros(2, worlds, device=z.device).index_add(
                1, batch.scenario, torch.stack([(change * batch.follows).sum(1), batch.follows.sum(1)])
            )
            typical = total[0] / total[1].clamp(min=1)
            weight = (masked_mean(change, batch.follows) / typical.clamp(min=1e-6)).clamp(0.5, 3.0)[batch.scenario, None]
        terms = {
            # Relative without a limit (as in training.dynamics, where the encoder is frozen) the encoder learns to change less, which
            # raises the loss again, until the states collapse (measured, 100 steps).
            "prediction": masked_mean((guess.float() - z[:, 1:]) ** 2, batch.follows * weight),
            "rollout": masked_mean((guess2.float() - z[:, 2:]) ** 2, batch.follows[:, 1:] * weight),
            "sigreg": sigreg(z[batch.valid.bool()], generator),
            "heat_z": heat_loss(self.heat_z(z), batch.heat, batch.valid),
            "heat_next": heat_loss(self.heat_z(guess), batch.heat[:, 1:], batch.follows),
            "heat_h": heat_loss(self.heat_h(h), batch.heat, batch.valid),
            "outcome": outcome_loss(model, g, c, drawn, batch),
            "facts": self.facts.loss(z, h, batch, batch.valid),
            "facts_next": self.facts.loss(guess, h2[:, 1:], batch.part(1, t), batch.follows),
        }
        return terms, z


def supports(data: Dataset) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Deltas per variable (at most 48) and reward support, as seen in the data.

    Of rewards, every world has its most frequent 12 values; those that vary freely (the way made in deadly_corridor) are
    covered by quantiles, between which a two-hot code interpolates.
    """

    def frequent(values: np.ndarray, most: int) -> np.ndarray:
        found, counts = np.unique(values.round(4), return_counts=True)
        return found[np.argsort(-counts, kind="stable")[:most]]

    def ascending(values: np.ndarray) -> tuple[float, ...]:
        kept = np.unique(values) if len(values) else np.zeros(1)  # a variable that no world has
        return tuple(float(v) for v in (kept if len(kept) > 1 else np.array([kept[0], kept[0] + 1])))

    rewards = []
    for index in range(len(data.names)):
        here = data.rewards[data.scenario == index]
        common = frequent(here, 12)
        rest = here[~np.isin(here.round(4), common)]
        rewards += [common, *([np.quantile(rest, np.linspace(0, 1, 24)).round(2)] if len(rest) else [])]
    change = data.next_variables - data.variables
    deltas = tuple(ascending(frequent(change[data.known(i), i], 48)) for i in range(change.shape[1]))
    return deltas, ascending(np.concatenate(rewards))


@torch.no_grad()
def quick_scores(trainee: Trainee, data: Dataset, compute: Compute) -> dict[str, float]:
    """One-step skill, projectile and monster AUC of the heat head, effective rank, on fixed validation windows."""
    trainee.eval()
    rng, scores, states = np.random.default_rng(0), {}, []
    pool = data.windows(6)
    for index, name in enumerate(data.names):
        rows = rng.choice(pool[data.scenario[pool] == index], 48)
        batch = make_batch(data, rows, 6, compute.device)
        model = trainee.model
        assert batch.frames is not None
        with compute.autocast():
            z = model.encode(batch.frames)
            h = model.trunk(embed_window(model, z, batch, batch.scenario))
            g = model.dynamics.act(h, batch.actions)
            drawn = [part.argmax(-1) for part in model.outcome_logits(g, batch.scenario[:, None].expand(batch.valid.shape))]
            guess = model.dynamics.next_state(z, model.dynamics.given_outcome(g, drawn))
            heat = trainee.heat_z(z).float()
            heat_next = trainee.heat_z(guess).float()
        error = (guess[:, 2:-1].float() - z[:, 3:]).square().mean()
        scores[f"{name}/skill_1"] = 1 - float(error / (z[:, 3:] - z[:, 2:-1]).square().mean())
        states.append(z)
        target = batch.heat.flatten(2)
        scores[f"{name}/cell_auc"] = auc(heat.flatten(), target.flatten())
        scores[f"{name}/cell_auc_next"] = auc(heat_next[:, :-1].flatten(), target[:, 1:].flatten())
    scores["effective_rank"] = effective_rank(torch.cat(states))
    trainee.train()
    return scores


def new_trainee(preset: str, data: Dataset, seed: int, init: str | None) -> Trainee:
    """A trainee of a preset's sizes for the worlds in the data, random but for what `init` has (see `warm_start`)."""
    deltas, rewards = supports(data)
    known = tuple(tuple(map(bool, world.variable_mask())) for world in data.worlds)
    torch.manual_seed(seed)
    config = dataclasses.replace(PRESETS[preset], scenarios=tuple(data.names), known=known, deltas=deltas, rewards=rewards)
    trainee = Trainee(config, data.places)
    trainee.facts.calibrate(data)
    if init:
        print(f"began from {init}; anew: {', '.join(warm_start(trainee.model, init)) or 'nothing'}")
    return trainee


def warm_start(model: WorldModel, folder: str) -> list[str]:
    """Copy all tensors of another set of weights (name or folder) that have the same name and shape; return the names of the rest.

    The other set may know other worlds: only its tensors are read.
    """
    found = files.read_weights(files.find_weights(folder))
    mine = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    fitting = {key: found[key].float() for key, value in mine.items() if key in found and found[key].shape == value.shape}
    if not fitting:
        raise ValueError(f"nothing in {folder} fits these sizes; give weights of the same preset")
    model.load_state_dict(fitting, strict=False)
    return sorted(mine.keys() - fitting.keys())


def train(args: argparse.Namespace) -> None:
    """Run the joint stage."""
    compute = compute_init(args.device, args.threads)
    data = Dataset(args.data, args.scenarios, "train", args.limit)
    held_out = Dataset(args.data, args.scenarios, "val", 6000)
    trainee = new_trainee(args.preset, data, args.seed, args.init)
    about = trainee.about(args.seed)
    if compute.ranks > 1 and compute.device.type == "cuda":
        trainee = cast("Trainee", nn.SyncBatchNorm.convert_sync_batchnorm(trainee))
    trainee.to(compute.device).train()
    optimiser = Optimiser(trainee, args.optimizer, args.lr, args.steps)
    path, first = args.out / CHECKPOINT, 0
    if path.exists():
        first, _ = load_checkpoint(path, trainee, optimiser)
    log = Log(args.out / "joint", compute)
    if args.compile:
        trainee.model.encoder.compile()
    groups = by_world(data, data.windows(args.window))
    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, disable=not compute.main, desc="world model", mininterval=5)

    def fetch(step: int) -> Batch:
        rows = sample_rows(groups, args.batch, np.random.default_rng((args.seed, step, compute.rank)))
        return make_batch(data, rows, args.window, compute.device)

    for step, batch in zip(bar, prefetched(fetch, range(first, args.steps)), strict=True):
        with compute.autocast():
            terms, z = trainee.losses(batch, seeded(args.seed, step))
        loss = sum(WEIGHTS[name] * term for name, term in terms.items())
        assert isinstance(loss, Tensor)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}: the last checkpoint is intact; resume with a smaller --lr")
        loss.backward()
        norm = optimiser.step(step, compute)
        if step % 25 == 0:
            numbers = {name: float(term.detach()) for name, term in terms.items()} | {"loss": float(loss.detach()), "gradient": norm}
            log.scalars(step, numbers | {"effective_rank": effective_rank(z.detach())})
            bar.set_postfix(prediction=f"{numbers['prediction']:.3f}", heat=f"{numbers['heat_z']:.3f}", refresh=False)
        if compute.main and ((step + 1) % args.every == 0 or step + 1 == args.steps):
            save_checkpoint(path, trainee, optimiser, step + 1, about)
            log.scalars(step + 1, quick_scores(trainee, held_out, compute))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of checkpoints and logs")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano", help="sizes")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help="worlds: names, or paths of ViZDoom configurations")
    parser.add_argument("--init", default=None, help="weights (name or folder) of the same preset to begin from")
    parser.add_argument("--steps", type=int, default=4000, help="optimiser steps in all")
    parser.add_argument("--batch", type=int, default=42, help="windows per step and rank")
    parser.add_argument("--window", type=int, default=6, help="frames per window")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon", help="for hidden matrices")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, windows and dice")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--limit", type=int, default=None, help="use at most so many steps per world")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the encoder (needs a C++ compiler)")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
