"""Dreams from real beginnings, played step by step with given buttons at temperature 1, drawn as a person sees them.

Legend: N dreams.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from doom_dream_env.scenarios import Buttons, Scenario, press
from doom_dream_env.world_model import DreamState, WorldModel

WAIT = 4  # steps of doing nothing until the gun is up


def pressed_by_all(keys: Sequence[Buttons], count: int) -> list[Tensor]:
    """For each step, its buttons (9,) for all N dreams: (N, 9)."""
    return [torch.from_numpy(key).float().expand(count, -1) for key in keys]


def begin_dreams(model: WorldModel, scenario: Scenario, count: int) -> DreamState:
    """N dreams from the real beginnings of a scenario, `WAIT` steps of doing nothing later."""
    z, variables = model.initial_states[scenario.place]
    chosen = torch.arange(count) % len(z)
    state = model.begin(z[chosen], variables[chosen], model.scenario_index(scenario.name, count))
    return dream_on(model, state, pressed_by_all([press()] * WAIT, count))[-1]


def dream_on(model: WorldModel, state: DreamState, buttons: Sequence[Tensor], seed: int = 0) -> list[DreamState]:
    """States after each of some steps with buttons (N, 9)."""
    generator = torch.Generator().manual_seed(seed)
    states = []
    for pressed in buttons:
        state, *_ = model.imagine(state, pressed, 1.0, generator)
        states.append(state)
    return states


def drawn_film(model: WorldModel, states: Sequence[DreamState | Tensor], buttons: Sequence[Tensor]) -> list[Tensor]:
    """Pictures of T successive states of N dreams, each of which remembers the one before: T times (N, 120, 160, 3).

    Args:
        model: who draws.
        states: dreams, or states (N, D).
        buttons: what was pressed between them, T − 1 times (N, 9).
    """
    generator = torch.Generator().manual_seed(0)
    codes = None
    pictures = []
    for state, pressed in zip(states, (None, *buttons), strict=True):
        picture, codes = model.draw(state, codes, pressed, generator)
        pictures.append(picture)
    return pictures
