"""Train predictor and heads on long windows of cached states: rollouts, the sampled future, the game's outcome.

    python -m training.dynamics --data data --out runs/nano --steps 2500

The encoder stays as `training.world_model` left it. All frames are encoded once (`states-*.safetensors` in the run's
folder), after which a step costs a hundredth: windows can be long, every frame is seen many times, and the predictor
is fed its own outputs for `--rollout` steps with gradients through all of them. Resumes like every other stage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import WorldModelConfig
from doom_dream_env.world_model.files import write_atomically
from training import world_model as joint
from training.dataset import Dataset
from training.loop import Compute, Log, Optimiser, compute_init, load_checkpoint, save_checkpoint, seeded
from training.losses import masked_mean, relative_error
from training.world_model import Batch, Trainee, embed_window, heat_loss, make_batch, outcome_loss, outcome_targets, sample_rows

CHECKPOINT = "dynamics.safetensors"
WEIGHTS = {"prediction": 3.0, "rollout": 1.0, "heat_rollout": 2.0, "heat_h": 2.0, "outcome": 1.0, "outcome_rollout": 1.0, "flow": 0.2}
STARTS, CLIPS, CLIP_STEPS = 256, 384, 12


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
    trainee = Trainee(WorldModelConfig.from_dict(about["config"]))
    load_checkpoint(path, trainee)
    return trainee.eval()


@torch.inference_mode()
def cached_states(trainee: Trainee, data: Dataset, path: Path, compute: Compute) -> Tensor:
    """States of every row (N, D), half precision, from `path` or encoded now and written there.

    A file of another encoder, of other data or a damaged one is made anew.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    digest = hashlib.sha256()
    for tensor in trainee.model.encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    encoder = digest.hexdigest()
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("encoder") == encoder and file.get_slice("z").get_shape()[0] == len(data):
                return file.get_tensor("z")
    except (FileNotFoundError, SafetensorError):
        pass
    parts = []
    for first in tqdm(range(0, len(data), 256), desc="encode", disable=not compute.main, mininterval=5):
        frames = data.frames(np.arange(first, min(first + 256, len(data))))
        with compute.autocast():
            parts.append(trainee.model.encode(frames[None])[0].half().cpu())
    states = torch.cat(parts)
    if compute.main:
        write_atomically(path, save({"z": states}, metadata={"encoder": encoder}))
    return states


def losses(trainee: Trainee, batch: Batch, z: Tensor, begin: int, rollout: int, generator: torch.Generator) -> dict[str, Tensor]:
    """All terms of this stage for states z (B, T, D); the rollout starts after step `begin`."""
    model, dynamics = trainee.model, trainee.model.dynamics
    (b, t, d), worlds = z.shape, len(model.config.scenarios)

    def dice(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(z.device)

    unknown = torch.rand(b, generator=generator).to(z.device) < 0.05
    scenario = torch.where(unknown, len(model.config.scenarios), batch.scenario)
    # A quarter of the windows are seen through noise, shaped and lasting like the errors that a sampled dream feeds itself.
    strength = torch.rand(b, 1, 1, generator=generator).mul(4).sub(3).clamp(min=0).to(z.device)
    noisy = z + strength * drifting_noise(trainee.residual_covariance, batch.scenario, t, generator)
    clean = batch.follows * (strength[:, :, 0] == 0)
    h = model.trunk(embed_window(model, noisy, batch, scenario))
    g = dynamics.act(h, batch.actions)
    drawn = outcome_targets(model, batch)
    c = dynamics.given_outcome(g, drawn)
    guess = dynamics.next_state(noisy, c)[:, :-1].float()
    residual = (z[:, 1:] - guess.detach()) / dynamics.residual_scale
    time = torch.rand(b, t - 1, 1, generator=generator).to(z.device)
    start = dice(b, t - 1, d)
    flow = dynamics.flow
    velocity = flow(start + time * (residual - start), time, flow.condition_in(c[:, :-1]))
    track_residuals(trainee, (z[:, 1:] - guess).detach(), clean, batch.scenario)
    terms = {
        "prediction": relative_error(guess, z[:, 1:], z[:, :-1], batch.follows, batch.scenario, worlds),
        "heat_h": heat_loss(trainee.heat_h(h), batch.heat, batch.valid),
        "outcome": outcome_loss(model, g, c, drawn, batch),
        "flow": masked_mean((velocity.float() - (residual - start)) ** 2, clean),
    }
    return terms | rollout_losses(trainee, batch, z, drawn, scenario, begin, rollout, generator)


@torch.no_grad()
def drifting_noise(covariance: Tensor, world: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise (B, T, D) with the covariances (worlds, D, D) of the windows' worlds (B,).

    It is correlated in time, by ρ ~ U(0, 0.95) per window. A sampled dream adds a little error each step and goes on from the
    sum; without training against that, the states of nano grew to 28 times their variance in 80 steps.
    """
    b, d = len(world), covariance.shape[1]
    factor = torch.linalg.cholesky(covariance + 1e-5 * torch.eye(d, device=covariance.device))
    fresh = torch.randn(b, steps, d, generator=generator).to(covariance.device) @ factor[world].transpose(1, 2)
    rho = 0.95 * torch.rand(b, 1, generator=generator).to(covariance.device)
    noise = [fresh[:, 0]]
    for step in range(1, steps):
        noise.append(rho * noise[-1] + (1 - rho**2).sqrt() * fresh[:, step])
    return torch.stack(noise, 1)


@torch.no_grad()
def track_residuals(trainee: Trainee, residual: Tensor, mask: Tensor, world: Tensor) -> None:
    """Running covariance per world, and scale over all, of what the central guess misses; residual (B, T − 1, D)."""
    scale = trainee.model.dynamics.residual_scale
    scale.lerp_(residual[mask.bool()].square().mean(0).sqrt().clamp(min=1e-3), 0.02 if float(scale.std()) > 0 else 1.0)
    for index, covariance in enumerate(trainee.residual_covariance):
        errors = residual[(mask * (world == index)[:, None]).bool()]
        if len(errors) > 1:
            with torch.autocast(errors.device.type, enabled=False):
                now = errors.T @ errors / len(errors)
            covariance.lerp_(now, 0.05 if float(covariance.abs().sum()) > 0 else 1.0)


def rollout_losses(
    trainee: Trainee,
    batch: Batch,
    z: Tensor,
    drawn: list[Tensor],
    scenario: Tensor,
    begin: int,
    rollout: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The predictor fed its own outputs from step `begin` on, with gradients through all steps; and its skill by horizon.

    In half of the windows the outputs are jolted by noise of the size of a sampled step before they are fed back: what flies must
    go on flying in a sampled dream.
    """
    model, dynamics, worlds = trainee.model, trainee.model.dynamics, len(trainee.model.config.scenarios)
    tokens = embed_window(model, z, batch, scenario)[:, : begin + 1]
    features, cache, length = model.trunk.prefill(tokens)
    state, h = z[:, begin], features[:, -1]
    known = torch.tensor([1.0, 0.0], device=z.device).expand(len(z), 2)
    jolts = drifting_noise(trainee.residual_covariance, batch.scenario, rollout, generator)
    jolts = jolts * torch.rand(len(z), 1, 1, generator=generator).mul(2).sub(1).clamp(min=0).to(z.device)
    guesses, trunk = [], []
    for step in range(begin, begin + rollout):
        c = dynamics.given_outcome(dynamics.act(h, batch.actions[:, step]), [index[:, step] for index in drawn])
        state = dynamics.next_state(state, c)
        guesses.append(state)
        state = state + jolts[:, step - begin]
        after = batch.variables[:, step + 1] / model.scales
        change = after - batch.variables[:, step] / model.scales
        token = model.trunk.embed(state, batch.actions[:, step], after, change, scenario, known)
        h, cache = model.trunk.step(token, cache, length)
        length = (length + 1).clamp(max=model.config.context - 1)
        trunk.append(h)
    here = slice(begin + 1, begin + rollout + 1)
    guess, h_dream = torch.stack(guesses, 1).float(), torch.stack(trunk, 1)
    part = Batch(
        None,
        batch.actions[:, here],
        batch.rewards[:, here],
        batch.ended[:, here],
        batch.variables[:, here],
        batch.next_variables[:, here],
        batch.scenario,
        batch.start,
        batch.heat[:, here],
        batch.valid[:, here],
        batch.follows[:, begin + 1 :],
        batch.rows[:, here],
    )
    g = dynamics.act(h_dream, part.actions)
    targets = [index[:, here] for index in drawn]
    with torch.no_grad():  # not losses, for the log: open-loop skill by horizon
        still = z[:, begin, None]
        skills = {
            f"skill_{k}": 1 - relative_error(guess[:, [k - 1]], z[:, [begin + k]], still, part.valid[:, [k - 1]], batch.scenario, worlds)
            for k in (1, 2, 4, 8, 16)
            if k <= rollout
        }
    return skills | {
        "rollout": relative_error(guess, z[:, here], z[:, begin, None], part.valid, batch.scenario, worlds),
        "heat_rollout": heat_loss(trainee.heat_z(guess), part.heat, part.valid),
        "outcome_rollout": outcome_loss(model, g, dynamics.given_outcome(g, targets), targets, part),
    }


def train(args: argparse.Namespace) -> None:
    """Run the stage."""
    compute = compute_init(args.device, args.threads)
    data = Dataset(args.data, args.scenarios, "train", args.limit)
    path, first = args.out / CHECKPOINT, 0
    trainee = load_trainee(args.out / joint.CHECKPOINT).to(compute.device)
    states = cached_states(trainee, data, args.out / "states-train.safetensors", compute)
    trainee.model.encoder.requires_grad_(False)
    trainee.model.decoder.requires_grad_(False)
    trainee.heat_z.requires_grad_(False)
    optimiser = Optimiser(trainee, args.optimizer, args.lr, args.steps)
    if path.exists():
        first, _ = load_checkpoint(path, trainee, optimiser)
    pick_starts(trainee, data, states)
    log = Log(args.out / "dynamics", compute)
    pool, rollout = np.arange(len(data)), min(args.rollout, args.window - 2)
    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, disable=not compute.main, desc="dynamics", mininterval=5)
    for step in bar:
        rng = np.random.default_rng((args.seed, 7, step, compute.rank))
        rows = sample_rows(data, pool, args.batch, rng)
        # windows begin anywhere, also before an episode's last steps: those that would be cut short slide back
        rows = np.maximum(np.minimum(rows, data.last[rows] - rng.integers(0, args.window, len(rows))), data.first[rows])
        batch = make_batch(data, rows, args.window, compute.device, frames=False)
        z = states[batch.rows.cpu()].to(compute.device).float()
        begin = int(rng.integers(0, args.window - rollout))
        with compute.autocast():
            terms = losses(trainee, batch, z, begin, rollout, seeded(args.seed, 7, step, compute.rank))
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
            save_checkpoint(path, trainee, optimiser, step + 1, {"config": trainee.model.config.to_dict(), "seed": args.seed})


def pick_starts(trainee: Trainee, data: Dataset, states: Tensor) -> None:
    """Give the model real beginnings (first frames) and clips (a dozen steps from anywhere), up to 256 and 384 of each world."""
    at = np.arange(len(data))
    for index, name in enumerate(data.names):
        here, rng = data.scenario == index, np.random.default_rng(0)
        rows = rng.permutation(np.flatnonzero((data.first == at) & here))[:STARTS]
        trainee.model.starts[name] = (states[rows].float(), torch.from_numpy(data.variables[rows]))
        ends = rng.permutation(np.flatnonzero((at - data.first >= CLIP_STEPS - 1) & here))[:CLIPS]
        clip = ends[:, None] - np.arange(CLIP_STEPS)[::-1]
        if len(clip):
            actions, variables = torch.from_numpy(data.actions[clip[:, :-1]]).float(), torch.from_numpy(data.variables[clip])
            trainee.model.clips[name] = (states[torch.from_numpy(clip)].float(), actions, variables)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--scenarios", nargs="+", choices=sorted(SCENARIOS), default=list(SCENARIOS), help="worlds, as in the joint stage")
    parser.add_argument("--steps", type=int, default=2500, help="optimiser steps in all")
    parser.add_argument("--batch", type=int, default=64, help="windows per step and rank")
    parser.add_argument("--window", type=int, default=34, help="steps per window")
    parser.add_argument("--rollout", type=int, default=18, help="steps the predictor is fed its own outputs")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon", help="for hidden matrices")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of windows and dice")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--limit", type=int, default=None, help="use at most so many steps per world")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
