"""Checks of JSON files that people edit and downloads damage: every key, type and size, before memory is taken for it.

A set of settings is a frozen dataclass; its annotations say what each may be, and pydantic compares.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from doom_dream_env.errors import UserError

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=0)]
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # True is no number, "8" neither
LONGEST = 60  # characters of a wrong value that a message repeats
IN_PLAIN_WORDS = {  # of pydantic's messages
    "Input should": "must",
    "Unexpected keyword argument": "is unknown",
    "Field required": "is missing",
    "a valid integer": "a whole number",
    "a valid string": "a text",
    "a valid number": "a number",
    "a valid array": "a list",
    "a valid boolean": "true or false",
    "Value error, ": "",
}
T = TypeVar("T")


def shown(value: object) -> str:
    """A value for a message, cut when it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def told(error: ValidationError, name: str = "") -> str:
    """The first thing that is wrong: field (if it has no other name), what was expected, what was found."""
    first = error.errors(include_url=False)[0]
    message = first["msg"]
    for theirs, ours in IN_PLAIN_WORDS.items():
        message = message.replace(theirs, ours)
    found = f", got {shown(first['input'])}" if " must " in f" {message}" and first["type"] != "value_error" else ""
    return f"{name or '.'.join(map(str, first['loc']))} {message}{found}".strip()


def check_version(values: Mapping[str, Any], expected: int, source: object) -> None:
    """Refuse files of another format.

    Raises:
        ValueError: if the format version is another one.
    """
    found = values.get("format_version")
    if found != expected:
        raise UserError(
            f"{source} has format version {shown(found)}, this release reads {expected}; use files made for it"
        )


def parsed(cls: type[T], values: Mapping[str, Any], source: object) -> T:
    """A dataclass of settings from what JSON says of it.

    Args:
        cls: the dataclass, with `pydantic.with_config(STRICT)`.
        values: all of its fields by name.
        source: the file, for the message.

    Raises:
        ValueError: if a key is unknown or missing, or a value wrong; the message names file and key.
    """
    wanted = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    wrong = next((f"{name} is missing" for name in wanted if name not in values), "")
    if not wrong:
        try:
            made: T = TypeAdapter(cls).validate_json(json.dumps(values))
            return made
        except ValidationError as error:
            wrong = told(error)
    raise UserError(f"{source} is damaged: {wrong}; fetch it anew")


def check_heads(sizes: Any, prefix: str = "") -> None:
    """The heads of a transformer must divide its width.

    Raises:
        ValueError: if they do not.
    """
    width, heads = (getattr(sizes, f"{prefix}{name}") for name in ("width", "heads"))
    if width % heads:
        raise UserError(f"{prefix}heads must divide {prefix}width ({width}), got {heads}")


@cache
def field_adapters(cls: Any) -> dict[str, TypeAdapter[Any]]:
    """What compares each field of a dataclass with its annotation."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name], config=STRICT) for field in dataclasses.fields(cls)}


def check_values(settings: Any, named: str, dash: str = "_") -> None:
    """Compare settings that were made in code, or by a command line, with their annotations.

    Args:
        settings: a dataclass.
        named: what to call a field in a message; `{}` stands for its name.
        dash: what stands between the words of its name.

    Raises:
        ValueError: if a value is wrong; the message names the field.
    """
    kind: Any = type(settings)
    for name, one in field_adapters(kind).items():
        try:
            one.validate_python(getattr(settings, name))
        except ValidationError as error:
            raise UserError(told(error, named.format(name.replace("_", dash)))) from None
