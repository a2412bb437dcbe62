"""Settings of the stage dynamics."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.config.base import Preset, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class DynamicsLossWeights:
    """Weights of the terms of the dynamics loss.

    Attributes:
        prediction: relative error of the mean next state.
        posterior: relative error of the state that the posterior's code leads to.
        objects_posterior: object maps, read off that state.
        kl: divergence of the posterior from the prior. At a quarter of this weight the posterior carried the fireballs
            of take_cover step by step in codes that no prior can predict: a dream drawn from the prior lost two of
            three in flight (measured).
        objects_trunk: object maps, read off the trunk's features.
        outcome: changes of the game variables, reward and termination.
        readouts: privileged readouts off state and features.
        rollout: relative error of the states of an open-loop rollout.
        objects_rollout: object maps, read off those states.
        kl_rollout: divergence along the rollout.
        outcome_rollout: outcome, predicted along the rollout.
        readouts_rollout: privileged readouts along the rollout.
        inverse: which buttons lay between two real states.
        inverse_predicted: the same between a real state and the mean next one. With these two, a dream's first step
            after a press answers better (5 to 8 points of recognised buttons, measured).
        inverse_rollout: the same between the states of a rollout.
    """

    prediction: float = 3.0
    posterior: float = 3.0
    objects_posterior: float = 2.0
    kl: float = 1.0
    objects_trunk: float = 2.0
    outcome: float = 1.0
    readouts: float = 1.0
    rollout: float = 3.0
    objects_rollout: float = 3.0
    kl_rollout: float = 1.0
    outcome_rollout: float = 1.0
    readouts_rollout: float = 2.0
    inverse: float = 1.0
    inverse_predicted: float = 0.5
    inverse_rollout: float = 0.5


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(TrainingConfig):
    """Train trunk and dynamics on long windows of states of the finished encoder.

    Attributes:
        init: begin from these weights (name or folder) instead of the stage representation.
        preset: their sizes; read only with `init`.
        window: steps per window.
        rollout: steps that the model is fed its own predictions, with gradients through all of them.
        scenario_weights: scenarios, each followed by its share of the windows; every other scenario has a share of 1.
        seen_shards: scenarios, each followed by the number of shards that earlier training has seen. Of those only
            `seen_share` is used again: deaths are partly luck, and a network that sees the same ones again learns them
            by heart.
        seen_share: see `seen_shards`.
        scripted_share: scenarios, each followed by the share of the episodes of scripted players that is used. What
            they do betrays what they see and no frame shows, and a dream that learned from them spares whoever moves as
            they do ("delusions", arXiv 2110.10819).
        kl_balance: share of the divergence whose gradient pulls the prior towards the posterior; the rest pulls the
            posterior towards the prior (KL balancing, arXiv 2010.02193).
        free_nats: of the divergence of each step, what does not pull the posterior (see `kl_divergence`). Without them
            codes gave in to the prior wherever no single nat explains much of the error (measured: 0.035 nats a step).
        kl_warmup: share of the steps in which the weight of the divergence grows to what it is.
        context_noise_share: share of the windows that are seen through noise: dreamed states are never exactly real.
        context_noise_strength: its greatest strength, in spreads of real states along each principal direction.
        episode_start_share: share of the windows that begin with their episode, and of the rollouts that begin after
            the first frame of their window, as dreams do.
        posterior_share: share of the rollouts that follow the posterior's codes; the others follow the mean next state.
        unknown_share: share of the windows whose scenario, and of those whose elapsed time, the model is not told.
        object_head_steps: optimiser steps of the head that reads object maps off states; only with `init`, whose
            weights come without.
        object_head_batch: states per such step.
        object_head_lr: learning rate of such steps.
        loss_weights: weights of the terms of the loss.
    """

    steps: int = 6_000
    batch: int = 40
    lr: float = 1e-3
    init: str | None = None
    preset: Preset = "nano"
    window: int = 36
    rollout: int = 22
    scenario_weights: dict[str, float] = field(default_factory=dict)
    seen_shards: dict[str, int] = field(default_factory=dict)
    seen_share: float = 0.25
    scripted_share: dict[str, float] = field(default_factory=dict)
    kl_balance: float = 0.8
    free_nats: float = 0.5
    kl_warmup: float = 0.6
    context_noise_share: float = 0.25
    context_noise_strength: float = 0.3
    episode_start_share: float = 0.15
    posterior_share: float = 2 / 3
    unknown_share: float = 0.05
    object_head_steps: int = 1_500
    object_head_batch: int = 512
    object_head_lr: float = 2e-3
    loss_weights: DynamicsLossWeights = DynamicsLossWeights()
