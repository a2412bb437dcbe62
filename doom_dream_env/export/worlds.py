"""What a dream begins with, outside Python: first moments as whole states, the actions, and a picture of each world."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from doom_dream_env.agents.quality import Quality, best_first, qualities
from doom_dream_env.errors import UserError
from doom_dream_env.export.deviation import arrays, first_moments
from doom_dream_env.scenarios import Scenario, get_scenario
from doom_dream_env.world_model import WorldModel

NEWEST = 1  # slots of the cache that a first moment fills


def places_of(model: WorldModel, scenarios: tuple[str, ...]) -> list[str]:
    """Places that the weights have first moments of, each once.

    Args:
        model: the weights.
        scenarios: names; empty: all, those with the best dreams first.

    Raises:
        ValueError: if there are none of a scenario.
    """
    known = best_first(dict.fromkeys(place.partition(":")[0] for place in model.initial_states), model.source)
    for name in scenarios:
        if name not in known:
            raise UserError(f"these weights have no first moments of {name!r}; choose from {', '.join(known)}")
    wanted = scenarios or known
    return [
        place for name in dict.fromkeys(wanted) for place in model.initial_states if place.partition(":")[0] == name
    ]


def starts(model: WorldModel, place: str) -> bytes:
    """All first moments of a place as safetensors: the tensors of `DreamState`, float32 and int64, N dreams.

    Of `cache` (N, L, 2, W, E) only the newest of the W steps is there, all that a first moment fills: (N, L, 2, 1, E).
    The older ones are zeros.
    """
    from safetensors.numpy import save

    state = arrays(first_moments(model, [place], len(model.initial_states[place][0])))
    state["cache"] = state["cache"][:, :, :, -NEWEST:]
    return save({name: np.ascontiguousarray(values) for name, values in state.items()})


def poster(model: WorldModel, place: str) -> bytes:
    """The decoded picture of the first of them, PNG."""
    buffer = io.BytesIO()
    Image.fromarray(model.decode(first_moments(model, [place], 1))[0].numpy()).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def description(model: WorldModel, place: str) -> dict[str, Any]:
    """What a player must know of a world."""
    name, _, map_name = place.partition(":")
    scenario: Scenario = get_scenario(name)
    quality = qualities(model.source).get(name, Quality())
    return {
        "name": place.replace(":", "-"),
        "scenario": name,
        "map": map_name or None,
        "description": scenario.description,
        "quality": f"The dream is {quality.text}.",
        "buttons": list(scenario.buttons),
        "discrete": scenario.discrete,
        "actions": scenario.action_table().tolist(),
        "variables": list(scenario.variables),
        "points": scenario.points,
        "time_limit": scenario.time_limit,
        "tics_per_step": scenario.frame_skip,
    }
