"""How far a graph in ONNX Runtime is from the torch model that it was traced from.

Both are given the same real moments and the same noise at every step, so that an error is that of one step.

Legend: B dreams, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from doom_dream_env.agents import Agent
from doom_dream_env.envs.base import FEATURE_LIMIT
from doom_dream_env.export.graphs import NEXT
from doom_dream_env.export.variants import Arrays, Runner
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import DreamState, WorldModel

STEPS = 16
STARTS = 2  # of each world
HELD = 4  # steps for which an action is held


@dataclass(frozen=True)
class Tolerance:
    """What a variant may be off to be exported.

    Attributes:
        state: median error of a next state, as a share of what one step changes (root mean square).
        variables: share of steps in which a game variable differs.
        continues: mean error of the probability that the episode goes on.
        codes: share of the patches of a picture that are others.
        probabilities: mean error of an agent's probabilities.
    """

    state: float = 0.1
    variables: float = 0.01
    continues: float = 0.002
    codes: float = 0.05
    probabilities: float = 0.02

    def broken_by(self, deviation: dict[str, float]) -> str:
        """What is further off than allowed, as text; empty: nothing."""
        limits = {field.name: getattr(self, field.name) for field in fields(self)}
        wrong = [f"{name} {value:.3g} > {limits[name]:g}" for name, value in deviation.items() if value > limits[name]]
        return ", ".join(wrong)


@dataclass(frozen=True)
class Steps:
    """Dreamed steps as torch sees them.

    Attributes:
        inputs: of each step, by name, as the graphs take them.
        next_states: DreamState after each step.
        continues: probabilities that the episode goes on, (T, B).
    """

    inputs: list[Arrays]
    next_states: list[DreamState]
    continues: npt.NDArray


def arrays(state: DreamState) -> Arrays:
    """The tensors of a dream, by name."""
    return {field.name: getattr(state, field.name).numpy() for field in fields(state)}


def first_moments(model: WorldModel, places: Sequence[str], count: int) -> DreamState:
    """The first `count` dreams of each of some places."""
    states = []
    for place in places:
        z, variables = (part[:count] for part in model.initial_states[place])
        states.append(model.begin(z, variables, model.scenario_index(place.partition(":")[0], len(z))))
    return DreamState.cat(states)


@torch.inference_mode()
def dream_steps(model: WorldModel, places: Sequence[str], temperature: float) -> Steps:
    """Random play in all places, T steps of B dreams."""
    rng = np.random.default_rng(0)
    state = first_moments(model, places, STARTS)
    tables = [get_scenario(model.config.scenarios[index]).action_table() for index in state.scenario]
    inputs, states, continues = [], [], []
    for step in range(STEPS):
        if step % HELD == 0:
            action = np.stack([table[rng.integers(len(table))] for table in tables]).astype(np.float32)
        noise = rng.random((len(state), model.dynamics.draw_noise(1).shape[1]), np.float32)
        given = arrays(state) | {"action": action, "noise": noise, "temperature": np.array(temperature, np.float32)}
        state, _, goes_on = model.imagine(state, action, temperature, noise=torch.from_numpy(noise))
        inputs.append(given)
        states.append(state)
        continues.append(goes_on.numpy())
    return Steps(inputs, states, np.stack(continues))


def rms(values: npt.NDArray, axis: int | None = None) -> npt.NDArray:
    """Root mean square."""
    return np.sqrt(np.mean(np.square(values, dtype=np.float64), axis))


def of_steps(steps: Steps, runner: Runner) -> dict[str, float]:
    """Deviation of a step graph."""
    found = [runner(given) for given in steps.inputs]
    z = np.stack([state.z.numpy() for state in steps.next_states])
    change = rms(z - np.stack([given["z"] for given in steps.inputs]))
    variables = np.stack([state.variables.numpy() for state in steps.next_states])
    errors = rms(np.stack([one[f"{NEXT}z"] for one in found]) - z, -1)
    differ = (np.stack([one[f"{NEXT}variables"] for one in found]) != variables).any(-1)
    continues = np.abs(np.stack([one["continues"] for one in found]) - steps.continues)
    return {
        "state": float(np.median(errors) / change),
        "variables": float(differ.mean()),
        "continues": float(continues.mean()),
    }


@torch.inference_mode()
def of_pictures(model: WorldModel, steps: Steps, runner: Runner) -> dict[str, float]:
    """Deviation of a decoder graph, on the last two states."""
    before, after = steps.next_states[-2:]
    action = steps.inputs[-1]["action"]
    luck = np.random.default_rng(0).random((len(after), *model.decoder.noise_shape), np.float32)
    _, codes = model.draw(before, noise=torch.from_numpy(luck))
    _, expected = model.draw(after, codes, torch.from_numpy(action), noise=torch.from_numpy(luck))
    found = runner({"z": after.z.numpy(), "codes": codes.numpy(), "action": action, "luck": luck})[f"{NEXT}codes"]
    return {"codes": float((found != expected.numpy()).mean())}


@torch.inference_mode()
def of_agent(model: WorldModel, steps: Steps, agent: Agent, runner: Runner) -> dict[str, float]:
    """Deviation of an agent's graph, on the last states."""
    features = model.features(steps.next_states[-1])
    logits = agent.logits(features.clamp(-FEATURE_LIMIT, FEATURE_LIMIT))
    expected = logits.sigmoid() if agent.card.buttons else logits.softmax(-1)
    found = runner({"features": features.numpy()})["probabilities"]
    return {"probabilities": float(np.abs(found - expected.numpy()).mean())}
