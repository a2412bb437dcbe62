"""How things move: one small transformer, a token for each thing and one for the player.

It is learned by likelihood, one step at a time, of what the game really did; dreams are drawn from it. What happens in
a step is decided in an order, each part told what was decided before it: how things move, what dies and bursts; then
what the player loses and gains; then reward and end. A fireball that is drawn as bursting at the player therefore takes
health in the same step, and never twice.

Legend: B lanes, K slots, C width, V variables, S changes a variable can make at most, M components of a mixture.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.scenarios import BUTTONS, VARIABLE_SCALES
from doom_dream_env.world_model.things.state import (
    EMPTY,
    FARTHEST_WALL,
    FORGOTTEN_AFTER,
    THING_FEATURES,
    WALLS,
    Things,
    moved_on,
    player_features,
    player_width,
    rotated,
    thing_features,
)

COMPONENTS = 5  # of the mixture of a thing's displacement
UNIT = 8.0  # map units that a network's output of one stands for
MOST_NEW = 4  # things that come into sight in one step
MOST_SHOTS = 3  # things shot in one step
BEARINGS = 36  # directions in which a new thing may come into sight
WIDEST = math.radians(55)  # left and right of straight ahead
RANGES = 20  # distances
NEAREST, FARTHEST = 24.0, 3000.0
EVENT_WIDTH = 48
# Below half a map unit nothing is gained, and the gradients of what stands still drown all others: with −4, and −6 for
# the player, ten worlds had not learned in half an hour that keys move him.
LEAST_LOG_SCALE, GREATEST_LOG_SCALE = -2.5, 3.0


@dataclass(frozen=True)
class ThingsConfig:
    """Sizes and meanings.

    Attributes:
        kinds: names of the kinds of things; the first is that of an empty slot.
        becomes: per kind, index of what a thing of it becomes when it dies or bursts; 0: it only vanishes.
        groups: per kind: 0 projectile, 1 monster, 2 item, 3 remains, 4 anything else.
        scenarios: names, in the order of their embeddings.
        mortal: per scenario: an episode ends when the first variable, health, is used up.
        deltas: per variable, the changes per step that it can make, ascending.
        rewards: what a step can pay, ascending.
        width, depth, heads: of the transformer.
    """

    kinds: tuple[str, ...]
    becomes: tuple[int, ...]
    groups: tuple[int, ...]
    scenarios: tuple[str, ...]
    mortal: tuple[bool, ...]
    deltas: tuple[tuple[float, ...], ...]
    rewards: tuple[float, ...]
    width: int = 96
    depth: int = 3
    heads: int = 4


class Block(nn.Module):
    """Attention and a feed-forward network, each on what is normed before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, N, C); mask (B, 1, 1, N): 0, or −inf for what is not there."""
        batch, count, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT * (width // self.heads) ** -0.5 + mask).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


@dataclass(frozen=True)
class Events:
    """What a step decides before the player's variables change.

    Attributes:
        displaced: how each thing has moved, along the player's axes before the step, (B, K, 3).
        gone: bool (B, K): it is no more.
        turned: bool (B, K): it has become what its kind becomes: a monster its remains, a fireball its burst.
        motion: forward, left, turn of the player, (B, 3).
    """

    displaced: Tensor
    gone: Tensor
    turned: Tensor
    motion: Tensor


class ThingsDynamics(nn.Module):
    """Next things, variables, reward and end, from things and an action."""

    def __init__(self, config: ThingsConfig) -> None:
        super().__init__()
        self.config = config
        c = config.width
        kinds = len(config.kinds)
        variables = len(config.deltas)
        self.kind = nn.Embedding(kinds, c)
        self.scenario = nn.Embedding(len(config.mortal), c)
        self.thing_in = nn.Sequential(nn.Linear(THING_FEATURES, c), nn.GELU(), nn.Linear(c, c))
        self.action_in = nn.Linear(len(BUTTONS), c)
        self.player_in = nn.Sequential(
            nn.Linear(player_width(variables, len(BUTTONS)), 2 * c), nn.GELU(), nn.Linear(2 * c, c)
        )
        self.to_things = nn.Linear(c, c)
        self.blocks = nn.ModuleList(Block(c, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(c)

        def head(width: int, out: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(width, c), nn.GELU(), nn.Linear(c, out))

        # Of each thing: a mixture of displacements (chance, two means, log scale), height (mean, log scale), and logits
        # of living on, of becoming something else, of being in sight, of shooting.
        self.thing = head(c, 4 * COMPONENTS + 2 + 4)
        # Of what is shot: kind, then a mixture of where it is and where it has come from.
        self.shot_kind = nn.Linear(c, kinds)
        self.shot_kind_in = nn.Embedding(kinds, c)
        self.shot = head(c, COMPONENTS * (2 + 6))
        # Of the player: motion (three means and three log scales), the next walls, how many things come into sight,
        # whether the player shoots.
        self.player = head(c, 6 + WALLS + MOST_NEW + 1)
        self.new_kind = nn.Linear(c, kinds)
        self.new_kind_in = nn.Embedding(kinds, c)
        self.new_place = head(c, BEARINGS * RANGES)
        self.new_height = nn.Linear(c, 1)
        # What has happened, told to what follows from it.
        self.event = head(c + 2 + 4, EVENT_WIDTH)
        self.sizes = [len(values) for values in config.deltas]
        self.change = head(c + EVENT_WIDTH + 3, sum(self.sizes))
        self.outcome = head(c + EVENT_WIDTH + 3 + variables * 2 + MOST_NEW, len(config.rewards) + 1)
        self.register_buffer("becomes", torch.tensor(config.becomes), persistent=False)
        self.register_buffer("mortal", torch.tensor(config.mortal), persistent=False)
        self.register_buffer("groups", torch.tensor(config.groups), persistent=False)
        self.register_buffer("scales", torch.tensor(VARIABLE_SCALES), persistent=False)
        self.register_buffer("rewards", torch.tensor(config.rewards), persistent=False)
        for index, values in enumerate(config.deltas):
            self.register_buffer(f"delta{index}", torch.tensor(values), persistent=False)

    becomes: Tensor
    groups: Tensor
    mortal: Tensor
    scales: Tensor
    rewards: Tensor

    def deltas(self, variable: int) -> Tensor:
        """Changes that a variable can make."""
        return self.get_buffer(f"delta{variable}")

    # ---- what a step depends on --------------------------------------------------------------------------------------

    def trunk(self, things: Things, action: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the player (B, C) and of each slot (B, K, C)."""
        known = things.kind != EMPTY
        player = (
            self.player_in(player_features(things, self.scales))
            + self.scenario(things.scenario)
            + self.action_in(action)
        )
        slots = self.kind(things.kind) + self.thing_in(thing_features(things)) + self.to_things(player)[:, None]
        x = torch.cat([player[:, None], slots], 1)
        mask = F.pad(x.new_zeros(known.shape).masked_fill(~known, -math.inf), (1, 0))[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        return x[:, 0], x[:, 1:]

    def motion(self, things: Things, player: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (B, 3) and log scale (B, 3) of the player's motion in its units, and the rest of that head's output."""
        out = self.player(player)
        mean = out[:, :3] * out.new_tensor([UNIT, UNIT, 0.1]) + things.motion
        return mean, out[:, 3:6].clamp(LEAST_LOG_SCALE, 2.0), out[:, 6:]

    def summary(self, things: Things, events: Events, slots: Tensor) -> Tensor:
        """What has happened to things, (B, EVENT_WIDTH + 3): a sum over slots, and the player's motion."""
        walked = torch.cat([events.motion[:, :2], torch.zeros_like(events.motion[:, :1])], -1)
        after = things.place + events.displaced - walked[:, None]
        distance = after[..., :2].norm(dim=-1, keepdim=True)
        marks = torch.cat(
            [
                events.gone[..., None].float(),
                events.turned[..., None].float(),
                after / 64.0 / (1 + distance / 64.0),
                (-distance / 32.0).exp(),
            ],
            -1,
        )
        per_slot = self.event(torch.cat([slots, marks], -1)) * (things.kind != EMPTY)[..., None]
        scaled = events.motion / events.motion.new_tensor([16.0, 16.0, 0.2])
        return torch.cat([per_slot.sum(1), scaled], -1)

    def change_logits(self, player: Tensor, summary: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, S) of the changes of each variable."""
        return self.change(torch.cat([player, summary], -1)).split(self.sizes, -1)

    def outcome_logits(
        self, player: Tensor, summary: Tensor, change: Tensor, after: Tensor, shots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of rewards (B, R) and of the episode's end (B,).

        Args:
            player: its feature, (B, C).
            summary: as `summary` gives it.
            change: of the variables, (B, V).
            after: their values after it, (B, V).
            shots: how many things were shot, one-hot, (B, MOST_NEW).
        """
        told = torch.cat([player, summary, (change / 10.0).clamp(-3, 3), after / self.scales, shots], -1)
        out = self.outcome(told)
        return out[:, :-1], out[:, -1]

    # ---- dreaming ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(
        self,
        things: Things,
        action: Tensor,
        generator: torch.Generator | None = None,
        drawn: bool = True,
        new: bool = True,
    ) -> tuple[Things, Tensor, Tensor]:
        """One dreamed step.

        Args:
            things: B lanes.
            action: buttons, float (B, A).
            generator: of the draws.
            drawn: False: the likeliest of everything, and the expected change of the variables.
            new: False: nothing is shot and nothing comes into sight, as where a frame will say so itself.

        Returns:
            what is there then, reward (B,), and whether the episode has ended (B,), bool where drawn, else chances.
        """
        batch, slots = things.kind.shape
        device = things.kind.device
        present = things.kind != EMPTY
        player, x = self.trunk(things, action)
        out = self.thing(x)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device)

        def chosen(logits: Tensor) -> Tensor:
            """A choice (...) of logits (..., S)."""
            if not drawn:
                return logits.argmax(-1)
            gumbel = -(-uniform(*logits.shape).clamp(1e-9, 1 - 1e-7).log()).log()
            return (logits + gumbel).argmax(-1)

        def happens(logit: Tensor) -> Tensor:
            return uniform(*logit.shape) < logit.sigmoid() if drawn else logit > 0

        # -- how things move
        displaced = self._displacement(things, out, chosen, normal if drawn else None)
        alive = happens(out[..., -4])
        turned = happens(out[..., -3]) & present & (self.becomes[things.kind] > 0)
        gone = present & ~alive & ~turned
        mean, log_scale, rest = self.motion(things, player)
        motion = mean
        if drawn:
            motion = mean + log_scale.exp() * normal(batch, 3) * motion.new_tensor([UNIT, UNIT, 0.1]) * 0.5
        events = Events(displaced, gone, turned, motion)
        walls = things.walls + rest[:, :WALLS] * 4.0
        counts = rest[:, WALLS : WALLS + MOST_NEW]
        shooting = torch.cat([rest[:, -1:], out[..., -1].masked_fill(~present, -30.0)], 1)

        # -- what follows for the player
        summary = self.summary(things, events, x)
        shots = happens(shooting)
        variables, changes = self._changed(things, player, summary, chosen if drawn else None)
        shot_count = F.one_hot(shots.sum(1).clamp(max=MOST_NEW - 1), MOST_NEW).float()
        reward_logits, end_logit = self.outcome_logits(player, summary, changes, variables, shot_count)
        if drawn:
            reward = self.rewards[chosen(reward_logits)]
            ended = happens(end_logit) | (self.mortal[things.scenario] & (variables[:, 0] <= 0))
        else:
            reward = reward_logits.softmax(-1) @ self.rewards
            ended = end_logit.sigmoid()

        # -- what is there then
        after = moved_on(things, displaced, motion, action)
        kind = torch.where(turned, self.becomes[things.kind], things.kind)
        in_sight = happens(out[..., -2])
        unseen = torch.where(in_sight, torch.zeros_like(after.unseen), after.unseen)
        kind = kind.masked_fill(gone | (unseen > FORGOTTEN_AFTER), EMPTY)
        after = dataclasses.replace(
            after,
            kind=kind,
            unseen=unseen,
            variables=variables,
            walls=walls.clamp(0.0, FARTHEST_WALL),
        )
        # Turning remains where it lies: its history begins anew.
        after = dataclasses.replace(after, known=after.known.masked_fill(turned, 0))
        found = []
        if new:
            found += self._shot(things, motion, player, x, shots, chosen, normal if drawn else None)
            found += self._come_into_sight(things, player, counts, chosen, uniform if drawn else None)
        return place_new(after, found, self.groups), reward, ended

    def _displacement(self, things: Things, out: Tensor, chosen, normal) -> Tensor:  # type: ignore[no-untyped-def]
        logits, mean, log_scale, height, height_log_scale = split_displacement(things, out)
        if normal is None:
            # The mean of the likeliest component.
            which = logits.argmax(-1)
        else:
            which = chosen(logits)
        flat = mean.gather(2, which[..., None, None].expand(-1, -1, 1, 2)).squeeze(2)
        up = height
        if normal is not None:
            scale = log_scale.gather(2, which[..., None]).exp() * UNIT
            flat = flat + scale * normal(*flat.shape)
            up = height + height_log_scale.exp() * UNIT * normal(*height.shape)
        return torch.cat([flat, up[..., None]], -1)

    def _changed(self, things: Things, player: Tensor, summary: Tensor, chosen) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        """Variables (B, V) after their changes, and by how much they have changed: nobody loses more than there is."""
        changes = []
        for index, logits in enumerate(self.change_logits(player, summary)):
            values = self.deltas(index)
            changes.append(values[chosen(logits)] if chosen is not None else logits.softmax(-1) @ values)
        after = (things.variables + torch.stack(changes, -1)).clamp(min=0.0)
        return after, after - things.variables

    def _shot(self, things, motion, player, x, shots, chosen, normal):  # type: ignore[no-untyped-def]
        """New things that are shot: at most MOST_SHOTS of mask (B,), kind (B,), place (B, 3), last displacement."""
        sources = torch.cat([player[:, None], x], 1)
        origin = F.pad(things.place, (0, 0, 1, 0))
        order = shots.float().argsort(dim=1, descending=True, stable=True)
        found = []
        for rank in range(min(MOST_SHOTS, shots.shape[1])):
            index = order[:, rank]
            mask = shots.gather(1, index[:, None]).squeeze(1)
            if not bool(mask.any()):
                break
            row = torch.arange(len(index), device=index.device)
            source = sources[row, index]
            kind = chosen(self.shot_kind(source))
            logits, mean, log_scale = split_shot(self.shot(source + self.shot_kind_in(kind)))
            which = chosen(logits)
            values = mean[row, which]
            if normal is not None:
                values = values + log_scale[row, which].exp() * UNIT * normal(*values.shape)
            place = origin[row, index] + values[:, :3]
            found.append((mask, kind, *self._seen_from_there(place, values[:, 3:], motion)))
        return found

    @staticmethod
    def _seen_from_there(place: Tensor, moved: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """A place and a displacement along the player's axes before the step, along those after it."""
        walked = torch.cat([motion[:, :2], torch.zeros_like(motion[:, :1])], -1)
        return rotated(place - walked, -motion[:, 2]), rotated(moved, -motion[:, 2])

    def _come_into_sight(self, things, player, counts, chosen, uniform):  # type: ignore[no-untyped-def]
        """New things that nobody shot, as `_shot` gives them; they are placed as seen after the step."""
        number = chosen(counts)
        found = []
        for rank in range(MOST_NEW - 1):
            mask = number > rank
            if not bool(mask.any()):
                break
            kind = chosen(self.new_kind(player))
            told = player + self.new_kind_in(kind)
            cell = chosen(self.new_place(told))
            jitter = uniform(len(cell), 2) if uniform is not None else torch.full((len(cell), 2), 0.5)
            place = place_of_cell(cell, jitter)
            place = torch.cat([place, self.new_height(told) * 32.0], -1)
            found.append((mask, kind, place, None))
        return found


def split_displacement(things: Things, out: Tensor) -> tuple[Tensor, ...]:
    """Mixture of displacements from the output of the head of things.

    Returns:
        logits (B, K, M), means (B, K, M, 2) in map units, log scales (B, K, M) in `UNIT`; mean and log scale of the
        change of height, (B, K) each.
    """
    logits, mean, log_scale, height, _ = out.split([COMPONENTS, 2 * COMPONENTS, COMPONENTS, 2, 4], -1)
    last = things.moved[:, :, 0] * (things.known > 0)[..., None]
    mean = mean.unflatten(-1, (COMPONENTS, 2)) * UNIT + last[:, :, None, :2]
    log_scale = log_scale.clamp(LEAST_LOG_SCALE, GREATEST_LOG_SCALE)
    up = height[..., 0] * UNIT + last[..., 2]
    return logits, mean, log_scale, up, height[..., 1].clamp(LEAST_LOG_SCALE, GREATEST_LOG_SCALE)


def split_shot(out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mixture of what is shot: logits (..., M), means (..., M, 6) in map units, log scales (..., M, 1) of UNIT."""
    logits, log_scale, values = out.split([COMPONENTS, COMPONENTS, COMPONENTS * 6], -1)
    mean = values.unflatten(-1, (COMPONENTS, 6)) * (2 * UNIT)
    return logits, mean, log_scale[..., None].clamp(LEAST_LOG_SCALE, GREATEST_LOG_SCALE)


def cell_of_place(place: Tensor) -> Tensor:
    """Index of direction and distance of places (..., 2 or 3), in BEARINGS · RANGES."""
    angle = torch.atan2(place[..., 1], place[..., 0])
    bearing = ((angle / WIDEST + 1) / 2 * BEARINGS).long().clamp(0, BEARINGS - 1)
    distance = place[..., :2].norm(dim=-1).clamp(NEAREST, FARTHEST)
    ratio = (distance / NEAREST).log() / math.log(FARTHEST / NEAREST)
    return bearing * RANGES + (ratio * RANGES).long().clamp(0, RANGES - 1)


def place_of_cell(cell: Tensor, within: Tensor) -> Tensor:
    """Inverse of `cell_of_place`: places (B, 2); `within` (B, 2): where in the cell, 0…1."""
    angle = ((cell // RANGES + within[:, 0]) / BEARINGS * 2 - 1) * WIDEST
    distance = NEAREST * ((cell % RANGES + within[:, 1]) / RANGES * math.log(FARTHEST / NEAREST)).exp()
    return torch.stack([angle.cos() * distance, angle.sin() * distance], -1)


def place_new(things: Things, new: list[tuple[Tensor, Tensor, Tensor, Tensor | None]], groups: Tensor) -> Things:
    """Put new things into slots: an empty one, or that of what matters least (far away, or an item or remains).

    Args:
        things: B lanes.
        new: mask (B,), kind (B,), place (B, 3), last displacement (B, 3) or None, of each new thing.
        groups: of kinds, as in `ThingsConfig`.
    """
    if not new:
        return things
    kind, place, moved = things.kind.clone(), things.place.clone(), things.moved.clone()
    known, unseen = things.known.clone(), things.unseen.clone()
    row = torch.arange(len(kind), device=kind.device)
    for mask, new_kind, where, last in new:
        mask = mask & (new_kind != EMPTY)
        worth = -(place[..., :2].norm(dim=-1)) - 3000.0 * (groups[kind] >= 2) - 100.0 * unseen
        worth = worth.masked_fill(kind == EMPTY, -1e9)
        slot = worth.argmin(1)
        here, at = row[mask], slot[mask]
        kind[here, at] = new_kind[mask]
        place[here, at] = where[mask]
        moved[here, at] = 0.0
        known[here, at] = 0
        if last is not None:
            moved[here, at, 0] = last[mask]
            known[here, at] = 1
        unseen[here, at] = 0
    return dataclasses.replace(things, kind=kind, place=place, moved=moved, known=known, unseen=unseen)
