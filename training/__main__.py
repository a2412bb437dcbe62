"""`python -m training STAGE --options`: one command for every stage, its settings from `training.config`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

from doom_dream_env.errors import UserError, in_one_line, install_command
from training.config.checks import check_settings, each_once
from training.engine.launch import STAGES, launch

USAGE = "usage: python -m training STAGE [--options]"


def stage_list() -> str:
    """Every stage and what it does, one line each."""
    width = max(map(len, STAGES))
    summaries = {name: (inspect.getdoc(stage.config) or "").partition("\n")[0] for name, stage in STAGES.items()}
    return "\n".join(f"  {name:{width}}  {summary}" for name, summary in summaries.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says (default: `sys.argv`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(f"{USAGE}\n\nstages:\n{stage_list()}\n\nOptions of a stage: python -m training STAGE --help")
        return
    name, *options = words
    with in_one_line("training"):
        if name not in STAGES:
            raise UserError(f"stage {name!r} is unknown; choose from {', '.join(STAGES)}")
        try:
            import tyro
        except ImportError as error:
            install = install_command("train")
            raise ModuleNotFoundError(f"python -m training needs the extra 'train': {install}") from error
    positional = STAGES[name].positional
    if positional is not None and options and not options[0].startswith("-"):
        options.insert(0, f"--{positional}")
    config: Any = tyro.cli(STAGES[name].config, args=options, prog=f"python -m training {name}")
    with in_one_line(f"training {name}"):
        check_settings(config)
    launch(each_once(config))


if __name__ == "__main__":
    main()
