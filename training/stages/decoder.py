"""Stage decoder: pictures of the finished world model's states.

    python -m training tokenizer --data data --out runs/nano
    python -m training decoder --data data --out runs/nano
    python -m training decoder --data data --out runs/pictures --weights nano            # pictures of finished weights

State in, codes of patches out; no real frame leaks in. The decoder is a classifier of the codes that the tokenizer
gives the real frames, and codes in cells with an object weigh more. Half of the states are dreamed beside a real game,
so that pictures are right where dreams go; to the others, noise of a random strength up to `NOISE` is added.

It learns to draw as it will be asked to: a random share of the codes is known already (MaskGIT, arXiv 2202.04200), and
so are the codes of the picture before, some of them wrong, and sometimes drawn by the decoder itself in the moment
before. What each cell sees of the state, and where objects stand, is fitted first, by large batches of real
states, and stays as it is while the rest learns. The rest is told where objects really stand.

What ships is a moving average. The states and codes are cached. With `--weights` finished weights get the decoder, and
all else of them stays as it is, so agents stay valid. Resumes like every other stage.

Legend: N pictures of a step, D state width.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.errors import UserError
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.decoder import UNKNOWN, Decoder, digits_of
from training.config import DecoderConfig
from training.data.batch import rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.data.latents import cached_states
from training.data.pictures import PictureBatch, PictureSampler, dreams_beside
from training.engine.checkpoint import finished_steps
from training.engine.compute import Compute, compute_init
from training.engine.fit import Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.models.packing import all_origins, store_initial_states
from training.models.picture_model import DecoderModules, ViewHeads, by_cell
from training.models.tokenizer import cached_codes, load_tokenizer
from training.models.training_model import TrainingModel, load_training_model
from training.ranks import SampleGenerator, mean_over_ranks
from training.stages import (
    CODES,
    DECODER_CHECKPOINT,
    DYNAMICS_CHECKPOINT,
    STATES,
    TOKENIZER_CHECKPOINT,
    VIEWS_CHECKPOINT,
    WEIGHTS,
)

STEP_STREAM = 9  # tells this stage's random numbers from those of others with the same seed
SHOWN = 6  # pictures in the log
ALL_UNKNOWN = 0.4  # share of the pictures of which no code is known yet, as in the first pass of a drawing
OWN_EVERY = 3  # steps: the decoder's own pictures cost a drawing
NOISE = 0.15  # greatest standard deviation of the noise on real states
# What patches in cells with an object weigh more than others, at first and at the end: it falls over the last third of
# the run. Codes that weigh more seem likelier than they are, and pictures would be drawn full of them.
OBJECT_WEIGHT = 6.0
OBJECT_WEIGHT_END = 2.0
FORGET_SHARE = 0.25  # of the pictures that are drawn without a picture before
OWN_SHARE = 0.25  # of the others whose picture before is the decoder's own
WRONG_CODES = 0.3  # greatest share of wrong codes in the picture before
EMA_DECAY = 0.998  # of the moving average that is packed (arXiv 2510.11690)
READ_SHARE = 0.2  # of the pictures whose objects stand where the state says, and not where they stood
VIEW_STREAM = 10
VIEW_STEPS = 0.15  # of the fit of views, for each of the decoder's
VIEW_BATCH = 512  # states of which the objects are read
VIEW_CODES = 96  # those of them of which the codes are told, which costs more
VIEW_LEARNING_RATE = 2e-3


def train(config: DecoderConfig) -> None:
    """Run the stage, or go on with it; then pack the weights."""
    compute = compute_init(config.device, config.threads)
    path = config.out / DECODER_CHECKPOINT
    unfinished = finished_steps(path) < config.steps
    tokenizer = load_tokenizer(config.out / TOKENIZER_CHECKPOINT)
    data = Dataset(config.data, config.scenarios, "train", keep_frames=False)
    model = finished_model(config, data).to(compute.device).requires_grad_(False)
    world_model = model.world_model
    states = cached_states(world_model, data, config.out / STATES, autocast=compute.autocast)
    codes = cached_codes(tokenizer.to(compute.device), data, config.out / CODES)
    step_loss = DecoderLoss(world_model, config, compute)
    if config.init is None:
        fit_views(step_loss.modules.decoder, data, states, codes, config, compute)
        step_loss.modules.average.set(step_loss.modules.decoder)
    step_loss.modules.averaged.painter.load_state_dict(tokenizer.painter.state_dict())
    dreams = dreams_beside(world_model, data, states, config.seed) if unfinished else None
    sampler = PictureSampler(data, states, codes, dreams, config.batch)
    log = RunLog(config.out / "decoder", compute)
    fit(
        name="decoder",
        module=step_loss.modules,
        optimiser=step_loss.optimiser,
        steps=config.steps,
        compute=compute,
        fetch=lambda step: sampler(np.random.default_rng((config.seed, STEP_STREAM, step)), step_loss.share),
        step_loss=step_loss,
        path=path,
        about=model.about(config.seed),
        log=log,
        progress_keys=("first_digit", "second_digit"),
        after_step=step_loss.modules.update_average,
        on_checkpoint=lambda step: log.pictures(step, "real_above_drawn", step_loss.pictures()),
    )
    if compute.main:
        step_loss.modules.averaged.painter.load_state_dict(tokenizer.painter.state_dict())
        pack(model, step_loss.modules, data, states, config)


def finished_model(config: DecoderConfig, data: Dataset) -> TrainingModel:
    """The model whose states are shown. Of finished weights, what exists in training only is random.

    Raises:
        ValueError: if the weights know other scenarios than the data.
    """
    if config.weights is None:
        return load_training_model(config.out / DYNAMICS_CHECKPOINT)
    world_model = WorldModel.from_pretrained(config.weights)
    known = world_model.config.scenarios
    if known != tuple(data.names):
        raise UserError(f"weights {config.weights} know {', '.join(known)}: give these as --scenarios, in this order")
    model = TrainingModel(world_model.config, data.places)
    model.world_model = world_model
    return model.eval()


def pack(model: TrainingModel, modules: DecoderModules, data: Dataset, states: Tensor, config: DecoderConfig) -> None:
    """Write the weights with the averaged decoder; new ones also with states that dreams begin from."""
    packed = model.world_model
    if not config.weights:
        store_initial_states(packed, data, states)
    packed.decoder.load_state_dict(modules.averaged.state_dict())
    packed.origins = all_origins(packed.origins, data, config.init)
    fingerprint = packed.save_pretrained(config.out / WEIGHTS)
    print(f"weights {fingerprint} in {config.out / WEIGHTS}")


def fit_views(
    decoder: Decoder, data: Dataset, states: Tensor, codes: Tensor, config: DecoderConfig, compute: Compute
) -> None:
    """Fit the layers that read off a real state what each cell shows, before the rest of the decoder learns.

    Resumes. Every rank computes the same.

    Args:
        decoder: its `view` and `object_reader` are fitted.
        data: the recorded steps.
        states: of all rows, (N of the data, D).
        codes: of their frames, (N of the data, 24, 32).
        config: the steps.
        compute: where this runs.
    """
    torch.manual_seed(config.seed)
    heads = ViewHeads(decoder.view_width).to(compute.device)
    module = nn.ModuleDict({"view": decoder.view, "object_reader": decoder.object_reader, "heads": heads})
    groups = rows_by_scenario(data, np.arange(len(data)))
    steps = math.ceil(config.steps * VIEW_STEPS)

    def fetch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((config.seed, VIEW_STREAM, step))
        rows = rng.permutation(sample_rows(groups, VIEW_BATCH, rng))
        return states[rows].float(), codes[rows[:VIEW_CODES]].long(), torch.from_numpy(data.object_maps[rows]).float()

    def step_loss(step: int, batch: tuple[Tensor, ...]) -> tuple[Tensor, Numbers]:
        z, found, maps = (part.to(compute.device) for part in batch)
        digits = [by_cell(digit) for digit in digits_of(found)]
        with compute.autocast():
            logits = heads(decoder.views(z[:VIEW_CODES]), digits[0])
            objects = decoder.object_reader(z)
        weight = 1 + OBJECT_WEIGHT * maps[:VIEW_CODES].amax(1).flatten(1)[..., None]
        terms = {
            name: (digit_errors(told, digit) * weight).sum() / (4 * weight.sum())
            for name, told, digit in zip(("first_digit", "second_digit"), logits, digits, strict=True)
        }
        # Not weighted: one half is to mean that an object is as likely there as not.
        terms["objects"] = F.binary_cross_entropy_with_logits(objects.float(), maps.flatten(1))
        return terms["first_digit"] + terms["second_digit"] + terms["objects"], terms

    module.requires_grad_(True)
    fit(
        name="views",
        module=module,
        optimiser=Optimiser(module, "adamw", VIEW_LEARNING_RATE, steps),
        steps=steps,
        compute=compute,
        fetch=fetch,
        step_loss=step_loss,
        path=config.out / VIEWS_CHECKPOINT,
        log=RunLog(config.out / "views", compute),
        progress_keys=("first_digit", "second_digit", "objects"),
    )
    module.requires_grad_(False)


# ---- loss ------------------------------------------------------------------------------------------------------------


class DecoderLoss:
    """The loss of a step, and all that it needs.

    Attributes:
        share: which pictures of a step this rank computes.
        modules: what the checkpoint holds.
        optimiser: of the decoder.
    """

    def __init__(self, model: WorldModel, config: DecoderConfig, compute: Compute) -> None:
        """Make the modules for a world model, whose decoder is trained in place."""
        self.config = config
        self.compute = compute
        self.share = compute.share(config.batch)
        torch.manual_seed(config.seed)
        decoder = model.decoder.requires_grad_(True).train()
        decoder.painter.requires_grad_(False)
        decoder.view.requires_grad_(False)
        decoder.object_reader.requires_grad_(False)
        if config.init is not None:
            go_on_from(config.init, decoder)
        self.modules = DecoderModules(decoder, EMA_DECAY).to(compute.device)
        self.optimiser = Optimiser(self.modules, "muon", config.lr, config.steps)
        self.newest: PictureBatch | None = None

    def __call__(self, step: int, batch: PictureBatch) -> tuple[Tensor, Numbers]:
        """The loss and its terms."""
        decoder = self.modules.decoder
        batch = self.newest = batch.to(self.compute.device)
        generator = SampleGenerator(self.share, self.config.seed, STEP_STREAM, step)
        z = self.noisy(batch.z, batch.real, generator)
        before, action = self.remembered(step, batch, generator)
        unknown = self.unknown(generator).to(z.device)
        known = torch.where(unknown, UNKNOWN, batch.codes)
        first, second = digits_of(batch.codes)
        with self.compute.autocast():
            places = decoder.places(z, before, action, self.maps(z, batch, generator))
            hidden = decoder.hidden(places, known)
            errors = [
                digit_errors(logits, digit)
                for logits, digit in ((decoder.logits(hidden), first), (decoder.logits(hidden, first), second))
            ]
        cells = F.interpolate(batch.object_maps.amax(1, keepdim=True), scale_factor=2)[:, 0]
        weight = (1 + self.object_weight(step) * cells) * unknown
        whole = mean_over_ranks(weight.sum())
        digits = [(error * weight).sum() / whole for error in errors]
        return digits[0] + digits[1], {"first_digit": digits[0], "second_digit": digits[1]}

    def object_weight(self, step: int) -> float:
        """What patches in cells with an object weigh more than others at a step."""
        return OBJECT_WEIGHT + (OBJECT_WEIGHT_END - OBJECT_WEIGHT) * max(0.0, 3 * step / self.config.steps - 2)

    def noisy(self, z: Tensor, real: Tensor, generator: SampleGenerator) -> Tensor:
        """States (N, D), the real ones (N, 1) through noise of a random strength."""
        noise = NOISE * generator.uniform(1) * generator.normal(z.shape[-1])
        return z + real * noise.to(z.device)

    def maps(self, z: Tensor, batch: PictureBatch, generator: SampleGenerator) -> Tensor:
        """Where objects stand, (N, 3, 12, 16): mostly the truth, so that it is heeded; else what states say."""
        read = (generator.uniform(1, 1, 1) < READ_SHARE).to(z.device)
        return torch.where(read, self.modules.decoder.object_maps(z), batch.object_maps)

    def unknown(self, generator: SampleGenerator) -> Tensor:
        """Which codes are still to be drawn: all of some pictures, of others a random share, bool (N, 24, 32)."""
        share = 0.05 + 0.9 * generator.uniform(1, 1)
        share = torch.where(generator.uniform(1, 1) < ALL_UNKNOWN, 1.1, share)
        return generator.uniform(24, 32) < share

    def remembered(self, step: int, batch: PictureBatch, generator: SampleGenerator) -> tuple[Tensor, Tensor]:
        """The codes of the picture before (N, 24, 32) and the action since then (N, 9), as a drawing may find them."""
        before = batch.before
        if step % OWN_EVERY == 0 and step > self.config.steps // 10:
            noise = generator.uniform(*self.modules.decoder.noise_shape).to(before.device)
            with torch.no_grad(), self.compute.autocast():
                own = self.modules.decoder.draw(batch.z_before, before, batch.action, noise)
            chosen = generator.uniform(1, 1).to(before.device) < OWN_EVERY * OWN_SHARE
            before = torch.where(chosen & (before >= 0), own, before)
        share = WRONG_CODES * generator.uniform(1, 1)
        wrong = (generator.uniform(24, 32) < share).to(before.device)
        before = torch.where(wrong & (before >= 0), batch.other, before)
        forgotten = generator.uniform(1).to(before.device) < FORGET_SHARE
        before = torch.where(forgotten[..., None], UNKNOWN, before)
        return before, batch.action * ~forgotten

    @torch.no_grad()
    def pictures(self) -> Tensor:
        """For the log: some frames of the newest step as their codes show them, then drawn from their states."""
        batch = self.newest
        assert batch is not None
        decoder = self.modules.averaged
        z, before, action = batch.z[:SHOWN], batch.before[:SHOWN], batch.action[:SHOWN]
        noise = torch.rand(len(z), *decoder.noise_shape, generator=torch.Generator().manual_seed(0)).to(z.device)
        return torch.cat([decoder.paint(batch.codes[:SHOWN]), decoder.paint(decoder.draw(z, before, action, noise))])


def digit_errors(logits: Tensor, digits: Tensor) -> Tensor:
    """Cross entropy in nats of each digit (…), told by logits (…, K)."""
    return F.cross_entropy(logits.float().flatten(0, -2), digits.flatten(), reduction="none").view_as(digits)


def go_on_from(weights: str, decoder: Decoder) -> None:
    """Take over the decoder of weights (name or folder); the painter stays that of the tokenizer of this run.

    Raises:
        ValueError: if it is of another size.
    """
    found = WorldModel.from_pretrained(weights).decoder.state_dict()
    own = decoder.state_dict()
    if any(found[key].shape != value.shape for key, value in own.items()):
        raise UserError(f"the decoder of {weights} is of another size than this run's")
    decoder.load_state_dict({key: own[key] if key.startswith("painter.") else value for key, value in found.items()})
