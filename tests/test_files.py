"""Promises of weights on disk: a round trip, checksums, no pickle; every key, type and size is checked."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TENSORS, make_model, random_frames

from doom_dream_env.scenarios import BUTTONS
from doom_dream_env.world_model import PRESETS, WorldModel, WorldModelConfig, files
from doom_dream_env.world_model.config import FORMAT_VERSION

FILES = {"config.json", "manifest.json", "README.md", *TENSORS}
FOREIGN = [b"", b"[]", b"{}", b"\xff\xfe", b"null", b"[" * 100_000, b'{"a": ' * 50_000, b"1" * 5_000]
HALF = 2e-3  # relative precision of a half-precision float, with room for rounding


def rewrite_config(folder: Path, **changes: Any) -> None:
    """Change config.json and its checksum: a well-formed file with other contents."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["config.json"] = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flip(path: Path, at: float) -> None:
    """Flip one bit at a fraction of a file."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(bytes(data))


def test_a_round_trip_keeps_the_model_to_half_precision(tmp_path: Path) -> None:
    original = make_model(seed=7)
    fingerprint = original.save_pretrained(tmp_path / "deep" / "folder", "# card")
    loaded = WorldModel.from_pretrained(tmp_path / "deep" / "folder")
    assert loaded.config == original.config and not loaded.training
    assert loaded.fingerprint == original.fingerprint == fingerprint
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    for (name, left), right in zip(original.state_dict().items(), loaded.state_dict().values(), strict=True):
        torch.testing.assert_close(right.float(), left.float(), atol=1e-4, rtol=HALF, msg=name)
    frames = random_frames(2, 1)
    action = torch.eye(len(BUTTONS))[:2]
    before = original.observe(frames)
    after = loaded.observe(frames)
    torch.testing.assert_close(after.z, before.z, atol=0.02, rtol=0.02)
    after, *_ = loaded.imagine(after, action, 0)
    before, *_ = original.imagine(before, action, 0)
    torch.testing.assert_close(after.z, before.z, atol=0.05, rtol=0.05)
    assert original.initial_states.keys() == loaded.initial_states.keys()
    for place, (z, variables) in original.initial_states.items():
        torch.testing.assert_close(loaded.initial_states[place][0], z, atol=1e-4, rtol=HALF)
        assert torch.equal(loaded.initial_states[place][1], variables)
    assert original.context_clips.keys() == loaded.context_clips.keys() != set()
    for place, clip in original.context_clips.items():
        for mine, theirs in zip(clip, loaded.context_clips[place], strict=True):
            torch.testing.assert_close(theirs, mine, atol=1e-4, rtol=HALF)


def test_saving_again_what_was_loaded_changes_no_byte(weights: Path, model: WorldModel, tmp_path: Path) -> None:
    assert WorldModel.from_pretrained(weights).save_pretrained(tmp_path, "# tiny") == model.fingerprint
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (weights / name).read_bytes(), name


def test_there_is_no_pickle(weights: Path) -> None:
    from safetensors import safe_open

    assert {path.name for path in weights.iterdir()} == FILES
    for path in weights.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert all(file.get_tensor(key).dtype == torch.float16 for key in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("name", ["/nowhere/at/all", "no-such-set", "./here/neither"])
def test_missing_weights_are_named(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"no weights at '{name}'"):
        WorldModel.from_pretrained(name)


def test_shipped_weights_are_found_by_name_and_the_best_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path
) -> None:
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    with pytest.raises(FileNotFoundError, match="python -m training pipeline"):
        WorldModel.from_pretrained()
    for name in ("nano", "mine", "base"):
        shutil.copytree(weights, tmp_path / name)
    assert files.shipped() == ["base", "nano", "mine"]
    assert files.find_weights(None) == tmp_path / "base"
    assert files.find_weights("mine") == tmp_path / "mine"
    (tmp_path / "base" / "manifest.json").unlink()  # not whole: does not count
    assert files.find_weights(None) == tmp_path / "nano"


@pytest.mark.parametrize("name", sorted(FILES - {"README.md", "config.json"}))
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=str(copy / name)):
        WorldModel.from_pretrained(copy)


def test_a_better_decoder_leaves_the_fingerprint_that_agents_name(copy: Path) -> None:
    model = WorldModel.from_pretrained(copy)
    before = model.fingerprint
    decoder = (copy / "decoder.safetensors").read_bytes()
    for parameter in model.decoder.parameters():
        parameter.data += 0.5
    assert model.save_pretrained(copy) == before
    assert (copy / "decoder.safetensors").read_bytes() != decoder
    next(model.dynamics.parameters()).data += 0.5
    assert model.save_pretrained(copy) != before


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["config.json", *TENSORS])
def test_one_flipped_bit_is_found_and_the_file_named(copy: Path, name: str, at: float) -> None:
    flip(copy / name, at)
    with pytest.raises(ValueError, match=str(copy / name)):
        WorldModel.from_pretrained(copy)


@pytest.mark.parametrize("name", ["config.json", "manifest.json", *TENSORS])
@pytest.mark.parametrize("content", FOREIGN, ids=lambda content: repr(content[:9]))
def test_a_file_of_something_else_is_an_error(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    expected = "format version" if (name, content) == ("config.json", b"{}") else str(copy / name)
    with pytest.raises(ValueError, match=expected):
        WorldModel.from_pretrained(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, f"format version 99, this release reads {FORMAT_VERSION};"),
        ({"state_width": 48}, "do not fit their config.json"),
    ],
)
def test_a_config_of_other_weights_is_refused(copy: Path, changes: dict[str, int], message: str) -> None:
    rewrite_config(copy, **changes)
    with pytest.raises(ValueError, match=message):
        WorldModel.from_pretrained(copy)


def test_a_full_disk_leaves_no_partial_file_and_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="could not write .*config.json: No space left") as error:
        make_model().save_pretrained(tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_weights_half_written_over_others_do_not_count_as_whole(monkeypatch: pytest.MonkeyPatch, copy: Path) -> None:
    """Killed between two files: the manifest, written last, is not there."""
    write = files.write_atomically
    written: list[Path] = []

    def killed(path: Path, data: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(files, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        make_model(seed=9).save_pretrained(copy)
    with pytest.raises(FileNotFoundError, match="manifest.json is missing"):
        WorldModel.from_pretrained(copy)


def test_an_existing_file_survives_a_failed_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# ---- one checked file ------------------------------------------------------------------------------------------------
def test_a_checked_file_comes_back_as_it_was(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor(7), "c": torch.randn(5).bfloat16(), "d": torch.ones(2) > 0}
    files.write_checked(tmp_path / "file", tensors, {"step": "3"})
    metadata, found = files.read_checked(tmp_path / "file")
    assert metadata == {"step": "3"} and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_every_flipped_bit_in_a_checked_file_is_found(tmp_path: Path) -> None:
    """But those in the name of the checksum: they leave the contents whole, and such a file counts as an old one."""
    path = tmp_path / "file"
    files.write_checked(path, {"a": torch.randn(40), "b": torch.randn(7)}, {"about": "{}", "step": "3"})
    data = path.read_bytes()
    name = data.index(b"sha256")
    for at in set(range(len(data))) - set(range(name, name + len(b"sha256"))):
        damaged = bytearray(data)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path} is damaged"):
            files.read_checked(path)


# ---- validation ----------------------------------------------------------------------------------------------------
EDITS: dict[str, Any] = {
    "null": None,
    "negative": -1,
    "huge": 10**9,
    "beyond any integer": 10**400,
    "float": 2.5,
    "nan": math.nan,
    "true": True,
    "text": "many",
    "no list": [],
    "nested list": [[1.0, "x"], [None]],
    "object": {"a": 1},
}
FITTING = {("name", "text"), ("limits", "no list"), ("harm", "no list"), ("healing", "no list")}  # what a key may be


@pytest.mark.parametrize("edit", [*EDITS, "missing"])
@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(WorldModelConfig)])
def test_every_edit_of_a_configuration_is_refused_before_memory_is_taken(key: str, edit: str) -> None:
    values = json.loads(json.dumps(PRESETS["tiny"].to_dict())) | {key: EDITS.get(edit)}
    if edit == "missing":
        del values[key]
    if (key, edit) in FITTING:
        WorldModelConfig.from_dict(values)
        return
    with pytest.raises(ValueError, match=key.replace("format_version", "format version")) as error:
        WorldModelConfig.from_dict(values)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


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
        ({"limits": [{"rewards": [0.0], "changes": []}]}, "variables is missing"),
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
