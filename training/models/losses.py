"""Losses of the world model. Where ranks train together, the mean over them is the loss of the whole step.

Legend: N samples, B batch, T time, D state width, V variables, S changes a variable can make, R rewards, M random
directions, K knots.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.dynamics import Transition
from doom_dream_env.world_model.outcomes import two_hot
from training.data.annotations import CELL
from training.data.batch import Batch
from training.ranks import mean_over_ranks, total

# Few cells have an object in them. Counted like the empty ones they would teach next to nothing.
OBJECT_WEIGHT = 6.0
# Of the reward's cross entropy, beside those of the variables' changes and of the termination.
REWARD_WEIGHT = 0.3


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The loss: its terms times the weights of their names."""
    total = torch.zeros((), device=next(iter(terms.values())).device)
    for name, term in terms.items():
        total = total + weights[name] * term
    return total


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is set; trailing dimensions of `values` are averaged."""
    values = values.flatten(mask.ndim).mean(-1) if values.ndim > mask.ndim else values
    return (values * mask).sum() / count_over_ranks(mask)


def count_over_ranks(mask: Tensor) -> Tensor:
    """Sum of a mask, averaged over the ranks: what a rank's sum is divided by. It is 0 nowhere."""
    count = mean_over_ranks(mask.sum())
    return torch.where(count > 0, count, torch.ones_like(count))


# ---- states ----------------------------------------------------------------------------------------------------------


def sigreg(
    z: Tensor,
    group: Tensor,
    groups: int,
    generator: torch.Generator,
    directions: int = 256,
    knots: int = 17,
    limit: float = 3.0,
) -> Tensor:
    """Sketched isotropic Gaussian regularisation (LeJEPA, arXiv 2511.08544; Epps–Pulley statistic), group by group.

    Sum over the groups of the mean over M random unit directions u of N·∫ |φ_N(t) − e^{−t²/2}|² e^{−t²/2} dt, where φ_N
    is the empirical characteristic function of z·u within the group and N its number of samples. With scenarios as
    groups, each one alone has to fill the Gaussian. Asked of all together, telling scenarios apart filled most
    directions, and within take_cover the states had an effective rank of 10 out of 192 (measured).

    Across ranks the sums of cos and sin are added up, with the same directions on all.

    Args:
        z: states (N, D).
        group: index of each state's group, (N,).
        groups: how many there are; one without states counts nothing.
        generator: where the directions come from; seed it alike on all ranks.
        directions: M.
        knots: K, points of the trapezoid rule.
        limit: end of the integral; the other half follows by symmetry.
    """
    u = torch.randn(z.shape[1], directions, generator=generator, device=generator.device).to(z.device)
    projected = z.float() @ F.normalize(u, dim=0)  # N, M
    t = torch.linspace(0, limit, knots, device=z.device)
    angle = projected[..., None] * t  # N, M, K
    sums = angle.new_zeros(2, groups, directions, knots).index_add(1, group, torch.stack([angle.cos(), angle.sin()]))
    sums = total(sums)
    count = total(torch.bincount(group, minlength=groups).to(z.device, torch.float32))
    real, imaginary = sums / count.clamp(min=1)[:, None, None]
    gauss = torch.exp(-0.5 * t**2)
    error = ((real - gauss) ** 2 + imaginary**2) * gauss  # groups, M, K
    return (2 * count * torch.trapezoid(error, t, dim=-1).mean(-1)).sum()


def inverse_dynamics_loss(logits: Tensor, buttons: Tensor, available: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy of the buttons that lay between two states, over those that the scenario has.

    Args:
        logits: (B, T, 9).
        buttons: 0 or 1, (B, T, 9).
        available: which buttons the scenario has, 0 or 1, (B, 9).
        mask: which steps count, (B, T).
    """
    error = F.binary_cross_entropy_with_logits(logits.float(), buttons, reduction="none")
    has = available[:, None] * mask[..., None]
    return (error * has).sum() / count_over_ranks(has)


def relative_error(predicted: Tensor, target: Tensor, change: Tensor, mask: Tensor, scenario: Tensor) -> Tensor:
    """Squared error in units of what "nothing changes" misses in that scenario: 1 − latent skill, averaged over them.

    In plain squared error a scenario in which the camera turns (defend_the_center) outweighs one in which it glides
    (take_cover) five times, and the small things that decide the latter never pay. The unit is that of the whole data:
    measured on the few windows of a batch it was now and then next to nothing, and that scenario's noise filled the
    step.

    Args:
        predicted: states (B, T, D).
        target: real states (B, T, D).
        change: mean squared change per scenario and step, (scenarios, T) or (scenarios, 1).
        mask: which steps count, (B, T).
        scenario: index of the scenario, (B,).
    """
    error = (predicted.float() - target).square().mean(-1) / change[scenario] * mask
    sums = torch.stack([error.sum(1), mask.sum(1)])
    errors, count = torch.zeros(2, len(change), device=predicted.device).index_add(1, scenario, sums)
    count = mean_over_ranks(count)  # of a scenario that only other ranks have, the error here is 0
    present = count > 0
    return (errors[present] / count[present]).sum() / present.sum().clamp(min=1)


# ---- outcome ---------------------------------------------------------------------------------------------------------


def nearest_index(values: Tensor, support: Tensor) -> Tensor:
    """Index of the support's value nearest to each value."""
    return (values[..., None] - support).abs().argmin(-1)


def outcome_targets(model: WorldModel, batch: Batch) -> Tensor:
    """The outcome that was observed: per variable, the index of the change that happened, (B, T, V).

    A change that the weights hold for impossible in its scenario (`ScenarioLimits`) counts as the nearest possible one:
    its own loss would be infinite.
    """
    change = batch.next_variables - batch.variables
    distance = (change[..., None] - model.dynamics.changes).abs()
    possible = model.dynamics.possible_changes[batch.scenario][:, None]
    return distance.masked_fill(~possible, torch.inf).argmin(-1)


def outcome_loss(model: WorldModel, step: Transition, batch: Batch) -> Tensor:
    """Cross entropies of the variables' changes and of the reward, binary cross entropy of the termination.

    Args:
        model: whose heads are trained.
        step: transitions at all steps of the batch, (B, T, ...), with the outcome that was observed.
        batch: what happened.
    """
    dynamics = model.dynamics
    has_variable = dynamics.variable_mask[batch.scenario]  # B, V
    loss = step.condition.new_zeros(())
    errors = F.cross_entropy(step.outcome_logits.float().flatten(0, 2), step.outcome.flatten(), reduction="none")
    for index, error in enumerate(errors.view_as(step.outcome).unbind(-1)):
        known = batch.valid * batch.variables_confidence[..., index]
        loss = loss + masked_mean(error, has_variable[:, index, None] * known)
    continue_logit, reward_logits = dynamics.termination_logits(step.condition, batch.next_variables / model.scales)
    went_on = 1 - batch.terminated
    termination = F.binary_cross_entropy_with_logits(continue_logit.float(), went_on, reduction="none")
    log_probabilities = reward_logits.float().log_softmax(-1)
    reward = -(two_hot(batch.rewards, dynamics.rewards) * log_probabilities).sum(-1)
    known = batch.valid * batch.outcome_confidence
    return loss + masked_mean(termination, known) + REWARD_WEIGHT * masked_mean(reward, known)


# ---- objects ---------------------------------------------------------------------------------------------------------


def object_map_loss(logits: Tensor, object_maps: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy per cell, in which a cell with an object counts `OBJECT_WEIGHT` times.

    Args:
        logits: (B, T, 576).
        object_maps: 0 or 1, (B, T, 3, 12, 16).
        mask: which steps count, (B, T).
    """
    weight = torch.tensor(OBJECT_WEIGHT, device=logits.device)
    error = F.binary_cross_entropy_with_logits(
        logits.float(), object_maps.flatten(2), reduction="none", pos_weight=weight
    )
    return masked_mean(error, mask)


def object_mask(object_maps: Tensor) -> Tensor:
    """Cells of any object (N, 3, 12, 16) as a mask of pixels (N, 1, 120, 160)."""
    return object_maps.amax(1, keepdim=True).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
