"""Stage 1, representation: encoder, trunk and dynamics together, on short windows of real frames.

    python -m training representation --data data --out runs/nano --preset nano --steps 4000        # two CPU cores
    python -m training representation --data data --out runs/base --preset base --batch 128 --steps 20000   # one GPU
    torchrun --nproc-per-node 4 -m training representation --data data --out runs/base --preset base --batch 512

Losses: prediction + λ·SIGReg + rollout (LeWorldModel, arXiv 2603.19312), and what makes the small decisive things enter
the state, with gradients into the encoder: object maps from ViZDoom's labels, read off the state, off the *predicted*
state and off the trunk by heads that exist in training only; the game's outcome (variables, reward, termination); the
privileged readouts.

A run that was killed goes on when the same command is given again, along the same loss curve. TensorBoard:
`tensorboard --logdir runs`. The next stage is dynamics: long windows, long rollouts, the sampled future.

Legend: B batch, T time, D state width, E trunk width.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.dynamics import Transition
from doom_dream_env.world_model.outcomes import OutcomeRule, most_likely, observed
from training.config import RepresentationConfig, record_config
from training.data.batch import Batch, make_batch, rows_by_scenario, sample_rows
from training.data.dataset import Dataset
from training.data.latents import embed_window
from training.engine.compute import Compute, compute_init
from training.engine.fit import LOG_EVERY, Numbers, fit
from training.engine.logging import RunLog
from training.engine.optim import Optimiser
from training.metrics import auc, effective_rank, skill
from training.models.batch_norm import normalise_over_ranks
from training.models.losses import (
    masked_mean,
    object_map_loss,
    outcome_loss,
    outcome_targets,
    sigreg,
    weighted_sum,
)
from training.models.packing import new_training_model
from training.models.training_model import TrainingModel
from training.ranks import SampleGenerator, mean_over_ranks
from training.stages import REPRESENTATION_CHECKPOINT

WINDOW = 6  # frames
# Scenarios that the windows of one step come from, drawn anew each time. SIGReg asks of each that its states fill the
# Gaussian, and needs a few independent windows of each for it.
SCENARIOS_PER_STEP = 5
UNKNOWN_SHARE = 0.05  # of the windows whose scenario the model is not told
# Scenarios in which little changes per step count more in prediction and rollout, within these limits.
SCENARIO_WEIGHTS = (0.5, 3.0)
LOSS_WEIGHTS = {
    "prediction": 5.0,  # squared error of the mean next state
    "sigreg": 1.0,  # distance of the states' distribution within each scenario from an isotropic Gaussian
    "rollout": 2.5,  # squared error of the second next state, predicted from the predicted first
    "objects": 6.0,  # object maps, read off the state
    "objects_predicted": 3.0,  # the same, read off the predicted state
    "objects_trunk": 3.0,  # the same, read off the trunk's features
    "outcome": 1.0,  # changes of the game variables, reward and termination
    "readouts": 1.0,  # privileged readouts (position, angle, sightings) off state and features
    "readouts_predicted": 0.5,  # the same off the predicted state and the features after it
    "inverse": 1.0,  # which buttons lay between two states of real frames
    "inverse_predicted": 0.5,  # the same between a real state and the predicted next one
}
# For the scores along the way: recorded steps of each scenario of the split val, windows of each, and their frames.
HELD_OUT_STEPS = 6_000
HELD_OUT_WINDOWS = 48
HELD_OUT_WINDOW = 6


def train(config: RepresentationConfig) -> None:
    """Run the stage, or go on with it."""
    compute = compute_init(config.device, config.threads)
    share = compute.share(config.batch)
    data = Dataset(config.data, config.scenarios, "train")
    held_out = Dataset(config.data, config.scenarios, "val", HELD_OUT_STEPS)
    if compute.main:
        record_config(config, config.out / "representation.config.json")
    model = prepared_model(config, data, compute)
    windows = rows_by_scenario(data, data.windows(WINDOW))
    log = RunLog(config.out / "representation", compute)

    def fetch(step: int) -> Batch:
        rng = np.random.default_rng((config.seed, step))
        some = rng.permutation(len(windows))[:SCENARIOS_PER_STEP]
        rows = sample_rows([windows[scenario] for scenario in some], config.batch, rng)
        return make_batch(data, rows[share.slice], WINDOW, compute.device)

    def step_loss(step: int, batch: Batch) -> tuple[Tensor, Numbers]:
        with compute.autocast():
            terms, z = losses(model, batch, SampleGenerator(share, config.seed, step))
        rank = {"effective_rank": effective_rank(z.detach())} if step % LOG_EVERY == 0 else {}
        return weighted_sum(terms, LOSS_WEIGHTS), {**terms, **rank}

    fit(
        name="representation",
        module=model,
        optimiser=Optimiser(model, "muon", config.lr, config.steps),
        steps=config.steps,
        compute=compute,
        fetch=fetch,
        step_loss=step_loss,
        path=config.out / REPRESENTATION_CHECKPOINT,
        about=model.about(config.seed),
        log=log,
        progress_keys=("prediction", "objects"),
        on_checkpoint=lambda step: log.scalars(step, quick_scores(model, held_out, compute)),
    )


def prepared_model(config: RepresentationConfig, data: Dataset, compute: Compute) -> TrainingModel:
    """A new model where and how it is trained."""
    model = new_training_model(config.preset, data, config.seed, config.init)
    if compute.ranks > 1:
        normalise_over_ranks(model)
    model.to(compute.device).train()
    if config.compile:
        model.world_model.encoder.compile()
    return model


# ---- losses ----------------------------------------------------------------------------------------------------------


def losses(model: TrainingModel, batch: Batch, generator: SampleGenerator) -> tuple[dict[str, Tensor], Tensor]:
    """All terms of the loss by the names in `LOSS_WEIGHTS`, and the states z (B, T, D).

    Two passes: in the first the trunk sees the states of real frames, in the second the states that the first
    predicted, so that it learns to go on from its own predictions.
    """
    world_model = model.world_model
    assert batch.frames is not None
    b, t = batch.valid.shape
    z = world_model.encoder(batch.frames.flatten(0, 1)).view(b, t, -1)
    scenario = some_unknown(batch.scenario, world_model, generator)
    choose = observed(outcome_targets(world_model, batch))

    h, step, following = predict(world_model, z, batch, scenario, choose)
    predicted = following[:, :-1]  # of steps 1 … T − 1
    own = torch.cat([z[:, :1], predicted], 1)
    h_own, _, following_own = predict(world_model, own, batch, scenario, choose)
    predicted_again = following_own[:, 1:-1]  # of steps 2 … T − 1

    scenarios = len(world_model.config.scenarios)
    weight = scenario_weights(z, batch, scenarios)
    known_twice = torch.minimum(batch.known_transitions[:, :-1], batch.known_transitions[:, 1:])
    exists = batch.valid.bool()
    group = batch.scenario[:, None].expand(b, t)[exists]
    inverse = partial(
        model.inverse_loss, buttons=batch.actions[:, :-1], scenario=batch.scenario, mask=batch.known_transitions
    )
    terms = {
        # Not relative to the change, as in the stage dynamics, where the encoder is frozen: here the encoder would
        # learn to change less, which raises such a loss again, until the states collapse (measured, 100 steps).
        "prediction": masked_mean((predicted.float() - z[:, 1:]) ** 2, batch.known_transitions * weight),
        "rollout": masked_mean((predicted_again.float() - z[:, 2:]) ** 2, known_twice * weight),
        "sigreg": sigreg(z[exists], group, scenarios, generator.shared),
        "objects": object_map_loss(model.object_head(z), batch.object_maps, batch.annotated_steps),
        "objects_predicted": object_map_loss(
            model.object_head(predicted), batch.object_maps[:, 1:], batch.annotated_followers
        ),
        "objects_trunk": object_map_loss(model.trunk_object_head(h), batch.object_maps, batch.annotated_steps),
        "outcome": outcome_loss(world_model, step, batch),
        "readouts": model.readouts.loss(z, h, batch, batch.annotated_steps),
        "readouts_predicted": model.readouts.loss(predicted, h_own[:, 1:], batch.part(1, t), batch.annotated_followers),
        "inverse": inverse(z[:, :-1], z[:, 1:], learn=True),
        "inverse_predicted": inverse(z[:, :-1], predicted, learn=False),
    }
    return terms, z


def predict(
    model: WorldModel, z: Tensor, batch: Batch, scenario: Tensor, choose: OutcomeRule
) -> tuple[Tensor, Transition, Tensor]:
    """One step ahead of every step of windows.

    Args:
        model: who predicts.
        z: states that the trunk sees, (B, T, D).
        batch: actions, variables and elapsed steps that it sees beside them.
        scenario: what it is told, (B,).
        choose: how the outcome is chosen.

    Returns:
        trunk features (B, T, E), transitions (B, T, ...), mean next states (B, T, D).
    """
    h = model.trunk(embed_window(model, z, batch, scenario))
    step = model.dynamics.transition(h, batch.actions, scenario[:, None], choose)
    return h, step, model.dynamics.next_state(z, step.condition)


def some_unknown(scenario: Tensor, model: WorldModel, generator: SampleGenerator) -> Tensor:
    """What the model is told of the scenario (B,): now and then nothing, so that it can do without."""
    unknown = generator.uniform().to(scenario.device) < UNKNOWN_SHARE
    return torch.where(unknown, len(model.config.scenarios), scenario)


@torch.no_grad()
def scenario_weights(z: Tensor, batch: Batch, scenarios: int) -> Tensor:
    """Weight of each window, (B, 1): the less its scenario's states change per step, the more it counts.

    Without it the scenarios in which the whole picture moves outweigh those in which little things decide.

    Args:
        z: states (B, T, D).
        batch: which of them follow each other.
        scenarios: how many there are.
    """
    change = (z[:, 1:] - z[:, :-1]).square().mean(-1)
    sums = torch.stack([(change * batch.follows).sum(1), batch.follows.sum(1)])
    changes, count = mean_over_ranks(torch.zeros(2, scenarios, device=z.device).index_add(1, batch.scenario, sums))
    typical = torch.where(count > 0, changes / count, 0.0)
    weight = mean_over_ranks(masked_mean(change, batch.follows)) / typical.clamp(min=1e-6)
    return weight.clamp(*SCENARIO_WEIGHTS)[batch.scenario, None]


# ---- scores along the way --------------------------------------------------------------------------------------------


@torch.no_grad()
def quick_scores(model: TrainingModel, data: Dataset, compute: Compute) -> dict[str, float]:
    """On fixed windows of held-out data, by scenario: one-step skill, AUC of object maps, and the effective rank.

    Data that were read off videos have no object maps, and no AUC.
    """
    model.eval()
    rng = np.random.default_rng(0)
    scores = {}
    for rows, name in zip(rows_by_scenario(data, data.windows(HELD_OUT_WINDOW)), data.names, strict=True):
        batch = make_batch(data, rng.choice(rows, HELD_OUT_WINDOWS), HELD_OUT_WINDOW, compute.device)
        assert batch.frames is not None
        with compute.autocast():
            z = model.world_model.encode(batch.frames)
            _, _, following = predict(model.world_model, z, batch, batch.scenario, most_likely)
            objects = model.object_head(z).float()
            objects_predicted = model.object_head(following).float()
        before = z[:, 2:-1]  # the trunk has seen three frames at least
        after = z[:, 3:]
        scores[f"{name}/skill_1"] = skill(following[:, 2:-1].float(), after, before)
        known = batch.annotated.bool()
        if known.any():
            target = batch.object_maps.flatten(2)
            scores[f"{name}/cell_auc"] = auc(objects[known].flatten(), target[known].flatten())
            after_known = objects_predicted[:, :-1][known[:, 1:]]
            scores[f"{name}/cell_auc_predicted"] = auc(after_known.flatten(), target[:, 1:][known[:, 1:]].flatten())
        scores[f"{name}/effective_rank"] = effective_rank(z)
    model.train()
    return scores
