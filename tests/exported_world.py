"""An exported folder of tiny random weights with an agent, for every test that reads one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from doom_dream_env.agents import Agent
from doom_dream_env.agents import agent as agents
from doom_dream_env.agents.agent import AgentCard, make_network
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel

EXPORTED = ("take_cover", "defend_the_center")


def make_agent(model: WorldModel, scenario: str = "take_cover") -> Agent:
    """A random agent of a model."""
    torch.manual_seed(0)
    actions = len(get_scenario(scenario).action_table())
    network = make_network([model.config.feature_width, 32, actions], "Tanh")
    return Agent(AgentCard(scenario, model.fingerprint, model.source, "Tanh"), network)


@pytest.fixture(scope="session")
def exported(weights: Path, model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and its manifest. Not to be changed by a test."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from doom_dream_env.export.bundle import ExportConfig, write_export

    shipped = tmp_path_factory.mktemp("agents")
    make_agent(model).save(shipped / "take_cover")
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents, "SHIPPED", shipped)
        manifest = write_export(ExportConfig(folder, weights, EXPORTED))
    return folder, manifest
