"""Chromium without a window, for tests of the page; tests that need it are skipped where it is not installed."""

from __future__ import annotations

import base64
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doom_dream_env.web import PageServer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
PATIENCE = 240  # seconds, for a machine that does much else


@contextmanager
def served(folder: Path, handler: type | None = None) -> Iterator[PageServer]:
    """A folder on this machine; `handler` replaces the server's own."""
    with PageServer(folder) as server:
        if handler is not None:
            server.RequestHandlerClass = handler
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def processes(parent: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may end between the two looks
            above = int(file.read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(above, []).append(int(file.parent.name))
    found = [parent]
    for pid in found:
        found += children.get(pid, [])
    return found


class Browser:
    """A page in Chromium.

    Args:
        profile: folder for its files.
        size: of the window.
        flags: more command line flags.
        touch: it is a touch screen, and nothing else.
    """

    def __init__(self, profile: Path, size: tuple[int, int] = (1280, 860), flags: tuple[str, ...] = (), touch=False):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", *flags):
            options.add_argument(flag)
        if touch:
            metrics = {"width": size[0], "height": size[1], "pixelRatio": 2.0, "touch": True}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        environment = os.environ | {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
        self.driver = webdriver.Chrome(options, Service(DRIVER, env=environment))
        self.driver.command_executor.client_config.timeout = 2 * PATIENCE
        self.driver.set_script_timeout(PATIENCE)
        self.driver.set_page_load_timeout(PATIENCE)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.driver.quit()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any, seconds: float = PATIENCE) -> Any:
        """Until a script returns something that is true; returns that."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds, 0.1).until(lambda _: self.run(script, *arguments))

    def open(self, url: str) -> None:
        """Open the page and wait until worlds can be chosen."""
        self.driver.get(url)
        self.wait("return document.body?.dataset.ready === 'yes'")

    def choose(self, world: str) -> None:
        """Choose a world, anew if it is on the page already, and wait for its first pictures."""
        self.run("if (document.body.classList.contains('playing')) document.getElementById('leave').click()")
        self.run("document.querySelector(`[data-world='${arguments[0]}']`).click()", world)
        self.wait(
            "return document.body.classList.contains('playing') && dreamdoom.status?.world === arguments[0]", world
        )

    def press(self, element_id: str) -> None:
        self.run("document.getElementById(arguments[0]).click()", element_id)

    def problems(self) -> str:
        return self.run("return document.getElementById('problems').innerText")

    def picture(self) -> np.ndarray:
        """What the canvas shows, uint8 (120, 160, 3)."""
        text = self.run(
            "const canvas = document.getElementById('picture');"
            "const {data} = canvas.getContext('2d').getImageData(0, 0, 160, 120);"
            "let text = ''; for (const byte of data) text += String.fromCharCode(byte); return btoa(text)"
        )
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(120, 160, 4)[..., :3]

    def devtools(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def logs(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
