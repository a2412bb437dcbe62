"""Train the decoder on the frozen world model's states.

    python -m training.decoder --data data --out runs/nano --steps 3000

State in, picture out; no real frame leaks in. The loss is an L1 with some L2 whose weight is raised where ViZDoom's labels show an
object (a plain L1 is content with a world without fireballs), on states noised by σ ~ U(0, --noise), because dreamed states
are never exactly real ones. Uses the states that `training.dynamics` cached. Resumes like every other stage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from doom_dream_env.scenarios import SCENARIOS
from training import dynamics
from training.dataset import CELL, Dataset
from training.dynamics import cached_states, load_trainee, pick_starts
from training.loop import Log, Optimiser, compute_init, finished_steps, load_checkpoint, prefetched, save_checkpoint, seeded

CHECKPOINT = "decoder.safetensors"


def object_mask(heat: Tensor) -> Tensor:
    """Cells of any object (N, 3, 12, 16) as a mask of pixels (N, 1, 120, 160)."""
    return heat.amax(1, keepdim=True).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)


def train(args: argparse.Namespace) -> None:
    """Run the stage."""
    compute = compute_init(args.device, args.threads)
    path = args.out / CHECKPOINT
    data = Dataset(args.data, args.scenarios, "train", args.limit, keep_frames=finished_steps(path) < args.steps)
    trainee = load_trainee(args.out / dynamics.CHECKPOINT).to(compute.device)
    states = cached_states(trainee, data, args.out / "states-train.safetensors", compute)
    decoder = trainee.model.decoder.train()
    optimiser = Optimiser(decoder, args.optimizer, args.lr, args.steps)
    first = 0
    if path.exists():
        first, _ = load_checkpoint(path, decoder, optimiser)
    log = Log(args.out / "decoder", compute)

    def fetch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        # frames with projectiles and monsters nearby are drawn as they come: half of all frames have some
        rows = np.random.default_rng((args.seed, 9, step, compute.rank)).integers(len(data), size=args.batch)
        frames = torch.from_numpy(data.frames(rows)).permute(0, 3, 1, 2)
        return states[rows].float(), frames, torch.from_numpy(data.heat[rows]).float()

    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, disable=not compute.main, desc="decoder", mininterval=5)
    for step, (z, frames, heat) in zip(bar, prefetched(fetch, range(first, args.steps)), strict=True):
        generator = seeded(args.seed, 9, step, compute.rank)
        strength = args.noise * torch.rand(len(z), 1, generator=generator)
        z = (z + strength * torch.randn(z.shape, generator=generator)).to(compute.device)
        target, mask = frames.to(compute.device).float() / 255, object_mask(heat.to(compute.device))
        with compute.autocast():
            picture = decoder(z)
        weight = 1 + args.object_weight * mask
        error = picture - target
        loss = ((error.abs() + 2 * error.square()) * weight).sum() / (3 * weight.sum())
        if not torch.isfinite(loss.detach()):
            raise FloatingPointError(f"loss is {float(loss)} at step {step}: the last checkpoint is intact; resume with a smaller --lr")
        loss.backward()
        optimiser.step(step, compute)
        if step % 50 == 0:
            mse = F.mse_loss(picture.detach().clamp(0, 1), target)
            log.scalars(step, {"loss": float(loss.detach()), "psnr": float(-10 * torch.log10(mse))})
            bar.set_postfix(loss=f"{float(loss.detach()):.4f}", refresh=False)
        if compute.main and ((step + 1) % args.every == 0 or step + 1 == args.steps):
            save_checkpoint(path, decoder, optimiser, step + 1, trainee.about(args.seed))
            log.pictures(step, "real_above_decoded", torch.cat([target[:6], picture[:6].detach()]))
    if compute.main:
        pick_starts(trainee, data, states)
        fingerprint = trainee.model.save_pretrained(args.out / "weights")
        print(f"weights {fingerprint} in {args.out / 'weights'}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help="worlds, as in the joint stage")
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps in all")
    parser.add_argument("--batch", type=int, default=64, help="frames per step and rank")
    parser.add_argument("--noise", type=float, default=0.2, help="largest σ of the noise on states")
    parser.add_argument("--object-weight", type=float, default=4.0, help="added weight of pixels in cells with an object")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon", help="for hidden matrices")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of frames and dice")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--limit", type=int, default=None, help="use at most so many steps per world")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
