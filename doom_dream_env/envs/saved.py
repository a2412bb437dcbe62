"""Saved dreams: what `get_state` returns, checked before a batch takes it up."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from doom_dream_env.mistakes import UserError
from doom_dream_env.world_model import DreamState

if TYPE_CHECKING:
    from doom_dream_env.envs.batch import DreamBatch

KEYS = ("state", "steps", "done", "generator", "scenario", "fingerprint")


def check_saved(batch: DreamBatch, saved: Any) -> None:
    """Can the batch go on from this?

    Raises:
        ValueError: if it is no saved dream, a damaged one, or one of other weights, of another scenario or of another
            number of environments.
    """
    if not isinstance(saved, dict) or (missing := [key for key in KEYS if key not in saved]):
        lack = f"a dict without {', '.join(missing)}" if isinstance(saved, dict) else type(saved).__name__
        raise UserError(f"a saved dream is what get_state() returned, got {lack}")
    model = batch.model
    if saved["fingerprint"] != model.fingerprint:
        raise UserError(f"this dream was saved with weights {saved['fingerprint']}, these are {model.fingerprint}")
    if saved["scenario"] != batch.scenario.name:
        raise UserError(f"this dream was saved in {saved['scenario']}, this environment dreams {batch.scenario.name}")
    check_state(batch, saved["state"])
    _check_tensor("steps", saved["steps"], batch.steps)
    _check_tensor("done", saved["done"], batch.done)
    if int(saved["steps"].min()) < 0:
        raise UserError(f"steps of a saved dream must be 0 or more, got {saved['steps'].tolist()}")
    generator = saved["generator"]
    size = len(batch.generator.get_state())
    if not isinstance(generator, Tensor) or generator.dtype != torch.uint8 or tuple(generator.shape) != (size,):
        raise UserError(
            f"the generator's state must be {size} bytes, as on this dream's device {batch.device}; a dream that was "
            "saved on another kind of device can be gone on from with resume(saved['state'], steps)"
        )


def check_state(batch: DreamBatch, state: Any) -> None:
    """Can the batch go on from this state?

    Raises:
        ValueError: if it holds another number of dreams, is of another scenario, has other shapes than the weights
            make, or is not finite.
    """
    if not isinstance(state, DreamState):
        raise UserError(f"the state of a dream must be a DreamState, got {type(state).__name__}")
    if isinstance(state.z, Tensor) and state.z.ndim and len(state) != batch.num_envs:
        raise UserError(f"this state holds {len(state)} dreams, there are {batch.num_envs} environments")
    expected = _example(batch)
    for field in fields(DreamState):
        _check_tensor(field.name, getattr(state, field.name), getattr(expected, field.name))
    context = batch.model.config.context
    if not bool(((state.length >= 0) & (state.length < context)).all()):
        raise UserError(f"length of a saved dream must be in 0…{context - 1}, got {state.length.tolist()}")
    index = batch.model.scenario_index(batch.scenario.name, 1)
    if not bool((state.scenario.to(index.device) == index).all()):
        names = (*batch.model.config.scenarios, "an unknown scenario")
        found = sorted({names[i] if 0 <= i < len(names) else f"scenario {i}" for i in state.scenario.tolist()})
        raise UserError(f"this state is of {', '.join(found)}, this environment dreams {batch.scenario.name}")


def _example(batch: DreamBatch) -> DreamState:
    """A state as the weights make it, (N, ...)."""
    if batch._example is None:
        config = batch.model.config
        z = torch.zeros(1, config.state_width, device=batch.device)
        variables = torch.zeros(1, len(config.variables), device=batch.device)
        one = batch.model.begin(z, variables, batch.model.scenario_index(batch.scenario.name, 1))
        batch._example = one.map(lambda tensor: tensor.expand(batch.num_envs, *tensor.shape[1:]))
    return batch._example


def _check_tensor(name: str, value: Any, expected: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise UserError(f"{name} of a saved dream must be a tensor, got {type(value).__name__}")
    if value.shape != expected.shape or value.dtype != expected.dtype:
        found = f"{value.dtype} {tuple(value.shape)}"
        raise UserError(f"{name} of a saved dream must be {expected.dtype} {tuple(expected.shape)}, got {found}")
    if not bool(value.isfinite().all()):
        raise UserError(f"{name} of a saved dream must be finite: this one is damaged")
