"""The whole way in one command: collect → representation → dynamics → tokenizer → decoder → scorecard → weights.

    python -m training pipeline --preset nano          # two CPU cores, about three hours; writes runs/nano
    python -m training pipeline --preset base          # one GPU; writes runs/base

Every stage resumes where it was: give the same command again after a kill. Weights end up in `<out>/weights`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from training.config import (
    CollectConfig,
    DecoderConfig,
    DynamicsConfig,
    PipelineConfig,
    RepresentationConfig,
    ScorecardConfig,
    TokenizerConfig,
    record_config,
)
from training.engine.launch import run_stage


@dataclass(frozen=True)
class Plan:
    """Settings of the stages for one preset. Folders, scenarios and seed are put in when the pipeline runs.

    Attributes:
        collect: of the split train; val and test get at most `held_out_steps` steps.
        representation, dynamics, tokenizer, decoder: of these stages.
        held_out_steps: recorded steps of each scenario in each of the splits val and test.
    """

    collect: CollectConfig
    representation: RepresentationConfig
    dynamics: DynamicsConfig
    tokenizer: TokenizerConfig
    decoder: DecoderConfig
    held_out_steps: int = 10_000


PLANS = {
    "tiny": Plan(
        CollectConfig(steps=3_000),
        RepresentationConfig(steps=50, batch=12),
        DynamicsConfig(steps=50, batch=8),
        TokenizerConfig(steps=20, batch=8, palette_frames=100),
        DecoderConfig(steps=20, batch=8),
        held_out_steps=1_500,
    ),
    "nano": Plan(CollectConfig(), RepresentationConfig(), DynamicsConfig(), TokenizerConfig(), DecoderConfig()),
    "base": Plan(
        CollectConfig(steps=315_000),
        RepresentationConfig(steps=20_000, batch=128),
        DynamicsConfig(steps=10_000, batch=256),
        TokenizerConfig(),
        DecoderConfig(steps=20_000, batch=128),
    ),
}


def stage_configs(config: PipelineConfig) -> list[Any]:
    """Settings of every stage, in the order in which they run."""
    plan = PLANS[config.preset]
    out = config.folder
    data = config.data or out / "data"

    def steps(wanted: int | None, planned: int) -> int:
        return planned if wanted is None else wanted

    collect = replace(
        plan.collect, out=data, scenarios=config.scenarios, steps=steps(config.data_steps, plan.collect.steps)
    )
    held_out = min(plan.held_out_steps, collect.steps)
    common: dict[str, Any] = {"data": data, "out": out, "scenarios": config.scenarios, "seed": config.seed}
    return [
        collect,
        replace(collect, steps=held_out, split="val"),
        replace(collect, steps=held_out, split="test"),
        replace(
            plan.representation,
            **common,
            preset=config.preset,
            steps=steps(config.representation_steps, plan.representation.steps),
        ),
        replace(plan.dynamics, **common, steps=steps(config.dynamics_steps, plan.dynamics.steps)),
        replace(plan.tokenizer, **common),
        replace(plan.decoder, **common, steps=steps(config.decoder_steps, plan.decoder.steps)),
        ScorecardConfig(data=data, weights=str(out / "weights"), scenarios=config.scenarios),
    ]


def run(config: PipelineConfig) -> None:
    """Run every stage in a process of its own, which ends with this one."""
    out = config.folder
    record_config(config, out / "pipeline.config.json")
    for stage in stage_configs(config):
        run_stage(stage)
    print(f"weights are in {out / 'weights'}; try: dream-doom demo --weights {out / 'weights'}")
