"""What an action brings: first the discrete outcome (variables, reward, termination), then the next state that fits it.

Legend: leading dimensions free (written ...), D state width, E trunk width, V variables, R rewards, S changes that a
variable can make at most; those that can make fewer have impossible ones behind them.

The order is a choice: a hit decides both the health that is lost and the picture that follows, so the outcome is drawn
first and the next state is drawn given it. A step that ends an episode has no next picture, and needs none.

`Dynamics.transition` is the one function that goes from a feature and an action to the condition of everything that
follows. Dreams, training and evaluation differ only in how they choose the outcome: `most_likely`, `sampled` or
`observed`. A scenario index `(...)` may be shorter than the features along a dimension, as long as it broadcasts: with
windows (B, T, E), give `scenario[:, None]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS, SCENARIOS, VARIABLE_SCALES
from doom_dream_env.world_model.codes import Codes
from doom_dream_env.world_model.config import ScenarioLimits, WorldModelConfig
from doom_dream_env.world_model.outcomes import OutcomeRule, every_change_of_the_first

# Of the action's embedding at the start of training. Added to a layer-normed feature, a fresh embedding would drown:
# with this gain, where a dream's answer to the buttons is small, it is learned about twice as fast (measured).
ACTION_GAIN = 4.0


@dataclass(frozen=True)
class Transition:
    """What one step decides before there is a next state.

    Attributes:
        action_feature: the trunk's feature joined with the action, (..., E).
        outcome_logits: per variable, logits of its changes, (..., V, S); −inf for what the scenario cannot do.
        outcome: per variable, index of the chosen change, (..., V).
        condition: the action feature told the outcome, (..., E); next state, reward and termination are read from it.
    """

    action_feature: Tensor
    outcome_logits: Tensor
    outcome: Tensor
    condition: Tensor


class Dynamics(nn.Module):
    """From the trunk's feature h[t] and action[t]: outcome, next state, reward, and whether the episode goes on."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.trunk_width
        state = config.state_width
        variables = len(config.variables)
        # The modules have the names of their tensors in saved weights.
        self.sizes = [len(values) for values in config.deltas]
        embedding = nn.Linear(64, width)
        with torch.no_grad():
            embedding.weight.mul_(ACTION_GAIN)
        self.action_in = nn.Sequential(nn.Linear(len(BUTTONS), 64), nn.GELU(), embedding)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.outcome = nn.Linear(width, sum(self.sizes))
        self.outcome_in = nn.ModuleList(nn.Embedding(size, width) for size in self.sizes)
        self.norm = nn.LayerNorm(width)
        # Whether the episode goes on, and the reward.
        self.end = nn.Sequential(
            nn.Linear(width + 3 * variables, width), nn.GELU(), nn.Linear(width, 1 + len(config.rewards))
        )
        # What the mean next state adds to the state.
        self.central = nn.Sequential(nn.Linear(width + state, 2 * width), nn.GELU(), nn.Linear(2 * width, state))
        self.codes = Codes(config.code_groups, config.code_size, width, config.code_width)
        self._register_constants(config)

    scales: Tensor  # V: what game variables are divided by
    rewards: Tensor  # R, ascending
    # By scenario, the last one standing for an unknown scenario:
    variable_mask: Tensor  # float32 (scenarios + 1, V): 1 where the scenario has the variable
    ends_only_by_death: Tensor  # bool (scenarios + 1,)
    goal_rewards: Tensor  # float32 (scenarios + 1,): see `Scenario.goal_reward`
    possible_rewards: Tensor  # bool (scenarios + 1, R): see `ScenarioLimits`, as the next two
    least_variables: Tensor  # float32 (scenarios + 1, V)
    greatest_variables: Tensor
    odds: Tensor  # float32 (scenarios + 1, V, S): what harm and healing add to the log probabilities of health
    possible_changes: Tensor  # bool (scenarios + 1, V, S)
    # Of all scenarios:
    changes: Tensor  # float32 (V, S): changes per step that each variable can make, in the game's units, then zeros
    rows: Tensor  # int64 (V, S): where each of them is in `outcome`, and in all of `outcome_in` one after another

    def _register_constants(self, config: WorldModelConfig) -> None:
        """Constants that follow from the configuration and the scenarios; they are not saved with the weights."""

        def constant(name: str, values: Tensor) -> None:
            self.register_buffer(name, values, persistent=False)

        known = [SCENARIOS.get(name) for name in config.scenarios]
        constant("scales", torch.tensor(VARIABLE_SCALES))
        constant("rewards", torch.tensor(config.rewards))
        every = (True,) * len(config.variables)
        constant("variable_mask", torch.tensor([*config.known, every], dtype=torch.float32))
        only_by_death = [scenario is not None and scenario.ends_only_by_death for scenario in known]
        constant("ends_only_by_death", torch.tensor([*only_by_death, False]))
        goals = [torch.inf if scenario is None else scenario.goal_reward for scenario in known]
        constant("goal_rewards", torch.tensor([*goals, torch.inf]))
        anything = ScenarioLimits(
            rewards=config.rewards,
            changes=((-torch.inf, torch.inf),) * len(config.variables),
            variables=((-torch.inf, torch.inf),) * len(config.variables),
        )
        limits = [*(config.limits or (anything,) * len(config.scenarios)), anything]  # the last one: unknown
        pays = [[reward in limit.rewards for reward in config.rewards] for limit in limits]
        constant("possible_rewards", torch.tensor(pays))
        variables = torch.tensor([limit.variables for limit in limits])
        constant("least_variables", variables[..., 0])
        constant("greatest_variables", variables[..., 1])
        most = max(self.sizes)
        counts = torch.tensor(self.sizes)[:, None]
        place = torch.arange(most).expand(len(self.sizes), -1)
        exists = place < counts
        constant("rows", counts.cumsum(0) - counts + torch.minimum(place, counts - 1))
        padded = [[*values, *[0.0] * (most - len(values))] for values in config.deltas]
        changes = torch.tensor(padded, dtype=torch.float32)
        constant("changes", changes)
        size = changes.abs().masked_fill(~exists, torch.inf)
        still = size == size.amin(-1, keepdim=True)
        least, greatest = torch.tensor([limit.changes for limit in limits])[..., None].unbind(2)
        within = (changes >= least) & (changes <= greatest)
        # A variable that a scenario lacks does not change; nothing teaches the logits to say so.
        constant("possible_changes", (((self.variable_mask[..., None] > 0) & within) | still) & exists)
        constant("odds", torch.zeros(len(limits), len(self.sizes), most))
        self.set_dials(config.harm, config.healing)

    def set_dials(self, harm: Sequence[float], healing: Sequence[float]) -> None:
        """Set what `WorldModelConfig` says of these two: a number for each scenario, or none at all for 1 in all.

        The unknown scenario has their mean.
        """
        known = len(self.odds) - 1

        def dial(values: Sequence[float]) -> Tensor:
            settings = torch.tensor(values or (1.0,) * known, device=self.odds.device)
            return torch.cat([settings, settings.mean()[None]])

        changes = self.changes[0]
        odds = torch.where(changes < 0, dial(harm)[:, None].log(), dial(healing)[:, None].log())
        self.odds[:, 0] = odds * (changes != 0)

    # ---- the transition --------------------------------------------------------------------------------------------

    def draw_noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """All the chance of a step of B dreams: uniform numbers (B, V + G), for the variables and for the codes."""
        shape = (batch, len(self.sizes) + self.codes.groups)
        return torch.rand(shape, generator=generator, device=self.scales.device)

    def transition(self, h: Tensor, action: Tensor, scenario: Tensor, choose: OutcomeRule) -> Transition:
        """From feature and action to the outcome and to the condition of all that follows.

        Args:
            h: the trunk's feature, (..., E).
            action: buttons, (..., 9).
            scenario: index, (...).
            choose: how the outcome is chosen: `most_likely`, `sampled(…)` or `observed(…)`.

        Raises:
            ValueError: if the scenario has another number of dimensions than the feature has in front of its last one.
        """
        if scenario.ndim != h.ndim - 1:
            raise UserError(
                f"features of shape {tuple(h.shape)} need a scenario with {h.ndim - 1} dimensions, "
                f"got {tuple(scenario.shape)}; for windows (B, T, E) give scenario[:, None]"
            )
        action_feature = self.join_action(h, action)
        logits = self.outcome_logits(action_feature, scenario)
        outcome = choose(logits)
        condition = self.condition_on_outcome(action_feature, outcome)
        return Transition(action_feature, logits, outcome, condition)

    def join_action(self, h: Tensor, action: Tensor) -> Tensor:
        """Join the trunk's feature (..., E) and an action (..., 9) → action feature (..., E)."""
        joined = h + self.action_in(action)
        return joined + self.mix(joined)

    def outcome_logits(self, action_feature: Tensor, scenario: Tensor) -> Tensor:
        """Per variable, logits of its changes, (..., V, S); −inf for changes of what the scenario does not have."""
        logits = self.outcome(action_feature)[..., self.rows]
        return torch.where(self.possible_changes[scenario], logits, -torch.inf)

    def condition_on_outcome(self, action_feature: Tensor, outcome: Tensor) -> Tensor:
        """Tell the action feature (..., E) the outcome, the index of a change (..., V) → condition (..., E)."""
        weights = torch.cat([embedding.weight for embedding in cast("Iterable[nn.Embedding]", self.outcome_in)])
        return self.norm(action_feature + F.embedding(outcome + self.rows[:, 0], weights).sum(-2))

    # ---- what follows from it --------------------------------------------------------------------------------------

    def next_state(self, z: Tensor, condition: Tensor, code: Tensor | None = None) -> Tensor:
        """The next state (..., D).

        Args:
            z: the state now, (..., D).
            condition: (..., E).
            code: shift of the condition that a code brings, (..., E), from `Codes.sample` or `Codes.embed`. Without it
                the result is the mean next state, the best single prediction in squared error; with it, that sample.
        """
        if code is not None:
            condition = condition + code
        return z + self.central(torch.cat([condition, z], -1))

    def changed_variables(self, variables: Tensor, outcome: Tensor, scenario: Tensor) -> Tensor:
        """Game variables after a step, in the game's units, (..., V), kept where the game keeps them.

        Args:
            variables: before the step, (..., V).
            outcome: per variable, index of its change, (..., V).
            scenario: index, (...). What it lacks does not change.
        """
        changes = self.changes.expand(*outcome.shape, -1).gather(-1, outcome[..., None])[..., 0]
        after = variables + changes * self.variable_mask[scenario]
        return after.clamp(self.least_variables[scenario], self.greatest_variables[scenario])

    def termination_logits(self, condition: Tensor, scaled_variables: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads say of the end of a step, as training needs it.

        Args:
            condition: (..., E).
            scaled_variables: game variables after the step over `scales`, (..., V).

        Returns:
            logit of going on (...), and logits of the rewards (..., R).
        """
        v = scaled_variables.clamp(-1, 4)
        thresholds = [(v <= 0).to(v.dtype), (v < 0.1).to(v.dtype)]
        out = self.end(torch.cat([condition, v, *thresholds], -1))
        return out[..., 0], out[..., 1:]

    def continue_and_reward(self, condition: Tensor, variables: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """Probability that the episode goes on, and expected reward, both (...).

        Three rules of the game hold whatever the heads say. Rewards that the scenario never pays have no probability
        (`ScenarioLimits`). In some scenarios nothing but death ends an episode, so whoever has health left goes on. In
        others reaching the goal ends it, so an end is at least as likely as the goal's reward: without this rule a
        dream pays that reward again and again.

        Args:
            condition: (..., E).
            variables: game variables after the step, in the game's units, (..., V).
            scenario: index, (...).
        """
        continue_logit, reward_logits = self.termination_logits(condition, variables / self.scales)
        probabilities = reward_logits.masked_fill(~self.possible_rewards[scenario], -torch.inf).softmax(-1)
        goal = (probabilities * (self.rewards > self.goal_rewards[scenario][..., None])).sum(-1)
        continues = torch.minimum(continue_logit.sigmoid(), 1 - goal)
        alive = self.ends_only_by_death[scenario] & (variables[..., 0] > 0)
        return torch.where(alive, 1.0, continues), (probabilities * self.rewards).sum(-1)

    def termination_probability(self, h: Tensor, action: Tensor, variables: Tensor, scenario: Tensor) -> Tensor:
        """Probability (...) that an action ends the episode: exact over all changes of the first variable (health).

        Args:
            h: the trunk's feature, (..., E).
            action: buttons, (..., 9).
            variables: game variables before the step, in the game's units, (..., V).
            scenario: index, (...).
        """
        each = scenario[..., None]  # the changes are a dimension of their own, in front of the last one
        step = self.transition(h[..., None, :], action[..., None, :], each, every_change_of_the_first)
        after = self.changed_variables(variables[..., None, :], step.outcome, each)
        continues, _ = self.continue_and_reward(step.condition, after, each)
        probabilities = step.outcome_logits[..., 0, 0, :].softmax(-1)
        return (probabilities * (1 - continues)).sum(-1)
