"""How likely the dynamics of things hold what the game did.

Legend: B steps, K slots, V variables.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model.files import read_checked
from doom_dream_env.world_model.things.dynamics import (
    BEARINGS,
    MOST_NEW,
    RANGES,
    UNIT,
    WALLS,
    Events,
    ThingsConfig,
    ThingsDynamics,
    split_displacement,
    split_shot,
)
from doom_dream_env.world_model.things.state import EMPTY, Things
from training.data.things import PROJECTILE, Targets

M = TypeVar("M", bound=nn.Module)
KILLED_WITHIN = 90.0  # map units between a projectile and the player whom it kills in this step
AVERAGE = "module.average.module."  # how the names of averaged tensors in a checkpoint begin
HUGE = 400.0  # map units in a step: teleports, which no mixture should follow
IN_MIRROR = [BUTTONS.index(name) for name in (
    "MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_RIGHT", "MOVE_LEFT", "TURN_RIGHT", "TURN_LEFT", "ATTACK", "USE", "SPEED"
)]  # fmt: skip


def mirrored(things: Things, targets: Targets, action: Tensor) -> tuple[Things, Targets, Tensor]:
    """Left and right exchanged; where that is in the level is then unknown."""
    flip = torch.tensor([1.0, -1.0, 1.0])
    flip_motion = torch.tensor([1.0, -1.0, -1.0])
    cell = targets.new_cell
    return (
        dataclasses.replace(
            things,
            place=things.place * flip,
            moved=things.moved * flip,
            motion=things.motion * flip_motion,
            actions=things.actions[..., IN_MIRROR],
            walls=things.walls.flip(1),
            located=torch.zeros_like(things.located),
        ),
        dataclasses.replace(
            targets,
            displaced=targets.displaced * flip,
            shot_values=targets.shot_values * flip.repeat(2),
            new_cell=(BEARINGS - 1 - cell // RANGES) * RANGES + cell % RANGES,
            motion=targets.motion * flip_motion,
            walls=targets.walls.flip(1),
        ),
        action[:, IN_MIRROR],
    )


def normal_nll(error: Tensor, log_scale: Tensor) -> Tensor:
    """−log of a normal density but for a constant."""
    return 0.5 * (error / log_scale.exp()).square() + log_scale


def huber(error: Tensor, delta: float) -> Tensor:
    """Huber's loss of each error."""
    return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)


def weighted(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over what is masked, a lane."""
    return (values * mask).sum() / len(values)


def things_loss(
    model: ThingsDynamics, things: Things, action: Tensor, t: Targets, generator: torch.Generator | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Negative log likelihood of a step in nats a lane, and its parts.

    Args:
        model: who predicts.
        things: before the step.
        action: buttons, (B, A).
        t: what the game did.
        generator: draws what happened to things in steps that no frame follows; None: torch's own.
    """
    present = things.kind != EMPTY
    known = present & t.next[:, None]
    player, x = model.trunk(things, action)
    out = model.thing(x)
    parts: dict[str, Tensor] = {}

    def binary(logit: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        return weighted(F.binary_cross_entropy_with_logits(logit, truth.float(), reduction="none"), mask)

    # -- things
    logits, mean, log_scale, up, up_scale = split_displacement(things, out)
    moving = known & t.alive & (t.displaced.norm(dim=-1) < HUGE) & ~t.turned
    error = (t.displaced[:, :, None, :2] - mean) / UNIT
    nll = 0.5 * (error / log_scale.exp()[..., None]).square().sum(-1) + 2 * log_scale
    parts["move"] = weighted(-(logits.log_softmax(-1) - nll).logsumexp(-1), moving)
    # What turns does not move on; where it ends is learned as well, for the part that flies on before it bursts.
    ends = known & t.turned & (t.displaced.norm(dim=-1) < HUGE)
    parts["burst"] = 0.3 * weighted(-(logits.log_softmax(-1) - nll).logsumexp(-1), ends)
    parts["up"] = 0.3 * weighted(normal_nll((t.displaced[..., 2] - up) / UNIT, up_scale), moving)
    parts["alive"] = binary(out[..., -4], t.alive & ~t.turned, known & ~t.turned)
    killer = what_killed(model, things, out, t)
    may_turn = (known & (model.becomes[things.kind] > 0)) | killer
    parts["turned"] = binary(out[..., -3], t.turned | killer, may_turn)
    parts["sight"] = 0.5 * binary(out[..., -2], t.in_sight, known & t.alive)

    # -- the player
    motion, motion_scale, rest = model.motion(things, player)
    unit = motion.new_tensor([UNIT, UNIT, 0.1]) * 0.5
    walked = t.next & (t.motion[:, :2].norm(dim=-1) < HUGE)
    parts["motion"] = weighted(normal_nll((t.motion - motion) / unit, motion_scale).sum(-1), walked)
    walls = things.walls + rest[:, :WALLS] * 4.0
    gap = (walls.clamp(min=0) + 1.0).log() - (t.walls + 1.0).log()
    parts["walls"] = 2.0 * weighted(
        F.huber_loss(gap, torch.zeros_like(gap), reduction="none", delta=0.2).sum(-1), t.next
    )

    # -- shots
    shooting = torch.cat([rest[:, -1:], out[..., -1]], 1)
    can = F.pad(known, (1, 0), value=True) & t.next[:, None]
    parts["shooting"] = binary(shooting, t.shots, can)
    row, rank = torch.nonzero((t.shot_source >= 0) & t.next[:, None], as_tuple=True)
    if len(row):
        source = torch.cat([player[:, None], x], 1)[row, t.shot_source[row, rank]]
        kind = t.shot_kind[row, rank]
        parts["shot_kind"] = F.cross_entropy(model.shot_kind(source), kind, reduction="sum") / len(things)
        logits, mean, log_scale = split_shot(model.shot(source + model.shot_kind_in(kind)))
        error = (t.shot_values[row, rank][:, None] - mean) / UNIT
        nll = (0.5 * (error / log_scale.exp()).square() + log_scale).sum(-1)
        parts["shot"] = -(logits.log_softmax(-1) - nll).logsumexp(-1).sum() / len(things)

    # -- what comes into sight
    counts = rest[:, WALLS : WALLS + MOST_NEW]
    parts["count"] = weighted(F.cross_entropy(counts, t.new_count, reduction="none"), t.next)
    row, rank = torch.nonzero((t.new_kind > 0) & t.next[:, None], as_tuple=True)
    if len(row):
        kind = t.new_kind[row, rank]
        parts["new_kind"] = F.cross_entropy(model.new_kind(player[row]), kind, reduction="sum") / len(things)
        told = player[row] + model.new_kind_in(kind)
        parts["new_place"] = F.cross_entropy(model.new_place(told), t.new_cell[row, rank], reduction="sum") / len(
            things
        )
        height = (model.new_height(told)[:, 0] - t.new_height[row, rank] / 32.0).clamp(-4, 4)
        parts["new_height"] = 0.3 * F.huber_loss(height, torch.zeros_like(height), reduction="sum") / len(things)

    # -- what follows for the player
    events = Events(
        displaced=torch.where(t.alive[..., None], t.displaced, mean_displacement(things, out).detach()),
        gone=present & ~t.alive,
        turned=t.turned,
        motion=torch.where(walked[:, None], t.motion, motion.detach()),
    )
    # After the last step nothing is known of things: what happened to them is drawn from the model itself.
    unknown = ~t.next[:, None]
    noise = torch.rand(2, *present.shape, generator=generator).to(out.device)
    turned = (noise[0] < out[..., -3].sigmoid()) & present & (model.becomes[things.kind] > 0)
    turned = turned & ~killer.any(1, keepdim=True) | killer
    gone = (noise[1] > out[..., -4].sigmoid()) & present & ~turned
    events = dataclasses.replace(
        events,
        turned=torch.where(unknown, turned, events.turned),
        gone=torch.where(unknown, gone, events.gone),
    )
    summary = model.summary(things, events, x)
    changes = []
    total = out.new_zeros(len(things))
    dead = t.died
    for index, logits in enumerate(model.change_logits(player, summary)):
        values = model.deltas(index)
        change = t.variables[:, index] - things.variables[:, index]
        nearest = (values[None] - change[:, None]).abs().argmin(-1)
        log_p = logits.log_softmax(-1)
        nll = -log_p.gather(1, nearest[:, None])[:, 0]
        if index == 0:
            # Whoever dies may have lost more than there was.
            enough = values[None] <= change[:, None] + 0.5
            censored = -log_p.masked_fill(~enough, -1e9).logsumexp(-1)
            nll = torch.where(dead & enough.any(-1), censored, nll)
        total = total + nll
        changes.append(change)
    parts["variables"] = 2.0 * total.mean()
    shots = F.one_hot(t.shots.sum(1).clamp(max=MOST_NEW - 1), MOST_NEW).float()
    reward, end = model.outcome_logits(player, summary, torch.stack(changes, -1), t.variables, shots)
    rewards = model.rewards
    above = torch.searchsorted(rewards, t.reward.contiguous()).clamp(1, len(rewards) - 1)
    low, high = rewards[above - 1], rewards[above]
    share = ((t.reward - low) / (high - low)).clamp(0, 1)
    log_p = reward.log_softmax(-1)
    parts["reward"] = -(
        log_p.gather(1, (above - 1)[:, None])[:, 0] * (1 - share) + log_p.gather(1, above[:, None])[:, 0] * share
    ).mean()
    parts["end"] = 2.0 * binary(end, t.ended, ~t.died)
    return sum(parts.values()), parts  # type: ignore[return-value]


def what_killed(model: ThingsDynamics, things: Things, out: Tensor, t: Targets) -> Tensor:
    """Bool (B, K): the projectile that most likely killed the player.

    The game shows no frame after a death. Without an explanation, deaths would teach that health is lost while no
    projectile bursts, and a dreamed fireball would hit twice (measured in take_cover, where three hits in five kill).
    """
    walked = F.pad(t.motion[:, :2], (0, 1))[:, None] * t.next[:, None, None]
    after = things.place + mean_displacement(things, out).detach() - walked
    distance = after[..., :2].norm(dim=-1)
    projectile = (model.groups[things.kind] == PROJECTILE) & (things.kind != EMPTY)
    distance = distance.masked_fill(~projectile, torch.inf)
    nearest = F.one_hot(distance.argmin(1), distance.shape[1]) > 0
    return nearest & (distance < KILLED_WITHIN) & t.died[:, None]


def mean_displacement(things: Things, out: Tensor) -> Tensor:
    """Expected displacement (B, K, 3)."""
    logits, mean, _, up, _ = split_displacement(things, out)
    flat = (mean * logits.softmax(-1)[..., None]).sum(2)
    return torch.cat([flat, up[..., None]], -1)


class Averaged(nn.Module, Generic[M]):
    """All that the stages things and eye write into their checkpoints.

    Attributes:
        model: what learns.
        average: its moving average, which is what is used.
    """

    def __init__(self, model: M, ema_decay: float) -> None:
        """Begin an average that remembers 1 / (1 − `ema_decay`) steps, fewer in the beginning."""
        super().__init__()
        self.model = model
        self.average = ModelEmaV3(
            model, decay=ema_decay, use_warmup=True, warmup_gamma=9, warmup_power=1.0, update_after_step=-1
        )

    def update_average(self, steps: int) -> None:
        """Move the average towards the model, which has made `steps` optimiser steps so far."""
        self.average.update(self.model, steps)


def load_dynamics(path: Path) -> ThingsDynamics:
    """The averaged dynamics of a checkpoint of the stage things.

    Raises:
        ValueError: if it is damaged or something else.
    """
    try:
        metadata, tensors = read_checked(path)
        about = json.loads(metadata["about"])["config"]
        model = ThingsDynamics(ThingsConfig(**{key: frozen(value) for key, value in about.items()}))
        model.load_state_dict({k.removeprefix(AVERAGE): v.float() for k, v in tensors.items() if k.startswith(AVERAGE)})
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no checkpoint of the stage things ({error}); make it with that stage") from error
    return model.eval()


def frozen(value: Any) -> Any:
    """Lists of JSON as tuples."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value
