"""Are the settings of a run possible? Asked of a command line before anything is loaded or written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from doom_dream_env.world_model.validation import check_values


def each_once(config: Any) -> Any:
    """The same settings with every name and path of a list once, in the order in which they were given."""
    lists = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return dataclasses.replace(
        config,
        **{
            name: tuple(dict.fromkeys(value))
            for name, value in lists.items()
            if isinstance(value, tuple) and all(isinstance(item, str | Path) for item in value)
        },
    )


def check_settings(config: Any) -> None:
    """Check the settings of a stage.

    Raises:
        ValueError: if one is out of range; the message names the option.
    """
    check_values(config, "--{}", dash="-")
