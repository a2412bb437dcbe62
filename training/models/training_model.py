"""The world model with the heads that exist in training only, and how to read it from a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import BUTTONS, SCENARIOS
from doom_dream_env.world_model import WorldModel, WorldModelConfig
from doom_dream_env.world_model.files import read_checked
from doom_dream_env.world_model.origins import from_json
from training.data.annotations import OBJECT_MAP_SHAPE
from training.models.losses import inverse_dynamics_loss
from training.models.readouts import PrivilegedReadouts

OBJECT_HEAD_WIDTH = 256
INVERSE_WIDTH = 256  # hidden width of the inverse dynamics


class TrainingModel(nn.Module):
    """What the stages representation and dynamics train.

    Attributes:
        places: maps that the readout of the pose knows.
        readouts: linear heads for what the game knows and no frame says.
        world_model: what is kept in the end.
        object_head: object maps read off a state.
        trunk_object_head: object maps read off the trunk's feature, linearly: what an agent can read at a glance.
        posterior: probabilities of the codes for somebody who has seen the next state (see `posterior_sample`).
        inverse: inverse dynamics: which buttons lay between two states (see `inverse_loss`).
        available: which buttons each scenario has, float32 (scenarios, 9).
    """

    available: Tensor

    def __init__(self, config: WorldModelConfig, places: Sequence[str] = ()) -> None:
        """Make a random model; without `places`, every scenario is one place."""
        super().__init__()
        state = config.state_width
        trunk = config.trunk_width
        cells = math.prod(OBJECT_MAP_SHAPE)
        self.places = tuple(places) or config.scenarios
        self.readouts = PrivilegedReadouts(state + trunk, len(self.places))
        self.world_model = WorldModel(config)
        self.object_head = nn.Sequential(
            nn.Linear(state, OBJECT_HEAD_WIDTH), nn.GELU(), nn.Linear(OBJECT_HEAD_WIDTH, cells)
        )
        self.trunk_object_head = nn.Linear(trunk, cells)
        self.posterior = nn.Sequential(
            nn.Linear(trunk + 2 * state, config.code_width),
            nn.GELU(),
            nn.Linear(config.code_width, config.code_groups * config.code_size),
        )
        self.inverse = nn.Sequential(
            nn.Linear(2 * state, INVERSE_WIDTH), nn.GELU(), nn.Linear(INVERSE_WIDTH, len(BUTTONS))
        )
        known = [SCENARIOS.get(name) for name in config.scenarios]
        buttons = [BUTTONS if scenario is None else scenario.buttons for scenario in known]
        available = torch.tensor([[float(button in some) for button in BUTTONS] for some in buttons])
        self.register_buffer("available", available, persistent=False)

    def inverse_loss(
        self, z: Tensor, following: Tensor, buttons: Tensor, scenario: Tensor, mask: Tensor, *, learn: bool
    ) -> Tensor:
        """How badly the buttons can be told that lay between two states, see `inverse_dynamics_loss`.

        Args:
            z: states (B, T, D).
            following: the states after them, real or predicted, (B, T, D).
            buttons: what was pressed, (B, T, 9).
            scenario: index, (B,).
            mask: which steps count, (B, T).
            learn: whether the network itself gets gradients. On predicted states it must not: it and the dynamics
                would agree on a code of their own for the buttons (measured: a cross entropy of 0.05 on predicted
                pairs, 0.21 on real ones).
        """
        pair = torch.cat([z, following - z], -1)
        frozen = {name: tensor.detach() for name, tensor in self.inverse.named_parameters()}
        logits = self.inverse(pair) if learn else torch.func.functional_call(self.inverse, frozen, (pair,))
        return inverse_dynamics_loss(logits, buttons, self.available[scenario], mask)

    def about(self, seed: int) -> dict[str, object]:
        """What a checkpoint says of itself."""
        origins = [asdict(origin) for origin in self.world_model.origins]
        return {"config": self.world_model.config.to_dict(), "places": self.places, "origins": origins, "seed": seed}


def load_training_model(path: Path) -> TrainingModel:
    """A model from the checkpoint of any stage, in evaluation mode.

    Raises:
        FileNotFoundError: if the stage before has not been run.
        ValueError: if the checkpoint is damaged; the message names it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run the stage that writes it first (see training.pipeline)")
    try:
        metadata, found = read_checked(path)
        about = json.loads(metadata["about"])
        tensors = {key.removeprefix("module."): value for key, value in found.items() if key.startswith("module.")}
        model = TrainingModel(WorldModelConfig.from_dict(about["config"]), about["places"])
        model.load_state_dict(tensors)
        model.world_model.origins = from_json(about.get("origins", ()))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"checkpoint {path} is damaged ({error}); delete it and run its stage again") from error
    return model.eval()
