"""Are the settings of a run possible? Asked of a command line before anything is loaded or written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from doom_dream_env.mistakes import UserError
from doom_dream_env.options import MOST_SEED

MOST = 10**12
# Counts of which there is one at least; of others (rounds, steps of a part) there may be none.
AT_LEAST_ONE = (
    "steps",
    "batch",
    "limit",
    "threads",
    "workers",
    "seeds",
    "window",
    "rollout",
    "episodes",
    "round_steps",
    "films",
)


def problems(config: Any, prefix: str = "--") -> Iterator[str]:
    """What is wrong with settings, each by the name of its option.

    Args:
        config: a dataclass of settings.
        prefix: of the options' names.
    """
    for field in dataclasses.fields(config):
        name = prefix + field.name.replace("_", "-")
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from problems(value, f"{name}.")
            continue
        for number in numbers(value):
            least = 1 if field.name in AT_LEAST_ONE else 0
            most = MOST_SEED if field.name in ("seed", "first_seed") else 1 if field.name.endswith("_share") else MOST
            if not math.isfinite(number) or not least <= number <= most:
                yield f"{name} must be from {least} to {most:,}, got {number}"


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a setting, however deep."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Mapping):
        yield from numbers(list(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from numbers(item)


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
    if found := next(problems(config), None):
        raise UserError(found)
