"""The stages by name, and starting one: here, or in a process of its own.

Stages are named by strings and imported when they run, so that `--help` is quick and no stage needs to import another.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from doom_dream_env.errors import UserError, in_one_line
from doom_dream_env.processes import end_with_parent
from training import config as settings
from training.config import TrainingConfig, record_config
from training.processes import sole_writer


@dataclass(frozen=True)
class Stage:
    """One thing that `python -m training` can do.

    Attributes:
        config: class of its settings; the first line of its docstring says what the stage does.
        module, function: what runs it, with the settings as the only argument.
        positional: the setting whose values may stand first on the command line, without its option; None: there is
            no such setting.
        ranks: can several processes that torchrun starts train it together?
    """

    config: type
    module: str
    function: str
    positional: str | None = None
    ranks: bool = False


STAGES = {
    "collect": Stage(settings.CollectConfig, "training.data.collect", "collect"),
    "film": Stage(settings.FilmConfig, "training.stages.film", "film"),
    "label": Stage(settings.LabelConfig, "training.stages.label", "label", positional="videos"),
    "representation": Stage(settings.RepresentationConfig, "training.stages.representation", "train", ranks=True),
    "dynamics": Stage(settings.DynamicsConfig, "training.stages.dynamics", "train", ranks=True),
    "things": Stage(settings.ThingsTrainingConfig, "training.stages.things", "train"),
    "eye": Stage(settings.EyeConfig, "training.stages.eye", "train"),
    "things-score": Stage(settings.ThingsScoreConfig, "training.evaluation.things", "run"),
    "things-agents": Stage(settings.ThingsAgentsConfig, "training.evaluation.things_agents", "run"),
    "tokenizer": Stage(settings.TokenizerConfig, "training.stages.tokenizer", "train", ranks=True),
    "decoder": Stage(settings.DecoderConfig, "training.stages.decoder", "train", ranks=True),
    "agents": Stage(settings.AgentsConfig, "training.stages.agents", "train"),
    "dials": Stage(settings.DialsConfig, "training.stages.dials", "train"),
    "distil": Stage(settings.DistilConfig, "training.stages.distil", "train"),
    "clone": Stage(settings.CloneConfig, "training.stages.clone", "train"),
    "idm": Stage(settings.IDMTrainingConfig, "training.stages.idm", "train"),
    "idm-score": Stage(settings.IDMScoreConfig, "training.evaluation.idm_scores", "run"),
    "pipeline": Stage(settings.PipelineConfig, "training.pipeline", "run"),
    "scorecard": Stage(settings.ScorecardConfig, "training.evaluation.scorecard", "run"),
    "transfer": Stage(settings.TransferConfig, "training.evaluation.transfer", "run"),
    "ranking": Stage(settings.RankingConfig, "training.evaluation.ranking", "run"),
    "planning": Stage(settings.PlanningConfig, "training.evaluation.planning", "run"),
}


def stage_of(config: Any) -> str:
    """Name of the stage whose settings these are."""
    for name, stage in STAGES.items():
        if type(config) is stage.config:
            return name
    raise TypeError(f"{type(config).__name__} is of no stage; the stages are {', '.join(STAGES)}")


def launch(config: Any) -> None:
    """Run the stage of these settings; on a mistake of the user's print one line and exit with status 2.

    A stage that trains a network has its settings written into the run's folder; the others, whose folder may depend on
    what they find, do that themselves. Nobody else can write to a run's folder meanwhile.
    """
    name = stage_of(config)
    stage = STAGES[name]
    rank = int(os.environ.get("RANK", 0))
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    main = rank == 0
    folder = run_folder(config)
    who = f"training {name}" if ranks == 1 else f"training {name}, rank {rank} of {ranks}"
    with in_one_line(who), sole_writer(folder) if main and folder is not None else nullcontext():
        if ranks > 1 and not stage.ranks:
            made_for_it = ", ".join(other for other, kind in STAGES.items() if kind.ranks)
            raise UserError(f"{name} has no use for torchrun; the stages that have are {made_for_it}")
        if main and isinstance(config, TrainingConfig):
            record_config(config, config.out / f"{name}.config.json")
        getattr(importlib.import_module(stage.module), stage.function)(config)
        if ranks > 1:
            from training.ranks import leave  # which loads torch

            leave()


def run_folder(config: Any) -> Path | None:
    """The folder of a run that a stage goes on with, and that it must have for itself; None: it has none."""
    if isinstance(config, settings.PipelineConfig):
        return config.folder
    if isinstance(config, settings.AgentsConfig):
        return config.work
    if isinstance(
        config,
        (
            TrainingConfig,
            settings.DialsConfig,
            settings.DistilConfig,
        ),
    ):
        return config.out
    return None


def chosen_settings(config: Any) -> str:
    """The settings that are not the defaults, for people."""
    defaults = type(config)()
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return " ".join(f"{name}={value}" for name, value in values.items() if value != getattr(defaults, name))


def _launch_for_parent(config: Any) -> None:
    end_with_parent()
    launch(config)


def run_stage(config: Any) -> None:
    """Run a stage in a process of its own: what it leaves in memory, or on a GPU, ends with it.

    It ends when this process does, so that the same command given again finds nobody at work.

    Raises:
        ChildProcessError: if it fails; it has printed why.
    """
    name = stage_of(config)
    print(f"== training {name} {chosen_settings(config)}", flush=True)
    process = multiprocessing.get_context("spawn").Process(target=_launch_for_parent, args=(config,))
    process.start()
    try:
        process.join()
    finally:  # after Ctrl-C here, or a signal that raised something
        process.terminate()
        process.join()
    if process.exitcode != 0:
        raise ChildProcessError(f"stage {name} failed with exit status {process.exitcode}; its message is above")
