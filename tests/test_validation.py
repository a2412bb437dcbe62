"""Promises of JSON files that were edited by hand or damaged: every key, type and size is checked, in one line."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import TENSORS

from doom_dream_env.world_model import PRESETS, WorldModel, WorldModelConfig

EDITS: dict[str, Any] = {
    "null": None,
    "negative": -1,
    "zero": 0,
    "huge": 10**9,
    "beyond any integer": 10**400,
    "float": 2.5,
    "infinite": math.inf,
    "nan": math.nan,
    "true": True,
    "text": "many",
    "no text": "",
    "no list": [],
    "list": [1, 2, 3],
    "nested list": [[1.0, "x"], [None]],
    "object": {"a": 1},
}
FITTING = {  # what a key may well be
    ("name", "text"),
    ("name", "no text"),
    ("limits", "no list"),
    ("harm", "no list"),
    ("healing", "no list"),
    ("rewards", "list"),
}


def nested(depth: int) -> str:
    """A JSON text of so many lists in each other."""
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(WorldModelConfig)])
def test_every_edit_of_a_configuration_is_refused_before_memory_is_taken(key: str, edit: str) -> None:
    values = json.loads(json.dumps(PRESETS["tiny"].to_dict())) | {key: EDITS[edit]}
    if (key, edit) in FITTING:
        WorldModelConfig.from_dict(values)
        return
    with pytest.raises(ValueError, match=key.replace("format_version", "format version")) as error:
        WorldModelConfig.from_dict(values)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(WorldModelConfig)])
def test_a_missing_key_of_a_configuration_is_named(key: str) -> None:
    values = PRESETS["tiny"].to_dict()
    del values[key]
    with pytest.raises(ValueError, match=key.replace("format_version", "format version")):
        WorldModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk_heads": 5}, "trunk_heads must divide trunk_width"),
        ({"patch": 7}, "patch must divide 120 and 160"),
        ({"scenarios": ["basic"] * 10}, "scenarios must be different names"),
        ({"variables": ["HEALTH"]}, "known must say true or false for each of the 1 variables"),
        ({"deltas": [[0.0]]}, "deltas must be of 4 variables"),
        ({"deltas": [[1.0, 0.0], [0.0], [0.0], [0.0]]}, "deltas must ascend"),
        ({"rewards": [1.0, 1.0]}, "rewards must ascend"),
        ({"trunk_depth": 64, "trunk_width": 4096, "trunk_heads": 1}, "more than 500,000,000 weights"),
        ({"code_groups": 64, "code_size": 1024}, "code_groups times code_size"),
        ({"limits": [{"rewards": [0.0], "changes": []}]}, "limits must be a list"),
        ({"limits": [{"rewards": [0.0], "changes": [], "variables": []}] * 10}, "changes in limits"),
        (
            {"limits": [{"rewards": [0.0], "changes": [[1, 0]] * 4, "variables": [[0, 1]] * 4}] * 10},
            "changes in limits",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldModelConfig.from_dict(json.loads(json.dumps(PRESETS["tiny"].to_dict())) | changes)


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
@pytest.mark.parametrize("text", [nested(100_000), '{"a": ' * 50_000, '{"a": NaN}', "1" * 5_000, '"text"', "null"])
def test_json_of_another_shape_is_an_error_that_names_the_file(copy: Path, name: str, text: str) -> None:
    (copy / name).write_text(text)
    expected = "format version" if (name, text) == ("config.json", '{"a": NaN}') else str(copy / name)
    with pytest.raises(ValueError, match=expected):
        WorldModel.from_pretrained(copy)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("key", ["fingerprint", "sha256"])
def test_every_edit_of_a_manifest_is_refused(copy: Path, key: str, edit: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text()) | {key: EDITS[edit]}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="manifest.json"):
        WorldModel.from_pretrained(copy)


@pytest.mark.parametrize("name", ["config.json", *TENSORS])
def test_a_manifest_that_leaves_out_a_file_checks_nothing_and_is_refused(copy: Path, name: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["sha256"][name]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="lacks checksums"):
        WorldModel.from_pretrained(copy)
