"""Saved dreams: what `DreamBatch.get_state` returns, checked before a batch takes it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.world_model import DreamState


def check_saved(saved: Any, expected: Mapping[str, Any], scenarios: Sequence[str]) -> None:
    """Can a batch go on from this?

    Args:
        saved: what somebody gives.
        expected: what `get_state` of the batch gives.
        scenarios: names of those that the weights know.

    Raises:
        ValueError: if it is no saved dream, a damaged one, or one of other weights, of another scenario or of another
            number of environments.
    """
    if not isinstance(saved, dict) or (missing := [key for key in expected if key not in saved]):
        lack = f"a dict without {', '.join(missing)}" if isinstance(saved, dict) else type(saved).__name__
        raise UserError(f"a saved dream is what get_state() returned, got {lack}")
    if saved["fingerprint"] != expected["fingerprint"]:
        raise UserError(
            f"this dream was saved with weights {saved['fingerprint']}, these are {expected['fingerprint']}"
        )
    if saved["scenario"] != expected["scenario"]:
        raise UserError(f"this dream was saved in {saved['scenario']}, this environment dreams {expected['scenario']}")
    check_state(saved["state"], expected["state"], scenarios)
    _check_tensor("steps", saved["steps"], expected["steps"])
    _check_tensor("done", saved["done"], expected["done"])
    if int(saved["steps"].min()) < 0:
        raise UserError(f"steps of a saved dream must be 0 or more, got {saved['steps'].tolist()}")
    generator = saved["generator"]
    size = len(expected["generator"])
    if not isinstance(generator, Tensor) or generator.dtype != torch.uint8 or tuple(generator.shape) != (size,):
        raise UserError(
            f"the generator's state must be {size} bytes, as on this dream's device {expected['done'].device}; a dream "
            "that was saved on another kind of device can be gone on from with resume(saved['state'], steps)"
        )


def check_state(state: Any, expected: DreamState, scenarios: Sequence[str]) -> None:
    """Can a batch go on from this state?

    Args:
        state: what somebody gives.
        expected: a state of the batch's own.
        scenarios: names of those that the weights know.

    Raises:
        ValueError: if it holds another number of dreams, is of another scenario, has other shapes than the weights
            make, or is not finite.
    """
    if not isinstance(state, DreamState):
        raise UserError(f"the state of a dream must be a DreamState, got {type(state).__name__}")
    if isinstance(state.z, Tensor) and state.z.ndim and len(state) != len(expected):
        raise UserError(f"this state holds {len(state)} dreams, there are {len(expected)} environments")
    for field in fields(DreamState):
        _check_tensor(field.name, getattr(state, field.name), getattr(expected, field.name))
    context = expected.cache.shape[3]
    if not bool(((state.length >= 0) & (state.length < context)).all()):
        raise UserError(f"length of a saved dream must be in 0…{context - 1}, got {state.length.tolist()}")
    names = (*scenarios, "an unknown scenario")
    if not bool((state.scenario.to(expected.scenario.device) == expected.scenario).all()):
        found = sorted({names[i] if 0 <= i < len(names) else f"scenario {i}" for i in state.scenario.tolist()})
        here = names[int(expected.scenario[0])]
        raise UserError(f"this state is of {', '.join(found)}, this environment dreams {here}")


def _check_tensor(name: str, value: Any, expected: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise UserError(f"{name} of a saved dream must be a tensor, got {type(value).__name__}")
    if value.shape != expected.shape or value.dtype != expected.dtype:
        found = f"{value.dtype} {tuple(value.shape)}"
        raise UserError(f"{name} of a saved dream must be {expected.dtype} {tuple(expected.shape)}, got {found}")
    if not bool(value.isfinite().all()):
        raise UserError(f"{name} of a saved dream must be finite: this one is damaged")
