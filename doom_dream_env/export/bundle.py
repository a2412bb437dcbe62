"""The folder of an export: graphs, worlds, the page, and a manifest that is written last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from doom_dream_env import __version__
from doom_dream_env.agents import Agent, shipped_agents
from doom_dream_env.export import deviation
from doom_dream_env.export.graphs import (
    OPSET,
    STATE,
    Graph,
    agent_graph,
    decoder_graph,
    example_state,
    require_onnx,
    step_graph,
)
from doom_dream_env.export.sources import MANIFEST, PACKAGE, sources
from doom_dream_env.export.variants import VARIANTS, Runner
from doom_dream_env.export.worlds import description, places_of, poster, starts
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import BUTTONS, FRAME_SHAPE, TICS_PER_SECOND
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.decoder import CODES
from doom_dream_env.world_model.files import write_atomically, write_json

FORMAT = "doom-dream-export"
FORMAT_VERSION = 2
# What a float32 graph may be off from torch; more is a bug. Where two patches are as likely, either may be drawn.
TRUTH = deviation.Tolerance(state=1e-3, variables=1e-3, continues=1e-3, codes=0.01, probabilities=1e-3)
PAGE = (PACKAGE / "web" / "static", PACKAGE / "web" / "runtime")  # folders whose files become the page


@dataclass(frozen=True)
class ExportConfig:
    """What is exported.

    Attributes:
        out: folder to write.
        weights: as for `WorldModel.from_pretrained`.
        scenarios: names; empty: all that the weights have first moments of.
        tolerance: what a smaller variant may be off.
    """

    out: Path
    weights: str | Path | None = None
    scenarios: tuple[str, ...] = ()
    tolerance: deviation.Tolerance = field(default_factory=deviation.Tolerance)


@dataclass(frozen=True)
class _Folder:
    """Writes files, and says how far it is."""

    root: Path
    bar: tqdm

    def add(self, name: str, data: bytes) -> dict[str, Any]:
        """Write one; returns what the manifest says of it."""
        write_atomically(self.root / name, data)
        return {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _add_graph(
    folder: _Folder, graph: Graph, measure: Callable[[Runner], dict[str, float]], tolerance: deviation.Tolerance
) -> dict[str, Any]:
    """Write every variant of a graph that is near enough to torch.

    Raises:
        RuntimeError: if the float32 graph is not what torch computes.
    """
    variants: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name, convert in VARIANTS.items():
        data = convert(graph.proto)
        found = measure(Runner(data))
        if name == "float32" and (wrong := TRUTH.broken_by(found)):
            raise RuntimeError(f"the graph {graph.name} is not what torch computes: {wrong}; please report this")
        if reason := tolerance.broken_by(found):
            left_out[name] = reason
        else:
            variants[name] = folder.add(f"graphs/{graph.name}.{name}.onnx", data) | {"deviation": found}
        folder.bar.update()
    return {"inputs": graph.inputs, "outputs": graph.outputs, "variants": variants, "left_out": left_out}


def _add_worlds(folder: _Folder, model: WorldModel, places: list[str], agents: dict[str, Any]) -> list[dict[str, Any]]:
    worlds = []
    for place in places:
        world = description(model, place)
        world["starts"] = folder.add(f"worlds/{world['name']}.safetensors", starts(model, place))
        world["starts"]["count"] = len(model.initial_states[place][0])
        world["poster"] = folder.add(f"worlds/{world['name']}.png", poster(model, place))
        world["agent"] = world["scenario"] if world["scenario"] in agents else None
        worlds.append(world)
        folder.bar.update()
    return worlds


def _add_page(folder: _Folder) -> list[dict[str, Any]]:
    files = []
    for source in PAGE:
        prefix = "" if source.name == "static" else f"{source.name}/"
        for path in sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            files.append(folder.add(prefix + path.relative_to(source).as_posix(), path.read_bytes()))
    return files


def write_export(config: ExportConfig) -> dict[str, Any]:
    """Write graphs, worlds, agents and the page; returns the manifest, without which no reader takes the folder.

    Raises:
        ModuleNotFoundError: if a library of the extra `export` is missing.
        FileNotFoundError, ValueError: as for `WorldModel.from_pretrained`, and if a scenario is not in the weights.
        RuntimeError: if a graph is not what torch computes.
    """
    require_onnx()
    model = WorldModel.from_pretrained(config.weights)
    places = places_of(model, config.scenarios)
    scenarios = dict.fromkeys(place.partition(":")[0] for place in places)
    players = {name: Agent.load(name, model.fingerprint) for name in shipped_agents(model.fingerprint)}
    players = {name: agent for name, agent in players.items() if name in scenarios}
    (config.out / MANIFEST).unlink(missing_ok=True)
    total = len(VARIANTS) * (3 + len(players)) + len(places)
    with progress(total=total, desc="export", unit="part", leave=False) as bar:
        manifest = _write_parts(config, model, places, players, _Folder(config.out, bar))
    write_json(config.out / MANIFEST, manifest)
    return manifest


def _write_parts(
    config: ExportConfig, model: WorldModel, places: list[str], players: dict[str, Agent], folder: _Folder
) -> dict[str, Any]:
    """Write everything but the manifest, which is returned."""
    tolerance = config.tolerance
    steps = deviation.dream_steps(model, places, 1.0)
    central = deviation.dream_steps(model, places, 0.0)
    tasks: list[tuple[Callable[[], Graph], Callable[[Runner], dict[str, float]]]] = [
        (partial(step_graph, model), partial(deviation.of_steps, steps)),
        (partial(step_graph, model, sampling=False), partial(deviation.of_steps, central)),
        (partial(decoder_graph, model), partial(deviation.of_pictures, model, steps)),
    ]
    graphs: dict[str, Any] = {}
    for make, measure in tasks:
        graph = make()
        graphs[graph.name] = _add_graph(folder, graph, measure, tolerance)
    agents = {
        name: {"buttons": agent.card.buttons}
        | _add_graph(folder, agent_graph(model, agent), partial(deviation.of_agent, model, steps, agent), tolerance)
        for name, agent in players.items()
    }
    example = example_state(model)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "weights": {"name": model.config.name, "fingerprint": model.fingerprint},
        "sources": sources(config.weights),
        "opset": OPSET,
        "tics_per_second": TICS_PER_SECOND,
        "frame": list(FRAME_SHAPE),
        "buttons": list(BUTTONS),
        "variables": list(model.config.variables),
        "scales": model.scales.tolist(),
        "noise_width": model.dynamics.draw_noise(1).shape[1],
        "drawing": {"codes": list(CODES), "luck": list(model.decoder.noise_shape)},
        "state": {
            name: {"type": str(value.dtype).removeprefix("torch."), "shape": list(value.shape[1:])}
            for name in STATE
            for value in [getattr(example, name)]
        },
        "graphs": graphs,
        "agents": agents,
        "worlds": _add_worlds(folder, model, places, agents),
        "page": _add_page(folder),
    }
