"""Settings of the stage representation."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.base import Preset, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RepresentationLossWeights:
    """Weights of the terms of the representation loss.

    Attributes:
        prediction: squared error of the mean next state.
        sigreg: distance of the states' distribution within each scenario from an isotropic Gaussian.
        rollout: squared error of the second next state, predicted from the predicted first.
        objects: object maps, read off the state.
        objects_predicted: object maps, read off the predicted state.
        objects_trunk: object maps, read off the trunk's features.
        outcome: changes of the game variables, reward and termination.
        readouts: privileged readouts (position, angle, sightings) off state and features.
        readouts_predicted: the same off the predicted state and the features after it.
        inverse: which buttons lay between two states of real frames.
        inverse_predicted: the same between a real state and the predicted next one.
    """

    prediction: float = 5.0
    sigreg: float = 1.0
    rollout: float = 2.5
    objects: float = 6.0
    objects_predicted: float = 3.0
    objects_trunk: float = 3.0
    outcome: float = 1.0
    readouts: float = 1.0
    readouts_predicted: float = 0.5
    inverse: float = 1.0
    inverse_predicted: float = 0.5


@dataclass(frozen=True, kw_only=True)
class RepresentationConfig(TrainingConfig):
    """Train encoder, trunk and dynamics together, on short windows of real frames.

    Attributes:
        preset: sizes of the model.
        init: weights (name or folder) of the same preset to begin from; None: random ones.
        window: frames per window.
        scenarios_per_step: scenarios that the windows of one step come from, drawn anew each time. SIGReg asks of each
            that its states fill the Gaussian, and needs a few independent windows of each for it.
        compile: compile the encoder by torch.compile (needs a C++ compiler).
        unknown_share: share of the windows whose scenario the model is not told.
        scenario_weights: scenarios in which little changes per step count more in prediction and rollout, within these
            limits.
        held_out_steps: recorded steps of each scenario of the split val, for the scores along the way.
        held_out_windows: windows of each scenario, for the same.
        loss_weights: weights of the terms of the loss.
    """

    steps: int = 4_000
    batch: int = 40
    lr: float = 1.5e-3
    preset: Preset = "nano"
    init: str | None = None
    window: int = 6
    scenarios_per_step: int = 5
    compile: bool = False
    unknown_share: float = 0.05
    scenario_weights: tuple[float, float] = (0.5, 3.0)
    held_out_steps: int = 6_000
    held_out_windows: int = 48
    loss_weights: RepresentationLossWeights = RepresentationLossWeights()
