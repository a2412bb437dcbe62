"""Stage tokenizer: codes of small patches, of which the decoder's pictures are made.

    python -m training tokenizer --data data --out runs/nano

It knows frames alone, so the same tokenizer serves any weights. First the palette is made, half of it for cells with
objects: a fireball is 1 % of the pixels, and a patch that no wall needs has to be there for it. Then the painter learns
what neighbours change in a patch. In the second half a perceptual distance counts too. Resumes like every other
stage.

Legend: N pictures of a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.world_model.decoder import PATCH
from training.config import TokenizerConfig
from training.data.annotations import CELL
from training.data.batch import rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.engine.checkpoint import finished_steps
from training.engine.compute import Compute, compute_init
from training.engine.fit import LOG_EVERY, Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.metrics import psnr
from training.models.losses import object_mask
from training.models.perceptual import crops, perceptual_network
from training.models.tokenizer import Tokenizer, patches_of
from training.ranks import SampleGenerator, Share
from training.stages import TOKENIZER_CHECKPOINT

# They tell this stage's random numbers from those of others with the same seed.
STEP_STREAM = 31
PALETTE_STREAM = 32
FRAMES_AT_ONCE = 100
OUTSIDE_SHARE = 0.05  # of the patches without an object that the palette is made from
SHOWN = 6  # pictures in the log
PALETTE_OBJECTS = 0.5  # share of the patches of the palette from cells with objects
OBJECT_SHARE = 0.25  # of the frames, those that are drawn from frames with objects
OBJECT_WEIGHT = 4.0  # what pixels in cells with an object weigh more than others
SQUARED = 16.0  # weight of the squared error beside the L1, which has 1
PERCEPTUAL = 0.2  # weight of the perceptual distance
PERCEPTUAL_FROM = 0.5  # share of the steps before it counts
PERCEPTUAL_BATCH = 6  # pictures of a step that the perceptual network looks at
PERCEPTUAL_CROP = 64  # side of the crop that it looks at, pixels


@dataclass(frozen=True)
class FrameBatch:
    """Frames uint8 (N, 120, 160, 3) and their object maps, float32 (N, 3, 12, 16)."""

    frames: Tensor
    object_maps: Tensor


class FrameSampler:
    """Draws frames, every scenario alike, a share of them among those with objects."""

    def __init__(self, data: Dataset, config: TokenizerConfig) -> None:
        self.data = data
        self.config = config
        rows = np.arange(len(data))
        self.groups = rows_by_scenario(data, rows)
        shown = rows_by_scenario(data, rows[data.object_maps.any((1, 2, 3))])
        self.shown = [group for group in shown if len(group)]

    def __call__(self, rng: np.random.Generator, share: Share) -> FrameBatch:
        """Draw a step's frames, and decode those of a rank's share."""
        special = int(OBJECT_SHARE * self.config.batch) if self.shown else 0
        rows = sample_rows(self.groups, self.config.batch - special, rng)
        if special:
            rows = np.concatenate([rows, sample_rows(self.shown, special, rng)])
        rows = rng.permutation(rows)[share.slice]
        return FrameBatch(
            torch.from_numpy(self.data.frames(rows)), torch.from_numpy(self.data.object_maps[rows]).float()
        )


def train(config: TokenizerConfig) -> None:
    """Run the stage, or go on with it."""
    compute = compute_init(config.device, config.threads)
    path = config.out / TOKENIZER_CHECKPOINT
    if finished_steps(path) >= config.steps:
        print(f"{path} is finished: {config.steps} steps")
        return
    data = Dataset(config.data, config.scenarios, "train")
    torch.manual_seed(config.seed)
    tokenizer = Tokenizer()
    if not path.exists():
        tokenizer.fit_palette(palette_patches(data, config), config.seed)
    tokenizer = tokenizer.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = TokenizerLoss(tokenizer, config, compute)
    sampler = FrameSampler(data, config)
    log = RunLog(config.out / "tokenizer", compute)
    fit(
        name="tokenizer",
        module=tokenizer,
        optimiser=Optimiser(tokenizer, "adamw", config.lr, config.steps, weight_decay=1e-4),
        steps=config.steps,
        compute=compute,
        fetch=lambda step: sampler(np.random.default_rng((config.seed, STEP_STREAM, step)), loss.share),
        step_loss=loss,
        path=path,
        about={"seed": config.seed, "perceptual": loss.network_name},
        log=log,
        progress_keys=("psnr", "perceptual"),
        on_checkpoint=lambda step: log.pictures(step, "real_above_coded", loss.shown),
    )


def palette_patches(data: Dataset, config: TokenizerConfig) -> npt.NDArray[np.float32]:
    """Patches (M, 75) in 0…1 of frames of all scenarios alike, a share of them from cells with objects."""
    rng = np.random.default_rng((config.seed, PALETTE_STREAM))
    inside = []
    outside = []
    for group in rows_by_scenario(data, np.arange(len(data))):
        chosen = rng.choice(group, min(config.palette_frames, len(group)), replace=False)
        for rows in np.array_split(chosen, -(-len(chosen) // FRAMES_AT_ONCE)):
            patches = patches_of(torch.from_numpy(data.frames(rows))).numpy()
            shown = data.object_maps[rows].any(1).repeat(CELL // PATCH, 1).repeat(CELL // PATCH, 2)
            inside.append(patches[shown])
            everywhere = patches[~shown]
            outside.append(everywhere[rng.random(len(everywhere)) < OUTSIDE_SHARE])
    objects, rest = np.concatenate(inside), np.concatenate(outside)
    count = min(len(objects), int(len(rest) * PALETTE_OBJECTS / (1 - PALETTE_OBJECTS)))
    return np.concatenate([objects[rng.permutation(len(objects))[:count]], rest])


class TokenizerLoss:
    """The loss of a step.

    Attributes:
        share: which frames of a step this rank sees.
        network_name: of the perceptual network, "none" without one.
        shown: some frames and their pictures in the newest step.
    """

    def __init__(self, tokenizer: Tokenizer, config: TokenizerConfig, compute: Compute) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.compute = compute
        self.share = compute.share(config.batch)
        self.few, self.few_share = self.share.evenly(PERCEPTUAL_BATCH)
        self.network_name, network = perceptual_network() or ("none", None)
        if network is not None:
            network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.perceptual_from = int(PERCEPTUAL_FROM * config.steps)
        self.shown = torch.zeros(0)

    def __call__(self, step: int, batch: FrameBatch) -> tuple[Tensor, Numbers]:
        """The loss and its terms."""
        frames = batch.frames.to(self.compute.device)
        target = frames.permute(0, 3, 1, 2).float() / 255
        with self.compute.autocast():
            picture = self.tokenizer(frames).float()
        self.shown = torch.cat([target[:SHOWN], picture[:SHOWN].detach()])
        weight = 1 + OBJECT_WEIGHT * object_mask(batch.object_maps.to(self.compute.device))
        error = picture - target
        loss = self.share.weight * ((error.abs() + SQUARED * error.square()) * weight).mean()
        numbers: dict[str, float | Tensor] = {"reconstruction": loss.detach()}
        if step % LOG_EVERY == 0:
            numbers["psnr"] = psnr(F.mse_loss(picture.detach().clamp(0, 1), target))
        if self.network is not None and step >= self.perceptual_from:
            generator = SampleGenerator(self.few_share, self.config.seed, STEP_STREAM, step)
            pair = torch.cat([picture[self.few].clamp(0, 1), target[self.few]])
            coded, real = crops(pair, PERCEPTUAL_CROP, generator.shared).chunk(2)
            with self.compute.autocast():
                distance = self.network(2 * coded - 1, 2 * real - 1).float().mean()
            numbers["perceptual"] = distance.detach()
            loss = loss + self.few_share.weight * PERCEPTUAL * distance
        return loss, numbers
