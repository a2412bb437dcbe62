"""Open-loop rollouts of real windows: the model fed its own predictions, under the actions that were pressed.

Legend: B windows, T time, R dreamed steps, D state width, E trunk width, G code groups, K values of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.world_model.codes import UNIMIX
from doom_dream_env.world_model.outcomes import observed
from training.data.batch import Batch
from training.models.training_model import TrainingModel
from training.ranks import SampleGenerator

KL_BEGINS_AT = 0.04  # share of the divergence's weight in the first step


@dataclass(frozen=True)
class Windows:
    """Real steps that a rollout begins from and is compared with.

    Attributes:
        batch: B windows of T steps.
        z: their states, (B, T, D).
        scenario: index that the model is told, (B,); the number of scenarios means unknown.
        outcome: the changes that were observed, see `outcome_targets`.
        begin: last real step before the rollout.
    """

    batch: Batch
    z: Tensor
    scenario: Tensor
    outcome: Tensor
    begin: int


@dataclass(frozen=True)
class PosteriorSample:
    """A code drawn by the posterior.

    Attributes:
        shift: of the condition, (..., E); gradients pass straight through the draw.
        probabilities: of the posterior, (..., G, K).
        log_prior: log probabilities of the prior, given the condition and the groups drawn before, (..., G, K).
    """

    shift: Tensor
    probabilities: Tensor
    log_prior: Tensor


@dataclass(frozen=True)
class Rollout:
    """What R dreamed steps brought.

    Attributes:
        states: (B, R, D).
        features: of the trunk, after each of them, (B, R, E).
        probabilities, log_prior: of the codes drawn for each of them, as in `PosteriorSample`, (B, R, G, K).
    """

    states: Tensor
    features: Tensor
    probabilities: Tensor
    log_prior: Tensor


def posterior_sample(
    model: TrainingModel,
    condition: Tensor,
    z: Tensor,
    predicted_mean: Tensor,
    following: Tensor,
    generator: SampleGenerator,
) -> PosteriorSample:
    """Let the posterior, which has seen the next state, draw the code.

    It sees the condition, what the mean next state misses of the real one, and what it changes. Gradients go straight
    through the draw (arXiv 2010.02193). A small share of every posterior is uniform (`UNIMIX`).

    Args:
        model: world model and posterior.
        condition: (..., E).
        z: state (..., D).
        predicted_mean: mean next state, (..., D).
        following: the real next state, (..., D).
        generator: of the windows.
    """
    codes = model.world_model.dynamics.codes
    missed = (following - predicted_mean).detach().to(condition.dtype)
    changed = (predicted_mean - z).detach().to(condition.dtype)
    logits = model.posterior(torch.cat([condition, missed, changed], -1))
    probabilities = logits.float().unflatten(-1, (codes.groups, codes.size)).softmax(-1)
    probabilities = (1 - UNIMIX) * probabilities + UNIMIX / codes.size
    drawn = generator.categorical(probabilities.detach())
    code = F.one_hot(drawn, codes.size).to(probabilities.dtype)
    straight_through = code + probabilities - probabilities.detach()
    return PosteriorSample(
        shift=codes.embed(straight_through.to(condition.dtype)),
        probabilities=probabilities,
        log_prior=codes.log_prior(condition, code),
    )


def kl_divergence(probabilities: Tensor, log_prior: Tensor, balance: float, free_nats: float) -> Tensor:
    """KL(posterior ‖ prior) in nats (...), summed over groups.

    Args:
        probabilities: of the posterior, (..., G, K).
        log_prior: log probabilities of the prior, (..., G, K).
        balance: KL balancing (arXiv 2010.02193): this share of the gradient pulls the prior towards the posterior, the
            rest the posterior towards the prior. Above a half, the prior learns faster than the posterior gives in.
        free_nats: what the posterior may differ without being pulled. The prior learns all the same, unlike in
            DreamerV3 (arXiv 2301.04104): dreams are drawn from it.
    """

    def divergence(posterior: Tensor, prior: Tensor) -> Tensor:
        return (posterior * (posterior.log() - prior)).sum((-1, -2))

    to_prior = divergence(probabilities.detach(), log_prior)
    to_posterior = divergence(probabilities, log_prior.detach())
    to_posterior = torch.where(to_posterior < free_nats, to_posterior.detach(), to_posterior)
    return balance * to_prior + (1 - balance) * to_posterior


def kl_share(step: int, warmup: float) -> float:
    """Share of the divergence's weight in a step: it grows by equal factors over the first `warmup` steps.

    At its full weight from the first step on, a posterior that has learned nothing yet gives in to the prior, and the
    codes stay without meaning (measured: 0.05 nats a step, and a sampled state no nearer than the mean). Later the full
    weight is needed: see `kl` in `training.stages.dynamics.LOSS_WEIGHTS`.
    """
    return 1.0 if step >= warmup else KL_BEGINS_AT ** (1 - step / warmup)


def open_loop_rollout(
    model: TrainingModel, windows: Windows, steps: int, follow_posterior: Tensor, generator: SampleGenerator
) -> Rollout:
    """Dream on after step `windows.begin`, with the actions that were pressed and the outcomes that were observed.

    Args:
        model: world model and posterior.
        windows: real steps.
        steps: R.
        follow_posterior: which windows go where the posterior's codes lead, bool (B, 1): sampled dreams that happen to
            go the way reality went. The others go to the mean next state, as at temperature 0.
        generator: of the windows.
    """
    world_model = model.world_model
    dynamics = world_model.dynamics
    batch = windows.batch
    begin = windows.begin
    state = world_model.prefill(
        windows.z[:, : begin + 1],
        batch.actions[:, :begin],
        batch.variables[:, : begin + 1],
        windows.scenario,
        batch.elapsed,
    )
    states = []
    features = []
    samples = []
    for now in range(begin, begin + steps):
        action = batch.actions[:, now]
        choose = observed(windows.outcome[:, now])
        condition = dynamics.transition(state.h, action, windows.scenario, choose).condition
        mean = dynamics.next_state(state.z, condition)
        sample = posterior_sample(model, condition, state.z, mean, windows.z[:, now + 1], generator)
        sampled = dynamics.next_state(state.z, condition, sample.shift)
        following = world_model.manifold(torch.where(follow_posterior, sampled, mean).float(), batch.scenario)
        state = world_model.advance(state, following, batch.variables[:, now + 1], action)
        states.append(state.z)
        features.append(state.h)
        samples.append(sample)
    return Rollout(
        states=torch.stack(states, 1),
        features=torch.stack(features, 1),
        probabilities=torch.stack([sample.probabilities for sample in samples], 1),
        log_prior=torch.stack([sample.log_prior for sample in samples], 1),
    )
