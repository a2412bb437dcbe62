"""Checks of JSON files that people edit and downloads damage: every key, type and size, before memory is taken for it.

A set of settings is a frozen dataclass; its annotations say which types a file may hold.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from doom_dream_env.errors import UserError
from doom_dream_env.scenarios import FRAME_SHAPE

# The greatest sizes, by a key's name or its end: far above `base`, and what they make still fits a computer's memory.
GREATEST = {
    "stem_width": 512,
    "readout_width": 512,
    "width": 4096,
    "depth": 64,
    "heads": 64,
    "context": 512,
    "groups": 64,
    "size": 1024,
}
MOST_CODES = 16_384  # code_groups × code_size
MOST_WEIGHTS = 500_000_000  # of one transformer
WEIGHTS_OF_A_LAYER = 12  # times the square of its width
CELL = 4  # side in pixels of the cells that a patch is embedded from
LONGEST = 60  # characters of a wrong value that a message repeats


def matches(value: object, kind: Any) -> bool:
    """Is this value, as JSON gives it, of an annotated type? Numbers must be finite; True is no number."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if kind is Any or kind is object:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, choice) for choice in arguments)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -1e30 < value < 1e30
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple and isinstance(value, list | tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(matches(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(matches, value, arguments))
    if origin is dict:
        return isinstance(value, dict)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict) and not wrong_fields(kind, value)
    return origin is None and isinstance(value, kind)


def described(kind: Any) -> str:
    """An annotated type in words."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if kind in (int, float, str, bool):
        return {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}[kind]
    if kind is type(None):
        return "null"
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list, each item {described(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(map(described, arguments))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(described, arguments))
    if dataclasses.is_dataclass(kind):
        return f"an object with {', '.join(field.name for field in dataclasses.fields(kind))}"
    return "an object"


def shown(value: object) -> str:
    """A value for a message, cut when it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def wrong_fields(cls: Any, values: Mapping[str, Any]) -> str:
    """What is wrong with the keys and types of a dataclass's values; empty: nothing."""
    fields = {field.name for field in dataclasses.fields(cls)}
    if set(values) != fields:
        return f"keys {', '.join(sorted(set(values) ^ fields))} are unknown or missing"
    for name, kind in typing.get_type_hints(cls).items():
        if name in fields and not matches(values[name], kind):
            return f"{name} must be {described(kind)}, got {shown(values[name])}"
    return ""


def wrong_sizes(values: Mapping[str, Any], greatest: Mapping[str, int]) -> str:
    """What is wrong with the sizes of a network of one transformer; empty: nothing.

    Args:
        values: sizes, and other things, by name.
        greatest: of each size, by its name or the end of it.
    """
    for name, value in values.items():
        most = greatest.get(name) or greatest.get(name.rsplit("_", 1)[-1])
        if most and not 1 <= value <= most:
            return f"{name} must be 1 to {most}, got {shown(value)}"
    width, heads = values["width"], values["heads"]
    return f"heads must divide width ({width}), got {heads}" if width % heads else ""


def wrong_version(values: Mapping[str, Any], expected: int) -> str:
    """What is wrong with the format version of a file's values; empty: nothing."""
    version = values.get("format_version")
    return "" if version == expected else f"format version {shown(version)}, this release reads {expected}"


def check_fields(cls: Any, values: Mapping[str, Any], source: str) -> None:
    """Compare the values of a dataclass, as JSON gives them, with its annotations.

    Args:
        cls: the dataclass.
        values: its fields by name.
        source: the file, for the message.

    Raises:
        ValueError: if a key is unknown or missing or a value of another type; the message names file and key.
    """
    if wrong := wrong_fields(cls, values):
        raise UserError(f"{source} does not fit this release: {wrong}")


# ---- config.json -----------------------------------------------------------------------------------------------------


def wrong_size(name: str, values: Mapping[str, Any]) -> str:
    """What is wrong with one size of a world model's configuration; empty: nothing."""
    value = values[name]
    greatest = GREATEST.get(name) or GREATEST.get(name.rsplit("_", 1)[-1], FRAME_SHAPE[0])
    if not 1 <= value <= greatest:
        return f"{name} must be 1 to {greatest}, got {shown(value)}"
    width = values.get(name.replace("_heads", "_width"), value)
    if (
        name.endswith("_depth")
        and value * values[name.replace("_depth", "_width")] ** 2 > MOST_WEIGHTS / WEIGHTS_OF_A_LAYER
    ):
        return f"{name} and {name.replace('_depth', '_width')} make a network of more than {MOST_WEIGHTS:,} weights"
    if name.endswith("_heads") and width % value:
        return f"{name} must divide {name.replace('_heads', '_width')} ({width}), got {value}"
    return ""


def wrong_support(name: str, support: Sequence[float], least: int = 1) -> str:
    """What is wrong with the values that a distribution is over; empty: nothing."""
    if not least <= len(support) <= GREATEST["size"] * 4:
        return f"{name} must have {least} to {GREATEST['size'] * 4} values, got {len(support)}"
    if any(after <= before for before, after in zip(support, support[1:], strict=False)):
        return f"{name} must ascend, got {shown(support)}"
    return ""


def wrong_values(values: Mapping[str, Any]) -> str:
    """What is wrong with a world model's configuration whose keys and types are right; empty: nothing."""
    numbers = {name for name, value in values.items() if isinstance(value, int | float)} - {"format_version"}
    problems = [wrong_size(name, values) for name in values if name in numbers]
    if any(problems):
        return next(filter(None, problems))
    if any(side % values["patch"] for side in FRAME_SHAPE[:2]) or values["patch"] % CELL:
        problems.append(f"patch must divide {FRAME_SHAPE[0]} and {FRAME_SHAPE[1]} and be a multiple of {CELL}")
    if values["code_groups"] * values["code_size"] > MOST_CODES:
        problems.append(f"code_groups times code_size must be at most {MOST_CODES}")
    scenarios = values["scenarios"]
    variables = values["variables"]
    for name, names in (("scenarios", scenarios), ("variables", variables)):
        if not names or len(set(names)) != len(names) or not all(names):
            problems.append(f"{name} must be different names, one at least, got {shown(names)}")
    if len(values["known"]) != len(scenarios):
        problems.append(
            f"known says of {len(values['known'])} scenarios which variables they have, "
            f"but there are {len(scenarios)} scenarios"
        )
    if any(len(mask) != len(variables) for mask in values["known"]):
        problems.append(f"known must say true or false for each of the {len(variables)} variables")
    if len(values["deltas"]) != len(variables):
        problems.append(f"deltas must be of {len(variables)} variables, got {len(values['deltas'])}")
    problems += [wrong_support("deltas", support) for support in values["deltas"]]
    problems.append(wrong_support("rewards", values["rewards"]))
    for limits in values["limits"]:
        problems.append(wrong_support("rewards in limits", limits["rewards"]))
        for name in ("changes", "variables"):
            pairs = limits[name]
            if len(pairs) != len(variables) or any(high < low for low, high in pairs):
                problems.append(
                    f"{name} in limits must be the least and greatest of each of {len(variables)} variables"
                )
    return next(filter(None, problems), "")


def check_config(cls: Any, values: Mapping[str, Any], source: str = "config.json") -> None:
    """Check a world model's configuration as JSON gives it.

    Args:
        cls: `WorldModelConfig`.
        values: the contents of config.json.
        source: the file, for the message.

    Raises:
        ValueError: if a key, type or value is wrong; the message names file and key.
    """
    check_fields(cls, values, source)
    if wrong := wrong_values(values):
        raise UserError(f"{source} is damaged: {wrong}; fetch it anew")
