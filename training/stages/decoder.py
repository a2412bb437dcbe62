"""Stage 3, decoder: pictures of the finished world model's states.

    python -m training decoder --data data --out runs/nano --steps 24000
    python -m training decoder --data data --out runs/nano --steps 7000 --autoencoder    # the yardstick
    python -m training decoder --data data --out runs/pictures --weights nano            # pictures of finished weights

State in, picture out; no real frame leaks in. The recipe is that of RAE (arXiv 2510.11690), in three parts:

1. From the first step on, an L1 with some L2, which weighs more where ViZDoom's labels show an object: a plain L1 is
   content with a picture without fireballs. Half of the states are dreamed beside a real game, so that pictures are
   right where dreams go; to the others, noise of a random strength up to `--noise` is added.
2. From `--perceptual-from` on, also a perceptual distance, and the encoder must read from the picture the state that it
   was made of. The distance asks for bricks, which the state hardly places: a decoder paints them where it likes, and
   without more they stay there while the camera turns. So frames come in pairs of successive moments, whose pictures
   must move as the frames do (`motion_mismatch`).
3. From `--adversarial-from` on, also a critic. By default that is never, because nothing was gained by it yet
   (EXPERIMENTS.md). It learns for a while before its scores count for the decoder.

What ships is a moving average of the decoder. With `--autoencoder` an encoder of the same size learns along, end to
end, beginning as the world model's, and nothing is packed. The states are those that the stage dynamics cached. With
`--weights` the decoder of finished weights goes on learning, and all else of them stays as it is, so agents stay valid.
Resumes like every other stage.

Legend: N pictures of a step, D state width, H, W a picture's size.
"""

from __future__ import annotations

import copy
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.world_model import WorldModel
from training.config import DecoderConfig, record_config
from training.data.batch import make_batch, rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.data.latents import cached_states
from training.data.picture_pairs import DreamedPairs, PairSampler, PictureBatch
from training.engine.checkpoint import finished_steps
from training.engine.compute import Compute, compute_init
from training.engine.fit import LOG_EVERY, Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import JointOptimiser, Optimiser
from training.metrics import psnr
from training.models.batch_norm import normalise_over_ranks
from training.models.critic import Critic, hinge
from training.models.losses import object_map_loss, object_mask, outcome_targets, weighted_sum
from training.models.motion import motion_mismatch
from training.models.packing import SURE, calibrated
from training.models.perceptual import crops, level_channels, magnified, perceptual_network
from training.models.picture_model import DecoderModules, PictureModel
from training.models.rollout import Windows, open_loop_rollout
from training.models.training_model import TrainingModel, load_training_model
from training.ranks import SampleGenerator, mean_over_ranks
from training.stages import AUTOENCODER_CHECKPOINT, DECODER_CHECKPOINT, DYNAMICS_CHECKPOINT, STATES, WEIGHTS

# They tell this stage's random numbers from those of others with the same seed.
STEP_STREAM = 9
CRITIC_STREAM = 10
DREAM_STREAM = 21
DREAMS_AT_ONCE = 200
SHOWN = 6  # pictures in the log


def train(config: DecoderConfig) -> None:
    """Run the stage, or go on with it; then pack the weights."""
    compute = compute_init(config.device, config.threads)
    name = "autoencoder" if config.autoencoder else "decoder"
    path = config.out / (AUTOENCODER_CHECKPOINT if config.autoencoder else DECODER_CHECKPOINT)
    unfinished = finished_steps(path) < config.steps
    data = Dataset(config.data, config.scenarios, "train", config.limit, keep_frames=unfinished)
    model = finished_model(config, data).to(compute.device).requires_grad_(False)
    if compute.main:
        record_config(config, config.out / f"{name}.config.json")
    states = cached_states(model.world_model, data, config.out / STATES, autocast=compute.autocast)
    dreams = None
    if unfinished and config.dream_share and not config.autoencoder:
        dreams = dreamed_pairs(model, data, states, config, compute)
    sampler = PairSampler(data, states, dreams, config)
    step_loss = DecoderLoss(model, config, compute)
    log = RunLog(config.out / name, compute)
    fit(
        name=name,
        module=step_loss.modules,
        optimiser=step_loss.optimiser,
        steps=config.steps,
        compute=compute,
        fetch=lambda step: sampler(np.random.default_rng((config.seed, STEP_STREAM, step)), step_loss.pairs),
        step_loss=step_loss,
        path=path,
        about={**model.about(config.seed), "perceptual": step_loss.network_name},
        checkpoint_every=config.checkpoint_every,
        log=log,
        progress_keys=("reconstruction", "perceptual", "motion"),
        after_step=step_loss.modules.update_average,
        on_checkpoint=lambda step: log.pictures(step, "real_above_decoded", step_loss.shown),
    )
    if compute.main and not config.autoencoder:
        pack(model, step_loss.modules, data, states, config)


def finished_model(config: DecoderConfig, data: Dataset) -> TrainingModel:
    """The model whose states are painted. Of finished weights, what exists in training only is random.

    Raises:
        ValueError: if the weights know other scenarios than the data.
    """
    if config.weights is None:
        return load_training_model(config.out / DYNAMICS_CHECKPOINT)
    world_model = WorldModel.from_pretrained(config.weights)
    known = world_model.config.scenarios
    if known != tuple(data.names):
        raise ValueError(f"weights {config.weights} know {', '.join(known)}: give these as --scenarios, in this order")
    model = TrainingModel(world_model.config, data.places)
    model.world_model = world_model
    return model.eval()


def pack(model: TrainingModel, modules: DecoderModules, data: Dataset, states: Tensor, config: DecoderConfig) -> None:
    """Write the weights with the averaged decoder; new ones also calibrated, and with states that dreams begin from."""
    packed = model.world_model if config.weights else calibrated(model, data, states, config.seed)
    packed.decoder.load_state_dict(modules.averaged.decoder.state_dict())
    fingerprint = packed.save_pretrained(config.out / WEIGHTS)
    print(f"weights {fingerprint} in {config.out / WEIGHTS}")


# ---- dreams beside a real game ---------------------------------------------------------------------------------------


@torch.no_grad()
def dreamed_pairs(
    model: TrainingModel, data: Dataset, states: Tensor, config: DecoderConfig, compute: Compute
) -> DreamedPairs | None:
    """Dreams beside a real game, under its actions: half from the middle of episodes, half from their first frame.

    Half of each go where the posterior's codes lead, the way the game went, the others to the mean next state; with
    finished weights, which have no posterior, all do that. None: the actions were read off videos and are too unsure.
    """
    posterior_share = 0.0 if config.weights else 0.5
    rng = np.random.default_rng((config.seed, DREAM_STREAM))
    each = (config.dreams + 1) // 2
    pairs = data.windows(2)
    begins = {config.dream_context: data.windows(config.dream_context + 1), 1: pairs[data.beginnings()[pairs]]}
    rows = []
    dreamed = []
    for context, windows in begins.items():
        groups = rows_by_scenario(data, windows)
        for done in range(0, each, DREAMS_AT_ONCE):
            first = sample_rows(groups, min(DREAMS_AT_ONCE, each - done), rng)
            generator = SampleGenerator.alone(len(first), config.seed, DREAM_STREAM, context, done)
            batch = make_batch(data, first, context + config.dream_steps, compute.device, frames=False)
            z = states[batch.rows.cpu()].to(compute.device).float()
            follow_posterior = torch.from_numpy(rng.random((len(first), 1)) < posterior_share).to(compute.device)
            outcome = outcome_targets(model.world_model, batch)
            dropout = model.world_model.dynamics.dropout_masks(generator.uniform)
            dream = open_loop_rollout(
                model,
                Windows(batch, z, batch.scenario, outcome, context - 1, dropout),
                config.dream_steps,
                follow_posterior,
                generator,
            )
            # Both moments of the pair are in the episode, and what was pressed up to there is rather known than not.
            exists = batch.known_rollout(context - 1, config.dream_steps)[:, 1:] >= SURE
            rows.append(successive(batch.rows[:, context:])[exists].cpu())
            dreamed.append(successive(dream.states.half())[exists].cpu())
    found = torch.cat(rows).numpy()
    if not len(found):
        print("no dreamed pairs: hardly an action of the data is known; the decoder learns from real states alone")
        return None
    return DreamedPairs(found, torch.cat(dreamed))


def successive(values: Tensor) -> Tensor:
    """Pairs of neighbours along the second dimension: (B, T, ...) → (B, T − 1, 2, ...)."""
    return torch.stack([values[:, :-1], values[:, 1:]], 2)


# ---- losses ----------------------------------------------------------------------------------------------------------


class DecoderLoss:
    """The loss of a step, and all that it needs.

    Attributes:
        pairs: which pairs of a step this rank paints.
        modules: what the checkpoint holds.
        optimiser: of the picture model and of the critic.
        network_name: of the perceptual network, "none" without one.
        shown: some frames and their pictures in the newest step.
    """

    def __init__(self, model: TrainingModel, config: DecoderConfig, compute: Compute) -> None:
        """Make the modules for a world model, whose decoder is trained in place."""
        self.config = config
        self.compute = compute
        self.pairs = compute.share(max(config.batch // 2, 1))
        # Of all pictures of a step, those that the perceptual network looks at, and the share of them that is here.
        looked_at = config.perceptual_batch or max(config.batch // 4, 1)
        self.few, self.few_share = self.pairs.times(2).evenly(looked_at)
        self.weights = {"reconstruction": 1.0, **asdict(config.loss_weights)}
        self.encoder = model.world_model.encoder
        self.network_name, network = perceptual_network() or ("none", None)
        # Convolutions are about twice as fast with channels last in memory (measured on a CPU, bfloat16).
        modules = new_modules(model, config, network)
        self.modules = modules.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compute.ranks > 1:
            normalise_over_ranks(self.modules)
        if network is not None:
            network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.optimiser = JointOptimiser(
            Optimiser(self.modules.picture_model, config.optimizer, config.lr, config.steps),
            Optimiser(self.modules.critic, "adamw", config.critic_lr, config.steps),
        )
        self.perceptual_from = int(config.perceptual_from * config.steps)
        self.adversarial_from = int(config.adversarial_from * config.steps)
        self.critic_counts_from = self.adversarial_from + config.critic_warmup * (config.steps - self.adversarial_from)
        self.shown = torch.zeros(0)

    def __call__(self, step: int, batch: PictureBatch) -> tuple[Tensor, Numbers]:
        """The loss and its terms; when it is time for the critic, that makes a step of its own."""
        generator = SampleGenerator(self.pairs, self.config.seed, STEP_STREAM, step)
        batch = batch.to(self.compute.device)
        target = batch.frames.permute(0, 3, 1, 2).float() / 255
        picture, objects = self.paint(batch, generator)
        self.shown = torch.cat([target[:SHOWN], picture[:SHOWN].detach()])
        terms = {
            "reconstruction": reconstruction_loss(picture, target, batch.object_maps, self.config),
            "objects": self.pairs.weight * cells_loss(objects, batch.object_maps),
        }
        numbers: dict[str, float | Tensor] = {}
        if step % LOG_EVERY == 0:
            numbers["psnr"] = psnr(F.mse_loss(picture.detach().clamp(0, 1), target))
        if step >= self.perceptual_from:
            terms["motion"] = self.pairs.weight * motion_loss(picture, target)
        if self.network is None or step < self.perceptual_from:
            return weighted_sum(terms, self.weights), terms | numbers

        weight = self.few_share.weight
        decoded = picture[self.few].clamp(0, 1)
        both = crops(torch.cat([decoded, target[self.few]]), self.config.perceptual_crop, generator.shared)
        decoded_crop, real_crop = both.chunk(2)
        real_crop = real_crop.detach()
        terms["perceptual"] = weight * self.perceptual_loss(self.network, decoded_crop, real_crop)
        if not self.config.autoencoder:
            terms["read_back"] = weight * self.read_back_loss(decoded, batch.z[self.few])
        generator = SampleGenerator(self.few_share, self.config.seed, CRITIC_STREAM, step)
        loss = weighted_sum(terms, self.weights)
        if step >= self.adversarial_from:
            numbers["critic"] = self.train_critic(self.network, step, decoded_crop, real_crop, generator)
        if step >= self.critic_counts_from:
            loss = loss + self.adversarial_loss(self.network, loss, decoded_crop, generator)
        return loss, terms | numbers

    def paint(self, batch: PictureBatch, generator: SampleGenerator) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, 120, 160) of the states, real ones through noise; with an autoencoder, of the frames.

        Also what their cells know of objects, logits (N, 3, 12, 16).

        Both states of a pair get noise of the same strength, because their pictures are compared.
        """
        strength = self.config.noise * generator.uniform(1, 1)
        noise = (strength * generator.normal(2, batch.z.shape[-1])).flatten(0, 1)
        noisy = batch.z + batch.real * noise.to(batch.z.device)
        with self.compute.autocast():
            return self.modules.picture_model(batch.frames if self.config.autoencoder else noisy)

    def perceptual_loss(self, network: nn.Module, decoded: Tensor, real: Tensor) -> Tensor:
        """Mean distance of pictures (N, 3, H, W) in 0…1 as the perceptual network sees them."""
        with self.compute.autocast():
            return network(2 * decoded - 1, 2 * real - 1).float().mean()

    def read_back_loss(self, decoded: Tensor, z: Tensor) -> Tensor:
        """Squared error of the state that the encoder reads from pictures (N, 3, 120, 160) of states z (N, D)."""
        return (self.encoder(255 * decoded.permute(0, 2, 3, 1)) - z).square().mean()

    def train_critic(
        self, network: nn.Module, step: int, decoded: Tensor, real: Tensor, generator: SampleGenerator
    ) -> Tensor:
        """One step of the critic on crops (N, 3, H, W) in 0…1; returns its loss."""
        critic = self.modules.critic.requires_grad_(True)
        on_real = critic(network, self.close(real), generator)
        on_decoded = critic(network, self.close(quantised(decoded.detach())), generator)
        loss = self.few_share.weight * hinge(on_real, on_decoded)
        loss.backward()
        self.optimiser.critic.step(step - self.adversarial_from, self.compute)
        critic.requires_grad_(False)
        return loss.detach()

    def adversarial_loss(self, network: nn.Module, loss: Tensor, decoded: Tensor, generator: SampleGenerator) -> Tensor:
        """What the critic thinks of crops (N, 3, H, W), at a weight that follows all other losses.

        As in RAE: at the decoder's last layer its gradient is as large as that of the loss so far, times its weight.
        """
        scores = self.modules.critic(network, self.close(quantised(decoded)), generator)
        fooled = -self.few_share.weight * scores.mean()
        last = self.modules.picture_model.decoder.pixels.weight
        gradients = (torch.autograd.grad(part, last, retain_graph=True)[0] for part in (loss, fooled))
        size, size_fooled = (mean_over_ranks(gradient).norm() for gradient in gradients)
        balance = (size / (size_fooled + 1e-6)).clamp(max=1e4).detach()
        return self.weights["adversarial"] * balance * fooled

    def close(self, crop: Tensor) -> Tensor:
        """The corner of a crop that the critic sees, magnified to the size of the crop."""
        side = self.config.critic_crop
        return magnified(crop[..., :side, :side], self.config.perceptual_crop // side)


def new_modules(model: TrainingModel, config: DecoderConfig, network: nn.Module | None) -> DecoderModules:
    """The world model's decoder, in place; a copy of its encoder if one is to learn along; and a new critic."""
    torch.manual_seed(config.seed)
    encoder = copy.deepcopy(model.world_model.encoder) if config.autoencoder else None
    picture_model = PictureModel(model.world_model.decoder, encoder).requires_grad_(True).train()
    return DecoderModules(picture_model, Critic(level_channels(network)), config.ema_decay)


def reconstruction_loss(picture: Tensor, target: Tensor, object_maps: Tensor, config: DecoderConfig) -> Tensor:
    """L1 with some L2 of pictures (N, 3, 120, 160), weighted by pixel: those in cells with an object count more."""
    weight = 1 + config.object_weight * object_mask(object_maps)
    error = picture - target
    both = error.abs() + config.loss_weights.squared * error.square()
    return (both * weight).sum() / (3 * mean_over_ranks(weight.sum()))


def cells_loss(logits: Tensor, object_maps: Tensor) -> Tensor:
    """What the decoder's cells know of objects; logits and maps (N, 3, 12, 16)."""
    return object_map_loss(logits.flatten(1)[None], object_maps[None], logits.new_ones(1, len(logits)))


def motion_loss(picture: Tensor, target: Tensor) -> Tensor:
    """How differently the two pictures of each pair move from the two frames; pictures (N, 3, 120, 160)."""
    picture = picture.clamp(0, 1)
    return motion_mismatch(picture[::2], picture[1::2], target[::2], target[1::2])


def quantised(picture: Tensor) -> Tensor:
    """Clamped and rounded to 8 bit, as real frames are; the gradient passes straight through."""
    clean = picture.clamp(0, 1)
    return picture + ((clean * 255).round() / 255 - picture).detach()
