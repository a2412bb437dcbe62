"""Train the decoder on the frozen world model's states.

    python -m training.decoder --data data --out runs/nano --steps 16000
    python -m training.decoder --data data --out runs/nano --steps 7000 --autoencoder    # the yardstick

State in, picture out; no real frame leaks in. The recipe is that of RAE (arXiv 2510.11690), late parts late:

1. from the beginning an L1 with some L2, more where ViZDoom's labels show an object (a plain L1 is content with a world without
   fireballs). Some states are those of dreams beside a real game (--dreamed): half of them went the way the game went, half the likeliest
   way, half began at an episode's beginning. The rest are real ones with noise of σ ~ U(0, --noise). So pictures are right where dreams
   go. Shots are rare in some worlds and shown more often;
2. from --perceptual-from on also a perceptual distance, and the encoder must read from the picture the state that it was made of. The
   distance asks for bricks, which the state hardly places: a decoder paints them where it likes, and without more they stay there while
   the camera turns. So frames come in pairs of successive moments, and their pictures must move as the frames do (`motion_mismatch`);
3. from --adversarial-from on (not by default: nothing was gained yet, EXPERIMENTS.md) also a critic over frozen features, which learns
   for a while before the decoder hears of it; its weight is set so that both gradients have the same size at the last layer.

What is saved is a moving average. --autoencoder trains an encoder of the same size along, end to end, and saves it beside (`pictures`
compares with it); it begins as the world model's. Uses the states that `training.dynamics` cached. Resumes like every other stage.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from doom_dream_env.scenarios import SCENARIOS, VARIABLES
from training import dynamics
from training.dataset import CELL, Dataset
from training.dynamics import cached_states, dreamed, load_trainee, pick_starts
from training.loop import Compute, Log, Optimiser, compute_init, finished_steps, load_checkpoint, prefetched, save_checkpoint, seeded
from training.losses import motion_mismatch
from training.perceptual import Critic, crops, hinge, magnified, network
from training.world_model import Trainee, by_world, make_batch, outcome_targets, sample_rows

CHECKPOINT, AUTOENCODER = "decoder.safetensors", "autoencoder.safetensors"
PERCEPTUAL, READ_BACK, MOTION, ADVERSARIAL = 0.15, 0.03, 0.01, 0.5  # weights beside the L1; the last one of RAE's adaptive weight
CROP, CLOSE = 64, 32  # side of what the distance looks at, pixels, and of what the critic looks at, magnified to the same size
CRITIC_LR, LISTENING = 2e-3, 0.25  # and the share of the adversarial steps in which only the critic learns
AVERAGE = 0.9978  # arXiv 2510.11690
CONTEXT, AHEAD = 12, 16  # real steps before a dream, dreamed ones; half of the dreams begin where episodes do, after one real frame
FIRING = 0.25  # share of pairs in which a shot goes off or is about to: in some worlds that is once an episode


def object_mask(heat: Tensor) -> Tensor:
    """Cells of any object (N, 3, 12, 16) as a mask of pixels (N, 1, 120, 160)."""
    return heat.amax(1, keepdim=True).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)


class Studio(nn.Module):
    """What this stage learns: the decoder, its moving average, the critic, and for the yardstick an encoder."""

    def __init__(self, trainee: Trainee, autoencoder: bool, channels: list[int]) -> None:
        super().__init__()
        self.decoder = trainee.model.decoder.train()
        self.encoder = copy.deepcopy(trainee.model.encoder).requires_grad_(True).train() if autoencoder else None
        self.average = copy.deepcopy(self.makers).requires_grad_(False)
        self.critic = Critic(channels)

    @property
    def makers(self) -> nn.ModuleList:
        """What makes the picture: the decoder, and the encoder if one is trained along."""
        return nn.ModuleList([part for part in (self.decoder, self.encoder) if part])

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the average; faster in the beginning, when there is little to keep."""
        share = min(AVERAGE, (1 + step) / (10 + step))
        learned = self.makers.state_dict()
        for name, value in self.average.state_dict().items():
            value.lerp_(learned[name], 1 - share) if value.is_floating_point() else value.copy_(learned[name])


class Both:
    """The optimisers of the picture and of the critic, saved as one."""

    def __init__(self, studio: Studio, kind: str, lr: float, steps: int) -> None:
        self.picture = Optimiser(studio.makers, kind, lr, steps)
        self.critic = Optimiser(studio.critic, "adamw", CRITIC_LR, steps)

    def tensors(self) -> dict[str, Tensor]:
        """State as flat names to tensors."""
        parts = {"picture": self.picture, "critic": self.critic}
        return {f"{name}/{key}": value for name, part in parts.items() for key, value in part.tensors().items()}

    def load(self, flat: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for name, part in (("picture", self.picture), ("critic", self.critic)):
            part.load({key.removeprefix(f"{name}/"): value for key, value in flat.items() if key.startswith(f"{name}/")})


@torch.no_grad()
def dreams(trainee: Trainee, data: Dataset, states: Tensor, windows: int, compute: Compute, seed: int) -> tuple[np.ndarray, Tensor]:
    """Dreams beside a real game, under its actions: rows (M, 2) of pairs of real moments, and the dreamed states (M, 2, D) for them."""
    rng, pool, each, rows, found = np.random.default_rng((seed, 21)), data.windows(2), (windows + 1) // 2, [], []
    for context, begins in ((CONTEXT, data.windows(CONTEXT + 1)), (1, pool[data.age[pool] == 0])):
        groups = by_world(data, begins)
        for part in range(0, each, 200):
            first = sample_rows(groups, min(200, each - part), rng)
            batch = make_batch(data, first, context + AHEAD, compute.device, frames=False)
            z = states[batch.rows.cpu()].to(compute.device).float()
            follows = torch.from_numpy(rng.random((len(first), 1)) < 0.5).to(compute.device)
            drawn, dice = outcome_targets(trainee.model, batch), seeded(seed, 21, context, part)
            z_dream, *_ = dreamed(trainee, batch, z, drawn, batch.scenario, context - 1, AHEAD, follows, dice)
            valid = batch.valid[:, context + 1 :].bool()
            at, seen = batch.rows[:, context:], z_dream.half()
            rows.append(torch.stack([at[:, :-1], at[:, 1:]], 2)[valid].cpu().numpy())
            found.append(torch.stack([seen[:, :-1], seen[:, 1:]], 2)[valid].cpu())
    return np.concatenate(rows), torch.cat(found)


def firing(data: Dataset) -> np.ndarray:
    """Rows from which on a pair of moments shows a shot: the ammunition falls within three steps."""
    pool = data.windows(2)
    ammunition = data.variables[:, [VARIABLES.index("AMMO2"), VARIABLES.index("SELECTED_WEAPON_AMMO")]]
    shots = pool[(ammunition[pool + 1] < ammunition[pool]).any(1)]
    near = np.maximum(shots[:, None] - np.arange(3), 0)
    return np.unique(near[data.last[near] == data.last[shots][:, None]])


def quantised(picture: Tensor) -> Tensor:
    """Clamped and rounded to 8 bit; the gradient passes straight through."""
    clean = picture.clamp(0, 1)
    return picture + ((clean * 255).round() / 255 - picture).detach()


def train(args: argparse.Namespace) -> None:
    """Run the stage."""
    compute = compute_init(args.device, args.threads)
    path = args.out / (AUTOENCODER if args.autoencoder else CHECKPOINT)
    data = Dataset(args.data, args.scenarios, "train", args.limit, keep_frames=finished_steps(path) < args.steps)
    trainee = load_trainee(args.out / dynamics.CHECKPOINT).to(compute.device).requires_grad_(False)
    states = cached_states(trainee, data, args.out / "states-train.safetensors", compute)
    judge_name, judge = network() or ("none", None)
    trainee.model.decoder.requires_grad_(True)
    torch.manual_seed(args.seed)  # of the critic's and the yardstick's first weights
    studio = Studio(trainee, args.autoencoder, getattr(judge, "chns", [1] * 5)).to(compute.device)
    optimiser, first = Both(studio, args.optimizer, args.lr, args.steps), 0
    if path.exists():
        first, _ = load_checkpoint(path, studio, optimiser)  # type: ignore[arg-type]
    if judge is not None:
        judge = judge.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    share = 0.0 if args.autoencoder or first >= args.steps else args.dreamed
    dream_rows, dream_states = (
        dreams(trainee, data, states, args.dreams, compute, args.seed)
        if share
        else (np.zeros((0, 2), int), states.new_zeros(0, 2, states.shape[1]))
    )
    perceptual_from, adversarial_from = (int(part * args.steps) for part in (args.perceptual_from, args.adversarial_from))
    heard_from = adversarial_from + LISTENING * (args.steps - adversarial_from)
    pairs = max(args.batch // 2, 1)
    groups, log = by_world(data, data.windows(2)), Log(args.out / path.stem, compute)
    shots = firing(data)
    shot_rows = [group for group in by_world(data, shots) if len(group)]
    shot_dreams = np.flatnonzero(np.isin(dream_rows[:, 0], shots))

    def fetch(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # frames with projectiles and monsters nearby are drawn as they come: half of all frames have some
        rng = np.random.default_rng((args.seed, 9, step, compute.rank))
        chosen = rng.integers(len(dream_rows), size=int(share * pairs)) if share else np.zeros(0, int)
        met = sample_rows(groups, pairs - len(chosen), rng)
        for drawn, pool in ((chosen, [shot_dreams] if len(shot_dreams) else []), (met, shot_rows)):
            fired = np.flatnonzero(rng.random(len(drawn)) < FIRING)
            if pool:
                drawn[fired] = sample_rows(pool, len(fired), rng)
        rows = np.concatenate([dream_rows[chosen], np.stack([met, met + 1], 1)])  # pairs, 2
        z = torch.cat([dream_states[chosen], states[rows[len(chosen) :]]]).float()
        order = rng.permutation(pairs)  # the networks look at the first few
        at = rows[order].ravel()
        real = torch.from_numpy(order >= len(chosen)).float().repeat_interleave(2)[:, None]
        return z[torch.from_numpy(order)].flatten(0, 1), torch.from_numpy(data.frames(at)), torch.from_numpy(data.heat[at]).float(), real

    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, disable=not compute.main, desc=path.stem, mininterval=5)
    for step, (z, frames, heat, real) in zip(bar, prefetched(fetch, range(first, args.steps)), strict=True):
        generator = seeded(args.seed, 9, step, compute.rank)
        strength = args.noise * torch.rand(pairs, 1, generator=generator).repeat_interleave(2, 0) * real
        noisy = (z + strength * torch.randn(z.shape, generator=generator)).to(compute.device)
        z, frames, mask = z.to(compute.device), frames.to(compute.device), object_mask(heat.to(compute.device))
        target = frames.permute(0, 3, 1, 2).float() / 255
        with compute.autocast():
            picture = studio.decoder(studio.encoder(frames) if studio.encoder else noisy)
        weight = 1 + args.object_weight * mask
        error = picture - target
        loss = ((error.abs() + 2 * error.square()) * weight).sum() / (3 * weight.sum())
        numbers = {"rebuild": loss.detach()}
        few = slice(0, args.looked_at or max(args.batch // 4, 1))
        if step >= perceptual_from:
            numbers["motion"] = unlike = motion_mismatch(picture[::2].clamp(0, 1), picture[1::2].clamp(0, 1), target[::2], target[1::2])
            loss = loss + MOTION * unlike
        if judge is not None and step >= perceptual_from:
            both = crops(torch.cat([picture[few].clamp(0, 1), target[few]]), CROP, generator)
            fake, true = both.chunk(2)
            with compute.autocast():
                numbers["perceptual"] = distance = judge(2 * fake - 1, 2 * true.detach() - 1).float().mean()
            loss = loss + PERCEPTUAL * distance
            if studio.encoder is None:
                back = trainee.model.encoder(255 * picture[few].clamp(0, 1).permute(0, 2, 3, 1))
                numbers["read_back"] = missed = (back - z[few]).square().mean()
                loss = loss + READ_BACK * missed
            if step >= adversarial_from:
                close_fake, close_true = magnified(both[..., :CLOSE, :CLOSE], CROP // CLOSE).chunk(2)
                studio.critic.requires_grad_(True)
                shown = [studio.critic(judge, part.detach(), generator) for part in (close_true, quantised(close_fake))]
                numbers["critic"] = verdict = hinge(*shown)
                verdict.backward()
                optimiser.critic.step(step - adversarial_from, compute)
                studio.critic.requires_grad_(False)
            if step >= heard_from:
                fooled = -studio.critic(judge, quantised(close_fake), generator).mean()
                last = studio.decoder.pixels.weight
                sizes = [torch.autograd.grad(part, last, retain_graph=True)[0].norm() for part in (loss, fooled)]
                loss = loss + ADVERSARIAL * (sizes[0] / (sizes[1] + 1e-6)).clamp(max=1e4).detach() * fooled
        if not torch.isfinite(loss.detach()):
            raise FloatingPointError(f"loss is {float(loss)} at step {step}: the last checkpoint is intact; resume with a smaller --lr")
        loss.backward()
        optimiser.picture.step(step, compute)
        studio.follow(step)
        if step % 50 == 0:
            mse = F.mse_loss(picture.detach().clamp(0, 1), target)
            log.scalars(step, {k: float(v.detach()) for k, v in numbers.items()} | {"psnr": float(-10 * torch.log10(mse))})
            bar.set_postfix({k: f"{float(v.detach()):.4f}" for k, v in numbers.items()}, refresh=False)
        if compute.main and ((step + 1) % args.every == 0 or step + 1 == args.steps):
            save_checkpoint(path, studio, optimiser, step + 1, trainee.about(args.seed) | {"perceptual": judge_name})  # type: ignore[arg-type]
            log.pictures(step, "real_above_decoded", torch.cat([target[:6], picture[:6].detach()]))
    if compute.main and not args.autoencoder:
        trainee.model.decoder.load_state_dict(studio.average[0].state_dict())
        pick_starts(trainee, data, states)
        fingerprint = trainee.model.save_pretrained(args.out / "weights")
        print(f"weights {fingerprint} in {args.out / 'weights'}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help="worlds, as in the joint stage")
    parser.add_argument("--steps", type=int, default=24000, help="optimiser steps in all")
    parser.add_argument("--batch", type=int, default=24, help="pictures per step and rank")
    parser.add_argument("--noise", type=float, default=0.2, help="largest σ of the noise on real states")
    parser.add_argument("--dreamed", type=float, default=0.5, help="share of dreamed states")
    parser.add_argument("--dreams", type=int, default=4000, help="dreams of 16 steps that they are from")
    parser.add_argument("--object-weight", type=float, default=4.0, help="added weight of pixels in cells with an object")
    parser.add_argument("--perceptual-from", type=float, default=0.5, help="share of the steps before the perceptual distance counts")
    parser.add_argument("--adversarial-from", type=float, default=1.0, help="share of the steps before the critic (1: never)")
    parser.add_argument("--looked-at", type=int, default=None, help="pictures of a step that the networks look at (default: a quarter)")
    parser.add_argument("--autoencoder", action="store_true", help="train an encoder along: how good can it be at this size?")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon", help="for hidden matrices")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of frames and dice")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--limit", type=int, default=None, help="use at most so many steps per world")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
