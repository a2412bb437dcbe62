"""Plans tried in the dream: all plans of all environments in one model call a step.

Legend: n environments, P plans of each, K dreams of each plan, H steps, G groups of options, D state width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from doom_dream_env.agents.planning.actions import ActionGroups
from doom_dream_env.agents.planning.objectives import DreamedStep, Objective
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.outcomes import expected


@dataclass(frozen=True)
class Luck:
    """The chance of K dreams: what all plans of an environment are tried under (common random numbers).

    Two plans then differ by what they press and by nothing else, so far fewer dreams tell which is better.

    Attributes:
        states: K copies of each environment's state, environment by environment, n·K dreams. With weights that were
            trained with dropout each copy follows a network of its own, the same one under every plan.
        noise: of every step, (H, n, K, V + groups of the code), see `WorldModel.imagine`.
    """

    states: DreamState
    noise: Tensor

    @classmethod
    def draw(
        cls,
        model: WorldModel,
        state: DreamState,
        dreams: int,
        steps: int,
        generator: torch.Generator,
        temperature: float = 1.0,
    ) -> Luck:
        """Draw that of n environments; at temperature 0 all dreams follow the mean network."""
        n = len(state)
        copies = follow_mean_network(state).map(lambda x: x.repeat_interleave(dreams, 0))
        if temperature > 0:
            copies = model.with_dropout(copies, generator)
        noise = model.dynamics.draw_noise(steps * n * dreams, generator).reshape(steps, n, dreams, -1)
        return cls(copies, noise)


def follow_mean_network(state: DreamState) -> DreamState:
    """The same dreams without masks: whoever plans in a dream does not know which network that one follows."""
    return replace(state, dropout=torch.ones_like(state.dropout))


@torch.no_grad()
def score_plans(
    model: WorldModel,
    plans: Tensor,
    groups: ActionGroups,
    luck: Luck,
    objective: Objective,
    temperature: float,
) -> Tensor:
    """Score plans by dreaming them.

    Plans that begin alike are dreamed once as far as they agree: with equal luck their dreams are the same. Of the 21
    plans of take_cover that saves a third of the steps, of random plans that hold their actions more than half.

    Args:
        model: the dream.
        plans: choices, int64 (n, P, H, G).
        groups: the options that are chosen from.
        luck: of the dreams.
        objective: what they are scored by.
        temperature: of the dreams.

    Returns:
        scores (n, P, K).
    """
    n, count, steps, _ = plans.shape
    dreams = luck.noise.shape[2]
    device = plans.device
    # An option of each group as one number, so that equal actions are found by comparing numbers.
    radix = groups.exists.shape[1] ** torch.arange(groups.count, device=device)
    actions = (plans * radix).sum(-1)  # n, P, H
    limit = groups.exists.shape[1] ** groups.count

    # Branches of a tree; a plan follows one of them. They come environment by environment, K dreams of each.
    branch = torch.arange(n, device=device)[:, None].expand(n, count)
    environment = torch.arange(n, device=device)  # of each branch
    state = luck.states
    total = torch.zeros(n * dreams, device=device)
    alive = torch.ones(n * dreams, device=device)
    of_dream = torch.arange(dreams, device=device)
    for step in range(steps):
        follows, branch = torch.unique(branch * limit + actions[:, :, step], return_inverse=True)
        parent = follows // limit
        if len(parent) != len(environment):  # some branches part here
            lanes = (parent[:, None] * dreams + of_dream).flatten()
            state = state[lanes]
            total = total[lanes]
            alive = alive[lanes]
            environment = environment[parent]
        chosen = (follows % limit)[:, None] // radix % groups.exists.shape[1]
        buttons = groups.buttons(chosen).repeat_interleave(dreams, 0)
        noise = luck.noise[step, environment].flatten(0, 1)
        after, reward, continues = model.imagine(state, buttons, temperature, noise=noise)
        still_alive = alive * continues
        total = total + objective.gain(DreamedStep(step, state, buttons, after, reward, alive, still_alive))
        state = after
        alive = still_alive
    total = total + objective.end(steps, state, alive)
    return total.reshape(-1, dreams)[branch]


def score_relaxed(model: WorldModel, state: DreamState, buttons: Tensor, objective: Objective) -> Tensor:
    """Score plans of relaxed buttons in the expected future; gradients reach the buttons.

    A sampled future is a decision, which no gradient passes. Here every step takes the distribution over changes of the
    game variables as it is (`expected`), so variables are means, and the mean next state. The risk of an end is exact
    over all changes of health.

    Args:
        model: the dream.
        state: B dreams that follow the mean network.
        buttons: between 0 and 1, (B, H, 9).
        objective: what plans are scored by.

    Returns:
        scores (B,).
    """
    dynamics = model.dynamics
    alive = torch.ones(len(state), device=buttons.device)
    total = torch.zeros_like(alive)
    steps = buttons.shape[1]
    for step in range(steps):
        pressed = buttons[:, step]
        transition = dynamics.transition(state.h, pressed, state.scenario, expected)
        variables = dynamics.changed_variables(state.variables, transition.outcome, state.scenario)
        _, reward = dynamics.continue_and_reward(transition.condition, variables, state.scenario)
        ends = dynamics.termination_probability(state.h, pressed, state.variables, state.scenario)
        z = model.manifold(dynamics.next_state(state.z, transition.condition), state.scenario)
        after = model.advance(state, z, variables, pressed)
        still_alive = alive * (1 - ends)
        total = total + objective.gain(DreamedStep(step, state, pressed, after, reward, alive, still_alive))
        state = after
        alive = still_alive
    return total + objective.end(steps, state, alive)
