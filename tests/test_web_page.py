"""Promises of the page, in a real Chromium: it dreams what Python dreams, is played, and says what is wrong.

All are slow: a browser compiles 14 MB of WebAssembly first.
"""

from __future__ import annotations

import http.server
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, needs_chromium, served
from conftest import make_agent

from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.scenarios import press
from doom_dream_env.web.serve import TYPES
from doom_dream_env.world_model import DreamState, WorldModel

pytestmark = [pytest.mark.slow, needs_chromium]

EPISODES = 200  # that an agent plays in the page, and as many in Python


def begin(model: WorldModel, scenario: str, index: int) -> DreamState:
    z, variables = (part[index : index + 1] for part in model.initial_states[scenario])
    return model.begin(z, variables, model.scenario_index(scenario, 1))


@pytest.fixture(scope="module")
def page(exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page with a keyboard."""
    with served(exported[0]) as server, Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(f"{server.url}?seed=5&variant=float32")
        yield browser
        assert not browser.logs()


def paused(page: Browser, world: str) -> None:
    """Begin a world and stop time."""
    page.choose(world)
    page.run("dreamdoom.send('set', {paused: true, temperature: 1, agent: false})")
    page.wait("return dreamdoom.status.paused")


def test_the_page_dreams_what_python_dreams_with_the_same_noise(page: Browser, model: WorldModel) -> None:
    paused(page, "defend_the_center")
    rng = np.random.default_rng(2)
    steps = 12
    actions = [["ATTACK"], ["TURN_LEFT"], [], ["TURN_RIGHT"]] * (steps // 4)
    noise = rng.random((steps, model.dynamics.draw_noise(1).shape[1]), np.float32)
    for temperature in (1.0, 0.0):
        page.run("dreamdoom.statistics.replayed = null")
        message = {"start": 3, "actions": actions, "noise": noise.tolist(), "temperature": temperature}
        page.run("dreamdoom.send('replay', arguments[0])", message)
        found = page.wait(
            "const r = dreamdoom.statistics.replayed;"
            "return r && {z: [...r.z], rewards: r.rewards, p: r.pictures.map((a) => [...a])}"
        )
        state, total, codes = begin(model, "defend_the_center", 3), 0.0, None
        luck = torch.full((1, *model.decoder.noise_shape), 0.5)
        for step in range(steps):
            chance = torch.from_numpy(noise[step : step + 1])
            state, reward, _ = model.imagine(state, press(*actions[step])[None], temperature, noise=chance)
            total += float(reward)
            assert found["rewards"][step] == pytest.approx(total, abs=1e-3)
            seen = np.array(found["p"][step]).reshape(120, 160, 4)
            picture, codes = model.draw(state, codes, torch.from_numpy(press(*actions[step])[None]), noise=luck)
            assert (np.abs(seen[..., :3] - picture[0].numpy().astype(int)) > 1).mean() < 0.1
        np.testing.assert_allclose(found["z"], state.z[0], atol=1e-3)


def test_keys_are_seen_and_opposites_cancel(page: Browser) -> None:
    page.choose("take_cover")
    page.run("dreamdoom.send('set', {paused: false, agent: false}); dreamdoom.statistics.latencies.length = 0")

    def key(kind: str, code: str) -> None:
        page.devtools("Input.dispatchKeyEvent", type=kind, code=code, key=code)

    key("keyDown", "ArrowLeft")  # turning: this world has strafing in its stead
    page.wait("return dreamdoom.status.pressed.includes('MOVE_LEFT')")
    page.wait("return dreamdoom.statistics.latencies.length")
    key("keyDown", "KeyD")
    page.wait("return !dreamdoom.status.pressed.length")
    key("keyUp", "ArrowLeft")
    page.wait("return dreamdoom.status.pressed.join() === 'MOVE_RIGHT'")
    key("keyUp", "KeyD")
    page.wait("return !dreamdoom.status.pressed.length")
    # A tap is not lost. It is down for one step, which is too short to ask for from here.
    page.run(
        "window.tapped = false; setInterval(() => { tapped ||= dreamdoom.status.pressed.includes('MOVE_LEFT') }, 5)"
    )
    key("keyDown", "KeyA")
    key("keyUp", "KeyA")
    page.wait("return tapped")


def test_the_agent_plays_where_there_is_one(page: Browser) -> None:
    page.choose("take_cover")
    page.run("dreamdoom.send('set', {paused: false})")
    page.press("agent")
    page.wait("return dreamdoom.status.agent && dreamdoom.status.pressed.length")
    page.choose("defend_the_center")
    assert page.wait("return document.getElementById('agent').disabled")


def test_the_agent_scores_in_the_page_what_it_scores_in_python(page: Browser, model: WorldModel) -> None:
    paused(page, "take_cover")
    page.run("dreamdoom.statistics.scored = null; dreamdoom.send('score', {episodes: arguments[0]})", EPISODES)
    found = page.wait("return dreamdoom.statistics.scored")
    expected = evaluate_policy(DreamBatch(EPISODES, "take_cover", weights=model), make_agent(model), EPISODES, 0)
    for here, there in ((found["returns"], expected.returns), (found["steps"], expected.lengths)):
        spread = np.hypot(np.std(here), np.std(there)) / np.sqrt(EPISODES)
        assert spread > 0  # episodes differ
        assert np.mean(here) == pytest.approx(np.mean(there), abs=4 * spread)


def test_a_saved_dream_is_gone_back_to_as_often_as_wanted(page: Browser) -> None:
    paused(page, "take_cover")
    newer = "return dreamdoom.status.frames > arguments[0] && dreamdoom.status.step === 0"
    frames = page.run("return dreamdoom.status.frames")
    page.press("restart")
    page.wait(newer, frames)
    before = page.picture()
    page.press("save")
    page.wait("return document.querySelector('#saved-list button')")
    for _ in range(2):
        page.press("single")
        page.wait("return dreamdoom.status.step === 1 && dreamdoom.status.whole")
        after = page.picture()
        assert not np.array_equal(before, after)
        frames = page.run("return dreamdoom.status.frames")
        page.run("document.querySelector('#saved-list button').click()")
        page.wait(newer, frames)
        np.testing.assert_array_equal(page.picture(), before)


def test_a_film_is_made(page: Browser) -> None:
    page.choose("take_cover")
    page.run("dreamdoom.send('set', {paused: false})")
    page.press("film")
    time.sleep(2)
    page.press("film")
    film = page.wait("return dreamdoom.statistics.film")
    assert film["bytes"] > 1000 and film["type"] in ("video/mp4", "video/webm")


def test_every_control_has_a_name_and_can_be_focused(page: Browser) -> None:
    page.choose("take_cover")
    nameless = page.run(
        "return [...document.querySelectorAll('button, input, summary, canvas, [role]')]"
        ".filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')"
        " || e.labels?.length || e.querySelector('img[alt]')) && e.getAttribute('role') !== 'status'"
        " && e.getAttribute('role') !== 'alert').map((e) => e.id || e.outerHTML)"
    )
    assert nameless == []
    assert page.run("return document.activeElement.id") == "stage"


@pytest.mark.parametrize("size", [(390, 844), (844, 390)], ids=["upright", "on its side"])
def test_fingers_play_a_phone_held_either_way(exported, tmp_path: Path, size: tuple[int, int]) -> None:
    with served(exported[0]) as server, Browser(tmp_path, size, touch=True) as phone:
        phone.open(server.url)
        phone.choose("take_cover")
        places = phone.run(
            "return ['[data-button=MOVE_LEFT]', '[data-button=MOVE_RIGHT]', '#picture']"
            ".map((s) => document.querySelector(s).getBoundingClientRect().toJSON())"
        )
        left, right, picture = places
        assert all(0 <= box["left"] and box["right"] <= size[0] + 1 for box in places)
        assert all(box["bottom"] <= size[1] + 1 for box in places), "all without scrolling"
        assert min(left["width"], left["height"]) >= 44 and picture["width"] >= 0.4 * size[0]
        assert phone.run("return document.documentElement.scrollWidth <= innerWidth")

        def touch(kind: str, *boxes: dict) -> None:
            points = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2} for box in boxes]
            phone.devtools("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        touch("touchStart", left)
        phone.wait("return dreamdoom.status.pressed.join() === 'MOVE_LEFT'")
        touch("touchMove", right)  # the finger slides to the other pad
        phone.wait("return dreamdoom.status.pressed.join() === 'MOVE_RIGHT'")
        touch("touchEnd")
        phone.wait("return !dreamdoom.status.pressed.length")


class Plain(http.server.SimpleHTTPRequestHandler):
    """A host that sends no headers of its own."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | TYPES
    folder: Path

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments, directory=str(self.folder))

    def log_message(self, *arguments) -> None:
        pass


def test_a_plain_host_gets_threads_and_what_was_loaded_works_without_it(exported, tmp_path: Path) -> None:
    handler = type("Handler", (Plain,), {"folder": exported[0]})
    with Browser(tmp_path) as browser:
        with served(exported[0], handler) as server:
            browser.open(server.url)
            assert browser.run("return crossOriginIsolated"), "the service worker adds the headers"
            browser.choose("take_cover")
            url = server.url
        browser.open(url)  # nobody serves it now
        browser.choose("take_cover")
        browser.wait("return dreamdoom.status.step > 1")
        browser.run("document.querySelector('[data-world=defend_the_center]').click()")
        browser.wait("return document.getElementById('problems').innerText.includes('no connection')")


def test_what_is_damaged_is_named_and_the_rest_works(exported, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported[0], tmp_path / "copy"))
    manifest = exported[1]
    agents = manifest["agents"]["take_cover"]["variants"].values()
    for entry in (manifest["graphs"]["step"]["variants"]["float16"], *agents):
        (folder / entry["file"]).write_bytes(b"damaged")
    for entry in manifest["graphs"]["central"]["variants"].values():
        (folder / entry["file"]).unlink()
    with served(folder) as server, Browser(tmp_path / "profile") as browser:
        browser.open(f"{server.url}?variant=float16")
        assert "step.float16.onnx is damaged" in browser.problems() and "Another variant" in browser.problems()
        browser.choose("take_cover")
        assert "the agent of this world cannot" in browser.problems()
        browser.run("dreamdoom.send('set', {temperature: 0})")
        browser.wait("return document.getElementById('problems').innerText.includes('Temperatures above 0 work')")
        browser.wait("return dreamdoom.status.step > 1 && dreamdoom.status.temperature === 1")
        (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 0}))
        browser.driver.get(server.url)
        browser.wait("return document.getElementById('problems').innerText.includes('has export format 0')")
