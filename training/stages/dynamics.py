"""Stage 2, dynamics: trunk and dynamics on long windows of cached states, with rollouts and the sampled future.

    python -m training dynamics --data data --out runs/nano --steps 6000
    python -m training dynamics --data data --out runs/again --init nano       # new dynamics for an encoder that ships

The encoder stays as the stage representation left it. All frames are encoded once (`states-train.safetensors` in the
run's folder), after which a step costs a hundredth: windows can be long, every frame is seen many times, and the model
is fed its own predictions for `--rollout` steps with gradients through all of them. The next stage is decoder.

Legend: B windows, T steps of each, R dreamed steps, D state width, E trunk width.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.world_model.outcomes import observed
from training.config import DynamicsConfig, record_config
from training.data.batch import Rows, make_batch, rows_by_scenario, sample_rows
from training.data.dataset import SCRIPTED, Dataset
from training.data.latents import cached_states, embed_window, typical_change
from training.engine.compute import Compute, compute_init
from training.engine.fit import Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.models.losses import (
    masked_mean,
    object_map_loss,
    outcome_loss,
    outcome_targets,
    relative_error,
    weighted_sum,
)
from training.models.packing import fit_manifold, new_training_model, store_initial_states, with_limits
from training.models.rollout import Windows, kl_divergence, kl_share, open_loop_rollout, posterior_sample
from training.models.training_model import TrainingModel, load_training_model
from training.ranks import SampleGenerator
from training.stages import DYNAMICS_CHECKPOINT, REPRESENTATION_CHECKPOINT, STATES

RANDOM_STREAM = 7  # tells this stage's random numbers from those of others with the same seed
WINDOW = 36  # steps
LOGGED_HORIZONS = (1, 2, 4, 8, 16)
SEEN_SHARE = 0.25  # of the shards that earlier training has seen, what is used again
# Share of the windows that begin with their episode, and of the rollouts that begin after the first frame of their
# window, as dreams do.
EPISODE_START_SHARE = 0.15
UNKNOWN_SHARE = 0.05  # of the windows whose scenario, and of those whose elapsed time, the model is not told
# Share of the windows that are seen through noise, as dreamed states are never exactly real; and its greatest strength,
# in spreads of real states along each principal direction.
CONTEXT_NOISE_SHARE = 0.25
CONTEXT_NOISE_STRENGTH = 0.3
# Share of the rollouts that follow the posterior's codes; the others follow the mean next state.
POSTERIOR_SHARE = 2 / 3
# Share of the divergence whose gradient pulls the prior towards the posterior; the rest pulls the posterior towards the
# prior (KL balancing, arXiv 2010.02193).
KL_BALANCE = 0.8
# Of the divergence of each step, what does not pull the posterior (see `kl_divergence`). Without them codes gave in to
# the prior wherever no single nat explains much of the error (measured: 0.035 nats a step).
FREE_NATS = 0.5
KL_WARMUP = 0.6  # share of the steps in which the weight of the divergence grows to what it is
LOSS_WEIGHTS = {
    "prediction": 3.0,  # relative error of the mean next state
    "posterior": 3.0,  # relative error of the state that the posterior's code leads to
    "objects_posterior": 2.0,  # object maps, read off that state
    # Divergence of the posterior from the prior. At a quarter of this weight the posterior carried the fireballs of
    # take_cover step by step in codes that no prior can predict: a dream drawn from the prior lost two of three in
    # flight (measured).
    "kl": 1.0,
    "objects_trunk": 2.0,  # object maps, read off the trunk's features
    "outcome": 1.0,  # changes of the game variables, reward and termination
    "readouts": 1.0,  # privileged readouts off state and features
    "rollout": 3.0,  # relative error of the states of an open-loop rollout
    "objects_rollout": 3.0,  # object maps, read off those states
    "kl_rollout": 1.0,  # divergence along the rollout
    "outcome_rollout": 1.0,  # outcome, predicted along the rollout
    "readouts_rollout": 2.0,  # privileged readouts along the rollout
    # Which buttons lay between two real states, and between a real state and the mean next one. With these two, a
    # dream's first step after a press answers better (5 to 8 points of recognised buttons, measured).
    "inverse": 1.0,
    "inverse_predicted": 0.5,
    "inverse_rollout": 0.5,  # the same between the states of a rollout
}
# Training of the head that reads object maps off states, where weights are begun from that come without.
OBJECT_HEAD_STEPS = 1_500
OBJECT_HEAD_BATCH = 512  # states
OBJECT_HEAD_LEARNING_RATE = 2e-3


def train(config: DynamicsConfig) -> None:
    """Run the stage, or go on with it."""
    compute = compute_init(config.device, config.threads)
    share = compute.share(config.batch)
    data = Dataset(config.data, config.scenarios, "train", keep_frames=False)
    check_scenario_options(config, data)
    if compute.main:
        record_config(config, config.out / "dynamics.config.json")
    model = load_or_begin(config, data).to(compute.device)
    states = cached_states(model.world_model, data, config.out / STATES, autocast=compute.autocast)
    prepare(model, config, data, states, compute)
    rollout = min(config.rollout, WINDOW - 2)
    change = typical_change(data, states, rollout, config.seed).to(compute.device)
    groups = rows_by_scenario(data, chosen_rows(data, config))

    def fetch(step: int) -> Windows:
        rng = np.random.default_rng((config.seed, RANDOM_STREAM, step))
        rows = window_rows(data, groups, config, rng)[share.slice]
        batch = make_batch(data, rows, WINDOW, compute.device, frames=False)
        z = states[batch.rows.cpu()].to(compute.device).float()
        outcome = outcome_targets(model.world_model, batch)
        return Windows(batch, z, batch.scenario, outcome, rollout_begin(rollout, rng))

    def step_loss(step: int, windows: Windows) -> tuple[Tensor, Numbers]:
        generator = SampleGenerator(share, config.seed, RANDOM_STREAM, step)
        with compute.autocast():
            terms, skills = losses(model, windows, change, generator)
        warm = kl_share(step, KL_WARMUP * config.steps)
        weights = LOSS_WEIGHTS | {name: warm * LOSS_WEIGHTS[name] for name in ("kl", "kl_rollout")}
        return weighted_sum(terms, weights), terms | skills

    fit(
        name="dynamics",
        module=model,
        optimiser=Optimiser(model, "muon", config.lr, config.steps),
        steps=config.steps,
        compute=compute,
        fetch=fetch,
        step_loss=step_loss,
        path=config.out / DYNAMICS_CHECKPOINT,
        about=model.about(config.seed),
        log=RunLog(config.out / "dynamics", compute),
        progress_keys=("rollout", "outcome"),
    )


# ---- before the first step -------------------------------------------------------------------------------------------


def check_scenario_options(config: DynamicsConfig, data: Dataset) -> None:
    """Refuse options that name a scenario which is not trained.

    Raises:
        ValueError: if one does.
    """
    for option in ("scenario_weights", "seen_shards", "scripted_share"):
        unknown = set(getattr(config, option)) - set(data.names)
        if unknown:
            raise UserError(
                f"--{option.replace('_', '-')} names {', '.join(sorted(unknown))}, "
                f"but the scenarios are {', '.join(data.names)}"
            )


def load_or_begin(config: DynamicsConfig, data: Dataset) -> TrainingModel:
    """The model as the stage representation left it, or a new one with the tensors of other weights."""
    if config.init:
        return new_training_model(config.preset, data, config.seed, config.init).eval()
    model = load_training_model(config.out / REPRESENTATION_CHECKPOINT)
    data.count_places_as(model.places)
    return with_limits(model, data)


def prepare(model: TrainingModel, config: DynamicsConfig, data: Dataset, states: Tensor, compute: Compute) -> None:
    """Freeze what this stage does not train, and take from the states (N, D) what is no network's to learn."""
    begins = not (config.out / DYNAMICS_CHECKPOINT).exists()
    model.world_model.encoder.requires_grad_(False)
    model.world_model.decoder.requires_grad_(False)
    if config.init and begins:
        fit_object_head(model, config, data, states, compute)
    model.object_head.requires_grad_(False)
    if begins:
        fit_manifold(model.world_model.manifold, data, states, config.seed)
    store_initial_states(model.world_model, data, states)


def fit_object_head(
    model: TrainingModel, config: DynamicsConfig, data: Dataset, states: Tensor, compute: Compute
) -> None:
    """Train the head that reads object maps off real states.

    The stage representation does this along the way; weights that are begun from come without the head.
    """
    annotated = np.flatnonzero(data.annotated)
    if not len(annotated):
        print("the data were read off videos and have no object maps: the object head stays random and unused")
        return
    head = model.object_head
    share = compute.share(OBJECT_HEAD_BATCH)
    one = torch.ones(len(share), 1, device=compute.device)

    def fetch(step: int) -> tuple[Tensor, Tensor]:
        chosen = np.random.default_rng((config.seed, 11, step)).integers(len(annotated), size=OBJECT_HEAD_BATCH)
        rows = annotated[chosen][share.slice]
        maps = torch.from_numpy(data.object_maps[rows]).float()[:, None]
        return states[rows][:, None].to(compute.device).float(), maps.to(compute.device)

    def step_loss(step: int, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Numbers]:
        z, maps = batch
        return object_map_loss(head(z), maps, one), {}

    fit(
        name="object maps",
        module=head,
        optimiser=Optimiser(head, "adamw", OBJECT_HEAD_LEARNING_RATE, OBJECT_HEAD_STEPS),
        steps=OBJECT_HEAD_STEPS,
        compute=compute,
        fetch=fetch,
        step_loss=step_loss,
    )


# ---- batches ---------------------------------------------------------------------------------------------------------


def chosen_rows(data: Dataset, config: DynamicsConfig) -> Rows:
    """Rows that windows may begin at: not all of the shards seen before, nor of the scripted players' episodes."""
    fresh = np.ones(len(data), bool)
    for shard, rows in data.shard_rows():
        scenario, _, stem = shard.partition("/")
        number = int(stem.rpartition("-")[2])
        seen = config.seen_shards.get(scenario, 0)
        fresh[rows] = number >= seen or number < seen * SEEN_SHARE
    fresh |= data.behaviour == "human"  # recorded play has numbers of its own and is always new
    share = np.array([config.scripted_share.get(name, 1.0) for name in data.names])[data.scenario]
    lot = np.random.default_rng(0).random(len(data))[data.first]  # one for each episode
    allowed = (lot < share) | ~np.isin(data.behaviour, SCRIPTED)
    return np.flatnonzero(fresh & allowed)


def window_rows(data: Dataset, groups: list[Rows], config: DynamicsConfig, rng: np.random.Generator) -> Rows:
    """First rows (B,) of the windows of a step.

    A window may begin anywhere, also near its episode's end. There it would be cut short, so it slides back by a random
    number of steps: the last steps of an episode are seen as often as others, at every place of a window.

    Args:
        data: the recorded steps.
        groups: rows to draw from, by scenario.
        config: the scenarios' shares.
        rng: what draws.
    """
    shares = np.array([config.scenario_weights.get(name, 1.0) for name in data.names])
    rows = sample_rows(groups, config.batch, rng, shares)
    latest = data.last[rows] - rng.integers(0, WINDOW, len(rows))
    rows = np.maximum(np.minimum(rows, latest), data.first[rows])
    with_episode = rng.random(len(rows)) < EPISODE_START_SHARE
    return np.where(with_episode, data.first[rows], rows)


def rollout_begin(rollout: int, rng: np.random.Generator) -> int:
    """Last real step before a rollout: the first of the window, as in a dream, or any from which the rollout fits."""
    if rng.random() < 1 - EPISODE_START_SHARE:
        return int(rng.integers(0, WINDOW - rollout))
    return 0


# ---- losses ----------------------------------------------------------------------------------------------------------


def losses(
    model: TrainingModel, windows: Windows, change: Tensor, generator: SampleGenerator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All terms of the loss by the names in `LOSS_WEIGHTS`, and the rollout's skill by horizon for the log.

    Args:
        model: what learns.
        windows: what it sees.
        change: unit of the errors, see `typical_change`, (scenarios, R); its width says how long the rollout is.
        generator: of the windows.
    """
    windows = some_unknown(windows, len(change), generator)
    one_step = one_step_losses(model, windows, change, generator)
    rollout, skills = rollout_losses(model, windows, change, generator)
    return one_step | rollout, skills


def some_unknown(windows: Windows, scenarios: int, generator: SampleGenerator) -> Windows:
    """Do not tell the model the scenario of some windows, and of some how long the episode has lasted."""
    no_scenario, no_elapsed = (generator.uniform(2).to(windows.z.device) < UNKNOWN_SHARE).unbind(1)
    elapsed = torch.where(no_elapsed, -1, windows.batch.elapsed)
    return dataclasses.replace(
        windows,
        batch=dataclasses.replace(windows.batch, elapsed=elapsed),
        scenario=torch.where(no_scenario, scenarios, windows.scenario),
    )


def one_step_losses(
    model: TrainingModel, windows: Windows, change: Tensor, generator: SampleGenerator
) -> dict[str, Tensor]:
    """The next state after each real step: its mean, and what the posterior's code makes of it.

    Arguments as for `losses`.
    """
    world_model = model.world_model
    dynamics = world_model.dynamics
    batch = windows.batch
    following = windows.z[:, 1:]
    unit = change[:, :1]
    seen = windows.z + context_noise(model, windows, generator)
    h = world_model.trunk(embed_window(world_model, seen, batch, windows.scenario))
    choose = observed(windows.outcome)
    step = dynamics.transition(h, batch.actions, windows.scenario[:, None], choose)
    before = seen[:, :-1]
    condition = step.condition[:, :-1]
    mean = world_model.manifold(dynamics.next_state(before, condition).float(), batch.scenario)
    sample = posterior_sample(model, condition, before, mean, following, generator)
    sampled = world_model.manifold(dynamics.next_state(before, condition, sample.shift).float(), batch.scenario)
    divergence = kl_divergence(sample.probabilities, sample.log_prior, KL_BALANCE, FREE_NATS)
    known = batch.known_transitions
    inverse = partial(model.inverse_loss, buttons=batch.actions[:, :-1], scenario=batch.scenario, mask=known)
    return {
        "prediction": relative_error(mean, following, unit, known, batch.scenario),
        "posterior": relative_error(sampled, following, unit, known, batch.scenario),
        "objects_posterior": object_map_loss(
            model.object_head(sampled), batch.object_maps[:, 1:], batch.annotated_followers
        ),
        "kl": masked_mean(divergence, known),
        "objects_trunk": object_map_loss(model.trunk_object_head(h), batch.object_maps, batch.annotated_steps),
        "outcome": outcome_loss(world_model, step, batch),
        "readouts": model.readouts.loss(windows.z, h, batch, batch.annotated_steps),
        "inverse": inverse(windows.z[:, :-1], following, learn=True),
        "inverse_predicted": inverse(windows.z[:, :-1], mean, learn=False),
    }


def context_noise(model: TrainingModel, windows: Windows, generator: SampleGenerator) -> Tensor:
    """Noise (B, T, D) shaped like real states, in a share of the windows: dreamed states are never exactly real."""
    z = windows.z
    chosen = generator.uniform(1, 1).sub(1 - CONTEXT_NOISE_SHARE).clamp(min=0)  # 0: not chosen
    strength = CONTEXT_NOISE_STRENGTH * chosen.div(CONTEXT_NOISE_SHARE)
    standard = generator.normal(*z.shape[1:]).to(z.device)
    return model.world_model.manifold.noise(windows.batch.scenario, strength.to(z.device), standard)


def rollout_losses(
    model: TrainingModel, windows: Windows, change: Tensor, generator: SampleGenerator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The model fed its own predictions, with gradients through all steps; and its skill by horizon, for the log.

    In most windows these are the states that the posterior's codes lead to: a sampled dream that happens to go the way
    reality went. What flies must go on flying in it. In the others they are the mean next states, as at temperature 0.
    Arguments as for `losses`.
    """
    world_model = model.world_model
    rollout = change.shape[1]
    begin = windows.begin
    after = slice(begin + 1, begin + 1 + rollout)  # the steps that are dreamed
    follow_posterior = generator.uniform(1).to(windows.z.device) < POSTERIOR_SHARE
    dream = open_loop_rollout(model, windows, rollout, follow_posterior, generator)
    real = windows.z[:, after]
    part = windows.batch.part(after.start, after.stop)
    choose = observed(windows.outcome[:, after])
    step = world_model.dynamics.transition(dream.features, part.actions, windows.scenario[:, None], choose)
    before = torch.cat([windows.z[:, begin : begin + 1], dream.states[:, :-1]], 1)
    buttons = windows.batch.actions[:, begin : begin + rollout]
    divergence = kl_divergence(dream.probabilities, dream.log_prior, KL_BALANCE, FREE_NATS)
    known = windows.batch.known_rollout(begin, rollout)
    terms = {
        "rollout": relative_error(dream.states, real, change, known, part.scenario),
        "objects_rollout": object_map_loss(model.object_head(dream.states), part.object_maps, part.annotated_steps),
        "kl_rollout": masked_mean(divergence, known),
        "outcome_rollout": outcome_loss(world_model, step, part),
        "readouts_rollout": model.readouts.loss(dream.states, dream.features, part, part.annotated_steps),
        "inverse_rollout": model.inverse_loss(before, dream.states, buttons, part.scenario, known, learn=False),
    }
    return terms, skill_by_horizon(dream.states, real, change, known * ~follow_posterior, part.scenario)


@torch.no_grad()
def skill_by_horizon(
    predicted: Tensor, real: Tensor, change: Tensor, mask: Tensor, scenario: Tensor
) -> dict[str, Tensor]:
    """Open-loop skill after 1, 2, 4 … steps. Arguments as for `relative_error`."""
    skills = {}
    for horizon in LOGGED_HORIZONS:
        if horizon <= predicted.shape[1]:
            at = [horizon - 1]
            error = relative_error(predicted[:, at], real[:, at], change[:, at], mask[:, at], scenario)
            skills[f"skill_{horizon}"] = 1 - error
    return skills
