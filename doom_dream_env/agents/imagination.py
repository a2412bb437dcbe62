"""Learning in imagination: an actor and a critic that learn in dreams alone, torch in and torch out.

After Dreamer 3 (arXiv 2301.04104) and Dreamer 4 (2509.24527): many dreams are unrolled for a few steps; λ-returns of a
critic's own guesses say how good each action was; the critic learns them as a two-hot distribution over symexp bins, so
that one setting fits returns of 1 and of 2000. The actor learns by REINFORCE with normalised returns, or by PMPO, which
asks only whether an action was better than expected, not by how much. What is left is an `Agent`.

    agent, curve = learn_in_imagination(DreamBatch(128, "take_cover"), ImaginationConfig(), seed=0)

Any `LatentBatch` will do, so the same code learns in the real game (`RealBatch`).

Legend: T steps of an unroll, N environments side by side, F features, n actions, K bins.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from doom_dream_env.agents.agent import Agent, AgentCard, make_network
from doom_dream_env.envs.base import EnvBatch, LatentBatch
from doom_dream_env.errors import UserError
from doom_dream_env.progress import progress as progress_bar
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model.outcomes import two_hot
from doom_dream_env.world_model.threads import at_most

ACTIVATION = "SiLU"


@dataclass(frozen=True)
class ImaginationConfig:
    """How an actor learns in dreams.

    Attributes:
        steps: environment steps, all environments together.
        unroll: T, steps between two rounds of learning.
        epochs: passes over an unroll.
        minibatch: steps of one update.
        learning_rate: of actor and critic, Adam.
        clip: greatest norm of a gradient.
        width: of the two hidden layers of the actor; the critic's are twice as wide.
        gamma: discount of a step.
        lam: λ of the returns: 0 trusts the critic after one step, 1 never within an unroll.
        bins: K, of the critic, `symexp` of numbers between −`reach` and `reach`.
        reach: see `bins`.
        target_decay: of the moving average of the critic that guesses in the returns; per update.
        spread_decay: of the moving spread (5th to 95th percentile) by which returns are normalised; per unroll.
        objective: "reinforce", or "pmpo": the sign of the advantage alone.
        alpha: of PMPO, weight of what was better than expected; the rest is that of the others.
        kl: weight of the divergence from the prior policy; without one, from the actor that played the unroll (a
            trust region, so that an unroll can be learned from more than once).
        entropy: weight of the actor's entropy.
    """

    steps: int = 300_000
    unroll: int = 16
    epochs: int = 3
    minibatch: int = 512
    learning_rate: float = 5e-4
    clip: float = 1.0
    width: int = 128
    gamma: float = 0.997
    lam: float = 0.95
    bins: int = 73
    reach: float = 9.0
    target_decay: float = 0.98
    spread_decay: float = 0.98
    objective: Literal["reinforce", "pmpo"] = "reinforce"
    alpha: float = 0.5
    kl: float = 0.3
    entropy: float = 3e-3

    def __post_init__(self) -> None:
        if self.objective not in ("reinforce", "pmpo"):
            raise UserError(f"objective {self.objective!r} is unknown; choose from reinforce, pmpo")
        if min(self.steps, self.unroll, self.epochs, self.minibatch, self.width) < 1 or self.bins < 2:
            raise UserError(f"steps, unroll, epochs, minibatch and width must be 1 or more, bins 2 or more: {self}")


class Prior(Protocol):
    """A policy that the actor is not to wander far from, such as a cloned `ActionPolicy`."""

    def action_logits(self, batch: EnvBatch, /) -> Tensor:
        """Its logits (N, n) at the newest step, or (N, 9) of the buttons in free play."""

    def press(self, batch: EnvBatch, buttons: Tensor, /) -> None:
        """What is really pressed there, (N, 9)."""


# ---- distributions ---------------------------------------------------------------------------------------------------


def log_policy(logits: Tensor, buttons: bool) -> Tensor:
    """Log probabilities (..., G, S) of G choices, each among S: one among n actions, or nine among up and down."""
    if buttons:
        return torch.stack([torch.zeros_like(logits), logits], -1).log_softmax(-1)
    return logits.log_softmax(-1)[..., None, :]


def log_probability(log_p: Tensor, actions: Tensor) -> Tensor:
    """Log probability (...) of actions (..., G) under `log_policy`'s (..., G, S)."""
    return log_p.gather(-1, actions[..., None])[..., 0].sum(-1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q), (...): of the actor from the prior it is the reverse one, which the actor keeps inside the prior."""
    return (log_p.exp() * (log_p - log_q)).sum((-2, -1))


def symexp(x: Tensor) -> Tensor:
    """sign(x)·(exp |x| − 1): even steps of x are fine near 0 and coarse far away."""
    return x.sign() * x.abs().expm1()


class Critic(nn.Module):
    """Values as distributions over bins that are `symexp` of evenly spaced numbers."""

    bins: Tensor

    def __init__(self, features: int, config: ImaginationConfig) -> None:
        super().__init__()
        self.network = make_network((features, 2 * config.width, 2 * config.width, config.bins), ACTIVATION)
        self.register_buffer("bins", torch.linspace(-config.reach, config.reach, config.bins))
        last: Any = self.network[-1]
        nn.init.zeros_(last.weight)  # Dreamer 3: values begin at 0, not at whatever random weights say
        nn.init.zeros_(last.bias)

    def value(self, logits: Tensor) -> Tensor:
        """Mean values (...) of logits (..., K)."""
        return (logits.softmax(-1) * symexp(self.bins)).sum(-1)


# ---- imagination -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unroll:
    """T steps of N environments.

    Attributes:
        features: what was seen before each step, (T, N, F).
        after: what was seen behind it, before anything began anew, (T, N, F).
        actions: choices, int64 (T, N, G).
        rewards: (T, N).
        continues: probability that the episode goes on, (T, N); in the game 0 or 1.
        ended: did the episode end there, by death or by time? bool (T, N).
        log_anchor: log policy (T, N, G, S) of the prior, or of the actor that played.
    """

    features: Tensor
    after: Tensor
    actions: Tensor
    rewards: Tensor
    continues: Tensor
    ended: Tensor
    log_anchor: Tensor


@torch.no_grad()
def imagine(
    batch: LatentBatch, actor: nn.Module, prior: Prior | None, steps: int, generator: torch.Generator
) -> Unroll:
    """Let the actor act for some steps; what has ended begins anew."""
    by_buttons = not batch.scenario.discrete
    kept: list[tuple[Tensor, ...]] = []
    features = batch.features
    for _ in range(steps):
        log_p = log_policy(actor(features), by_buttons)
        chosen = torch.multinomial(log_p.exp().flatten(0, -2), 1, generator=generator)
        actions = chosen.view(log_p.shape[:-1])  # N, G
        pressed = batch.buttons(actions if by_buttons else actions[:, 0])
        anchor = log_p
        if prior is not None:
            anchor = log_policy(prior.action_logits(batch), by_buttons)
            prior.press(batch, pressed)
        after, reward, _, _ = batch.step(pressed)
        kept.append((features, after, actions, reward, batch.continues, batch.done.clone(), anchor))
        features = batch.reset(batch.done) if bool(batch.done.any()) else after
    return Unroll(*(torch.stack(part) for part in zip(*kept, strict=True)))


def lambda_returns(unroll: Unroll, values: Tensor, gamma: float, lam: float) -> Tensor:
    """λ-returns (T, N); `values` are the critic's guesses of what was seen behind each step, (T, N).

    The probability that the episode goes on weighs what comes behind. Where one really ended, by chance or because time
    was up, nothing behind was dreamed: there the guess stands for all of it.
    """
    found = []
    behind = values[-1]
    for t in reversed(range(len(values))):
        go_on = torch.where(unroll.ended[t], values[t], (1 - lam) * values[t] + lam * behind)
        behind = unroll.rewards[t] + gamma * unroll.continues[t] * go_on
        found.append(behind)
    return torch.stack(found[::-1])


# ---- learning --------------------------------------------------------------------------------------------------------


class Learner:
    """Actor, critic and one optimiser.

    Args:
        features: F.
        actions: n, or 9 in free play.
        buttons: press any of nine buttons instead of choosing one action.
        config: how to learn.
        device: where the networks are.
    """

    def __init__(self, features: int, actions: int, buttons: bool, config: ImaginationConfig, device: Any) -> None:
        self.config = config
        self.buttons = buttons
        self.actor = make_network((features, config.width, config.width, actions), ACTIVATION).to(device)
        last: Any = self.actor[-1]
        last.weight.data.mul_(0.01)  # it begins with even odds
        last.bias.data.zero_()
        self.critic = Critic(features, config).to(device)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, config.learning_rate)
        self.spread = 0.0  # of returns, a moving average that is corrected for its beginning
        self.unrolls = 0

    @torch.no_grad()
    def returns(self, unroll: Unroll) -> tuple[Tensor, Tensor]:
        """λ-returns and normalised advantages, (T, N) each."""
        c = self.config
        values = self.target.value(self.target.network(unroll.after))
        returns = lambda_returns(unroll, values, c.gamma, c.lam)
        low, high = torch.quantile(returns, torch.tensor([0.05, 0.95], device=returns.device)).tolist()
        self.spread = c.spread_decay * self.spread + (1 - c.spread_decay) * (high - low)
        self.unrolls += 1
        typical = self.spread / (1 - c.spread_decay**self.unrolls)
        advantage = returns - self.target.value(self.target.network(unroll.features))
        return returns, advantage / max(1.0, typical)

    def learn(self, unroll: Unroll, generator: torch.Generator) -> None:
        """Learn from one unroll."""
        returns, advantage = self.returns(unroll)
        columns = (unroll.features, unroll.actions, unroll.log_anchor, returns, advantage)
        flat = [column.flatten(0, 1) for column in columns]
        targets = two_hot(flat[3], symexp(self.critic.bins))
        for _ in range(self.config.epochs):
            order = torch.randperm(len(targets), generator=generator, device=generator.device)
            for rows in order.split(self.config.minibatch):
                features, actions, anchor, _, better = (column[rows] for column in flat)
                log_p = log_policy(self.actor(features), self.buttons)
                guess = self.critic.network(features).log_softmax(-1)
                critic_loss = -(targets[rows] * guess).sum(-1).mean()
                self._update(self.actor_loss(log_p, actions, anchor, better) + critic_loss)

    def actor_loss(self, log_p: Tensor, actions: Tensor, log_anchor: Tensor, advantage: Tensor) -> Tensor:
        """Objective, divergence from the anchor, entropy: one number."""
        c = self.config
        chosen = log_probability(log_p, actions)
        if c.objective == "pmpo":
            good = (advantage > 0).float()
            liked = (good * chosen).sum() / good.sum().clamp(min=1)
            disliked = ((1 - good) * chosen).sum() / (1 - good).sum().clamp(min=1)
            objective = (1 - c.alpha) * disliked - c.alpha * liked
        else:
            objective = -(advantage * chosen).mean()
        entropy = -(log_p.exp() * log_p).sum((-2, -1)).mean()
        return objective + c.kl * divergence(log_p, log_anchor).mean() - c.entropy * entropy

    def _update(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimiser.step()
        with torch.no_grad():
            for mine, theirs in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.config.target_decay)


def learn_in_imagination(
    batch: LatentBatch,
    config: ImaginationConfig | None = None,
    *,
    prior: Prior | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Agent, list[tuple[int, float]]]:
    """Train an actor in a batch of dreams (or of real games).

    Args:
        batch: where to play, with the temperature, time limit and initial states that are wanted.
        config: how to learn; None: the defaults.
        prior: a policy that the actor is kept near, such as `ActionPolicy.load(...)`.
        seed: of networks, actions and environments.
        progress: show a progress bar.

    Returns:
        the agent, and (steps, mean return of the episodes that ended lately) along the way.
    """
    c = config or ImaginationConfig()
    started = time.perf_counter()
    scenario = batch.scenario
    actions = len(batch.action_table) if scenario.discrete else len(BUTTONS)
    with torch.random.fork_rng(devices=[]):  # networks take their first weights from torch's own generator
        torch.manual_seed(seed)
        learner = Learner(batch.model.config.feature_width, actions, not scenario.discrete, c, batch.device)
    generator = torch.Generator(batch.device).manual_seed(seed)
    curve: list[tuple[int, float]] = []
    total = torch.zeros(batch.num_envs, device=batch.device)
    recent = torch.zeros(0, device=batch.device)
    batch.reset(seed=seed)
    done = 0
    # One thread: networks this small are slower on two.
    about = f"imagination in {scenario.name}, seed {seed}"
    with progress_bar(total=c.steps, desc=about, leave=False, disable=not progress) as bar, at_most(1):
        while done < c.steps:
            unroll = imagine(batch, learner.actor, prior, c.unroll, generator)
            learner.learn(unroll, generator)
            done += unroll.rewards.numel()
            for reward, ended in zip(unroll.rewards, unroll.ended, strict=True):
                total += reward
                recent = torch.cat([recent, total[ended]])[-2 * batch.num_envs :]
                total = total.masked_fill(ended, 0.0)
            if len(recent):
                curve.append((done, float(recent.mean())))
                bar.set_postfix_str(f"return {curve[-1][1]:.4g}", refresh=False)
            bar.update(min(done, c.steps) - bar.n)
    known = {
        "algorithm": f"imagination, {c.objective}",
        "steps": done,
        "seed": seed,
        "prior": type(prior).__name__ if prior is not None else None,
        "temperature": getattr(batch, "temperature", None),
        "time_limit": batch.time_limit,
        "seconds": round(time.perf_counter() - started),
    }
    card = AgentCard(
        scenario.name, batch.model.fingerprint, batch.model.source, ACTIVATION, known, buttons=not scenario.discrete
    )
    return Agent(card, learner.actor.cpu()), curve
