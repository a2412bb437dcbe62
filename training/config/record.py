"""Writing a run's settings beside what it makes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any


def record_config(config: Any, path: Path) -> None:
    """Write a configuration as JSON; where the file holds other settings, print what differs.

    A run that goes on with other settings is no mistake (more steps, a smaller learning rate), but one wants to know.

    Args:
        config: one of the dataclasses of `training.config`.
        path: usually `<out>/<stage>.config.json`.
    """
    from doom_dream_env.world_model.files import read_json, write_json  # which loads torch

    settings = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    if path.exists():
        before = read_json(path)
        for name in sorted(settings.keys() | before.keys()):
            if settings.get(name) != before.get(name):
                print(f"{path.name}: {name} was {before.get(name)}, is {settings.get(name)} now")
    write_json(path, settings)
