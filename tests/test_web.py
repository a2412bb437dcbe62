"""Promises of the page's parts, without a browser: its server, its keys, its random numbers and its files."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from doom_dream_env.commands.cli import main
from doom_dream_env.export.sources import exported, sources
from doom_dream_env.play.keys import KEYS, to_buttons
from doom_dream_env.scenarios import BUTTONS, SCENARIOS
from doom_dream_env.web import PageServer

STATIC = ROOT / "doom_dream_env" / "web" / "static"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "index.html").write_text("<p>page</p>")
    (tmp_path / "run.mjs").write_text("export {}")
    (tmp_path / "graphs").mkdir()
    with PageServer(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_pages_are_isolated_so_that_browsers_give_them_threads(server: PageServer) -> None:
    with urllib.request.urlopen(server.url) as answer:
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    with urllib.request.urlopen(f"{server.url}run.mjs") as answer:
        assert answer.headers["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["graphs/", "../secret", "nothing.js"])
def test_folders_are_not_listed_and_nothing_outside_is_served(server: PageServer, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(server.url + path)


def test_what_is_wrong_with_an_address_is_named(server: PageServer, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="127.0.0.1.*in use; try another --port"):
        PageServer(tmp_path, port=server.server_address[1])
    for host in ("a..b", "203.0.113.7"):  # no name; nobody's address
        with pytest.raises(OSError, match=f"cannot serve at {host!r}, port 0: .*; try another --host"):
            PageServer(tmp_path, host)


def test_an_export_is_current_only_as_it_would_be_made_now(copy: Path, tmp_path: Path) -> None:
    """Another decoder, first moment, word of quality or agent is another page, whatever the fingerprint says."""
    entry = {"file": "graphs/step.onnx", "bytes": 4}
    manifest = {"sources": sources(copy), "worlds": [{"scenario": "take_cover"}] * 2, "graphs": [entry]}
    (tmp_path / "graphs").mkdir()
    (tmp_path / entry["file"]).write_bytes(b"1234")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert exported(tmp_path, copy) == (("take_cover",), True)
    for name in ("decoder.safetensors", "starts.safetensors", "config.json", "scorecard.json"):
        before = (copy / name).read_bytes() if (copy / name).exists() else None
        (copy / name).write_bytes(b"{}")
        assert exported(tmp_path, copy) == (("take_cover",), False), name
        (copy / name).unlink() if before is None else (copy / name).write_bytes(before)
    assert exported(tmp_path, copy)[1]
    (tmp_path / entry["file"]).write_bytes(b"1")
    assert not exported(tmp_path, copy)[1] and exported(tmp_path / "nowhere", copy) == ((), False)


@pytest.mark.parametrize(
    ("asked", "there", "current", "made"),
    [
        ([], ("basic",), True, None),
        (["basic", "basic"], ("basic",), True, None),
        (["take_cover"], ("basic",), True, ["basic", "take_cover"]),
        (["take_cover"], ("basic",), False, ["take_cover"]),
        ([], ("basic",), False, ["basic"]),
        ([], (), False, []),
    ],
)
def test_web_serves_what_is_there_and_makes_what_is_asked_for(
    asked: list[str], there: tuple[str, ...], current: bool, made: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("doom_dream_env.export.sources.exported", lambda *more: (there, current))
    monkeypatch.setattr("doom_dream_env.commands.cli.export", lambda args: seen.append(list(args.scenario)))
    monkeypatch.setattr(PageServer, "show", lambda self, browser: seen.append("shown"))
    words = ["--scenario", *asked] if asked else []
    assert main(["web", "--port", "0", "--no-browser", *words]) == 0
    assert seen == ([] if made is None else [made]) + ["shown"]


def in_node(folder: Path, script: str, value: object) -> object:
    """What a script prints as JSON; it may import the page's modules and finds `value`."""
    for module in STATIC.glob("*.js"):
        shutil.copy(module, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "value.json").write_text(json.dumps(value))
    head = 'import { readFileSync } from "node:fs"; const value = JSON.parse(readFileSync("value.json"));\n'
    (folder / "script.js").write_text(head + script)
    done = subprocess.run([str(NODE), "script.js"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_the_page_presses_what_the_window_presses(tmp_path: Path) -> None:
    combinations = [list(names) for size in (1, 2, 3) for names in itertools.combinations(BUTTONS, size)]
    cases = [(list(scenario.buttons), names) for scenario in SCENARIOS.values() for names in combinations]
    found = in_node(
        tmp_path,
        'import { toButtons } from "./buttons.js";\n'
        "console.log(JSON.stringify(value.map(([buttons, names]) => [...toButtons(new Set(names), buttons)])));",
        cases,
    )
    expected = [
        {BUTTONS[i] for i in np.flatnonzero(to_buttons(names, scenario))}
        for scenario in SCENARIOS.values()
        for names in combinations
    ]
    assert [set(one) for one in found] == expected


@needs_node
def test_the_page_has_the_keys_of_the_window_but_for_those_of_the_browser(tmp_path: Path) -> None:
    keys = in_node(tmp_path, 'import { KEYS } from "./buttons.js"; console.log(JSON.stringify(KEYS));', None)
    assert not [code for code in keys if code.startswith(("Control", "Alt", "Meta"))]
    places = {
        "W": "KeyW",
        "A": "KeyA",
        "S": "KeyS",
        "D": "KeyD",
        "Q": "KeyQ",
        "E": "KeyE",
        "J": "KeyJ",
        "SPACE": "Space",
    }
    places |= {"UP": "ArrowUp", "DOWN": "ArrowDown", "LEFT": "ArrowLeft", "RIGHT": "ArrowRight", "SHIFT": "ShiftLeft"}
    assert {code: keys[code] for code in places.values()} == {code: KEYS[name][1] for name, code in places.items()}


@needs_node
def test_random_numbers_of_a_seed_repeat_and_are_uniform(tmp_path: Path) -> None:
    script = (
        'import { Random } from "./random.js";\n'
        "const draw = (seed) => {\n"
        "  const r = new Random(seed); return Array.from({length: 20000}, () => r.uniform()); };\n"
        "console.log(JSON.stringify([draw(1), draw(1), draw(2)]));"
    )
    first, again, other = map(np.array, in_node(tmp_path, script, None))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.03 and abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    for drawn in (first, other):
        assert drawn.min() >= 0 and drawn.max() < 1
        counts = np.histogram(drawn, 20, (0, 1))[0]
        assert abs(counts - 1000).max() < 150  # five standard deviations


@needs_node
def test_a_first_moment_is_read_whole_from_its_file(tmp_path: Path, model) -> None:
    from doom_dream_env.export.worlds import starts

    (tmp_path / "starts.safetensors").write_bytes(starts(model, "take_cover"))
    c = model.config
    shape = [c.trunk_depth, 2, c.context, c.trunk_width]
    state = {name: {"type": "float32", "shape": [c.state_width]} for name in ("z",)}
    state |= {
        "h": {"type": "float32", "shape": [c.trunk_width]},
        "variables": {"type": "float32", "shape": [len(c.variables)]},
        "cache": {"type": "float32", "shape": shape},
    }
    manifest = {"state": state, "scales": model.scales.tolist(), "noise_width": 3}
    manifest["drawing"] = {"codes": [1], "luck": [1]}
    found = in_node(
        tmp_path,
        'import { readTensors } from "./files.js"; import { Dream } from "./dream.js";\n'
        'const starts = readTensors(new Uint8Array(readFileSync("starts.safetensors")));\n'
        "const dream = new Dream(null, value, {}, {}, starts); dream.begin(5); const { now } = dream;\n"
        "console.log(JSON.stringify({...Object.fromEntries(Object.entries(now.state).map(([k, v]) => [k, [...v]])),"
        " features: [...now.features], drift: now.drift}));",
        manifest,
    )
    z, variables = (part[5:6] for part in model.initial_states["take_cover"])
    whole = model.begin(z, variables, model.scenario_index("take_cover", 1))
    for name in ("z", "h", "variables", "cache"):
        np.testing.assert_allclose(found[name], getattr(whole, name)[0].flatten(), atol=1e-5)
    np.testing.assert_allclose(found["features"], model.features(whole)[0], atol=1e-5)
    assert found["drift"] == pytest.approx(float(model.drift(whole)[0]), abs=1e-6)
