"""One dreamed step, the decoder and the agents as ONNX graphs, traced from the modules themselves.

Nothing is written anew: `torch.export` follows `WorldModel.imagine`, `WorldModel.draw` and `Agent.logits`.

Legend: B batch, D state width, F features, V variables, G groups of the code, n actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from doom_dream_env.agents import Agent
from doom_dream_env.envs.base import FEATURE_LIMIT
from doom_dream_env.errors import install_command
from doom_dream_env.export.variants import quiet
from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.decoder import CODES, UNKNOWN

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
STATE = tuple(field.name for field in fields(DreamState))  # names of the tensors that a dream consists of
BATCH = "batch"  # name of the first dimension
NEXT = "next_"  # in front of their names after a step
EXAMPLE_BATCH = 2  # a batch of one would be traced as a graph for one


def require_onnx() -> None:
    """Are the libraries there that export needs?

    Raises:
        ModuleNotFoundError: if not; says how to install them.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"exporting needs onnx, onnxruntime and onnxscript; {error.name} is missing: {install_command('export')}",
            name=error.name,
        ) from None


@dataclass(frozen=True)
class Graph:
    """A traced graph.

    Attributes:
        name: what the manifest calls it.
        proto: the ONNX model, in float32.
        example: inputs that it was traced with, by name.
    """

    name: str
    proto: ModelProto
    example: Mapping[str, Tensor]

    @property
    def inputs(self) -> list[str]:
        """Names of what goes in."""
        return [value.name for value in self.proto.graph.input]

    @property
    def outputs(self) -> list[str]:
        """Names of what comes out."""
        return [value.name for value in self.proto.graph.output]


class _Sampling(TorchFunctionMode):
    """Answers whether the temperature is above 0, which a tensor without a value cannot: yes."""

    def __init__(self, temperature: Tensor) -> None:
        super().__init__()
        self.temperature = temperature

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.gt, Tensor.__gt__) and args[0] is self.temperature:
            return True
        return func(*args, **(kwargs or {}))


class _Step(nn.Module):
    """State tensors, action, noise and temperature (above 0) → next state, reward, continue probability, features.

    Without `sampling` it is the dream at temperature 0, which has no noise.
    """

    def __init__(self, model: WorldModel, sampling: bool) -> None:
        super().__init__()
        self.model = model
        self.sampling = sampling
        self.changed: list[str] = []

    def outputs(self, inputs: Mapping[str, Tensor]) -> list[str]:
        """Names of what `forward` returns; tensors that a step leaves as they are do not come out again."""
        before = DreamState(*(inputs[name] for name in STATE))
        after, _, _ = self.model.imagine(before, inputs["action"], 0.0)
        self.changed = [name for name in STATE if getattr(after, name) is not getattr(before, name)]
        return [*(NEXT + name for name in self.changed), "reward", "continues", "features", "drift"]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given, (action, *chance) = inputs[: len(STATE)], inputs[len(STATE) :]
        state = DreamState(*given)
        if self.sampling:
            noise, temperature = chance
            with _Sampling(temperature):
                after, reward, continues = self.model.imagine(
                    state,
                    action,
                    temperature,  # type: ignore[arg-type]  # a number in dreams, here an input of the graph
                    noise=noise,
                )
        else:
            after, reward, continues = self.model.imagine(state, action, 0.0)
        said = (reward, continues, self.model.features(after), self.model.drift(after))
        return (*(getattr(after, name) for name in self.changed), *said)


class _Decoder(nn.Module):
    """States, codes of the pictures before, action and noise → pictures uint8 (B, 120, 160, 3) and their codes."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        z, codes, action, luck = inputs
        return self.model.draw(z, codes, action, noise=luck)


class _AgentGraph(nn.Module):
    """Features (B, F) → probabilities of the actions (B, n), or of each of the nine buttons (B, 9)."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.network = agent.network
        self.agent = agent

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        logits = self.agent.logits(inputs[0].clamp(-FEATURE_LIMIT, FEATURE_LIMIT))
        return (logits.sigmoid() if self.agent.card.buttons else logits.softmax(-1),)


def trace(name: str, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> Graph:
    """Trace a module for any batch.

    Args:
        name: of the graph.
        module: takes the tensors of `inputs` in order, returns a tuple.
        inputs: example tensors; those with dimensions have the batch first.
        outputs: names of what it returns.
    """
    values = tuple(tensor.contiguous() for tensor in inputs.values())
    batch = torch.export.Dim(BATCH, min=1, max=1 << 16)
    shapes = tuple({0: batch} if tensor.ndim else {} for tensor in values)
    with quiet(), torch.no_grad():
        program = torch.export.export(module.eval(), values, dynamic_shapes=(shapes,), strict=False)
        exported = torch.onnx.export(
            program,
            opset_version=OPSET,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    assert exported is not None
    proto = exported.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:  # torch.export calls it by a number
                dimension.dim_param = BATCH
    return Graph(name, proto, dict(inputs))


def example_state(model: WorldModel) -> DreamState:
    """Two dreams of different scenarios, so that nothing that depends on one of them can be taken for a constant."""
    scenario = torch.arange(EXAMPLE_BATCH, device=model.device) % len(model.config.scenarios)
    z = torch.zeros(EXAMPLE_BATCH, model.config.state_width, device=model.device)
    state = model.begin(z, model.scales.expand(EXAMPLE_BATCH, -1).clone(), scenario)
    # Tensors that have the batch as a stride of 0 are copied: tracing would take them for one row.
    return replace(state, length=state.length.clone(), elapsed=state.elapsed.clone())


def step_graph(model: WorldModel, sampling: bool = True) -> Graph:
    """The dreamed step: at any temperature above 0, or (not `sampling`) at temperature 0."""
    state = example_state(model)
    inputs = {name: getattr(state, name) for name in STATE}
    inputs["action"] = torch.zeros(EXAMPLE_BATCH, len(BUTTONS))
    if sampling:
        inputs["noise"] = model.dynamics.draw_noise(EXAMPLE_BATCH, torch.Generator().manual_seed(0))
        inputs["temperature"] = torch.tensor(1.0)
    step = _Step(model, sampling)
    return trace("step" if sampling else "central", step, inputs, step.outputs(inputs))


def decoder_graph(model: WorldModel) -> Graph:
    """States to pictures, drawn given the pictures before."""
    inputs = {
        "z": torch.zeros(EXAMPLE_BATCH, model.config.state_width),
        "codes": torch.full((EXAMPLE_BATCH, *CODES), UNKNOWN),
        "action": torch.zeros(EXAMPLE_BATCH, len(BUTTONS)),
        "luck": torch.full((EXAMPLE_BATCH, *model.decoder.noise_shape), 0.5),
    }
    return trace("decoder", _Decoder(model), inputs, ["pixels", f"{NEXT}codes"])


def agent_graph(model: WorldModel, agent: Agent) -> Graph:
    """Features to probabilities of the actions."""
    features = torch.zeros(EXAMPLE_BATCH, model.config.feature_width)
    return trace(f"agent_{agent.card.scenario}", _AgentGraph(agent), {"features": features}, ["probabilities"])
