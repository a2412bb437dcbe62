"""Plans tried in the dream: all plans of all environments in one model call a step.

Legend: n environments, P plans of each, K dreams of each plan, H steps, G groups of options, V variables, C groups of
the code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from doom_dream_env.agents.choices import ActionGroups
from doom_dream_env.agents.planning.objectives import DreamedStep, Objective
from doom_dream_env.world_model import DreamState, WorldModel


@torch.no_grad()
def score_plans(
    model: WorldModel,
    state: DreamState,
    plans: Tensor,
    groups: ActionGroups,
    noise: Tensor,
    objective: Objective,
    temperature: float,
) -> Tensor:
    """Score plans by dreaming them, all plans of an environment under the same luck (common random numbers).

    Two plans then differ by what they press and by nothing else, so far fewer dreams tell which is better. And plans
    that begin alike are dreamed once as far as they agree: of random plans that hold their actions that saves more than
    half of the steps.

    Args:
        model: the dream.
        state: n dreams.
        plans: choices, int64 (n, P, H, G).
        groups: the options that are chosen from.
        noise: the chance of every step, (H, n, K, V + C), see `WorldModel.imagine`.
        objective: what they are scored by.
        temperature: of the dreams.

    Returns:
        scores (n, P, K).
    """
    n, count, steps, _ = plans.shape
    dreams = noise.shape[2]
    device = plans.device
    # An option of each group as one number, so that equal actions are found by comparing numbers.
    radix = groups.exists.shape[1] ** torch.arange(groups.count, device=device)
    actions = (plans * radix).sum(-1)  # n, P, H
    limit = groups.exists.shape[1] ** groups.count

    # Branches of a tree; a plan follows one of them. They come environment by environment, K dreams of each.
    branch = torch.arange(n, device=device)[:, None].expand(n, count)
    environment = torch.arange(n, device=device)  # of each branch
    state = state.map(lambda x: x.repeat_interleave(dreams, 0))
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
        own = noise[step, environment].flatten(0, 1)
        after, reward, continues = model.imagine(state, buttons, temperature, noise=own)
        still_alive = alive * continues
        total = total + objective.gain(DreamedStep(step, state, buttons, after, reward, alive, still_alive))
        state = after
        alive = still_alive
    total = total + objective.end(steps, state, alive)
    return total.reshape(-1, dreams)[branch]


def mean_scores(model: WorldModel, state: DreamState, buttons: Tensor, objective: Objective) -> Tensor:
    """Scores (B,) of relaxed buttons, between 0 and 1, (B, H, 9), in the mean future; gradients reach the buttons."""
    alive = torch.ones(len(state), device=buttons.device)
    total = torch.zeros_like(alive)
    steps = buttons.shape[1]
    for step in range(steps):
        after, reward, continues = model.imagine(state, buttons[:, step], temperature=0)
        still_alive = alive * continues
        total = total + objective.gain(DreamedStep(step, state, buttons[:, step], after, reward, alive, still_alive))
        state = after
        alive = still_alive
    return total + objective.end(steps, state, alive)
