"""Serves an exported folder on this machine, with the headers that a browser wants before it gives a page threads."""

from __future__ import annotations

import functools
import http.server
import json
import webbrowser
from http import HTTPStatus
from pathlib import Path
from typing import Any

from doom_dream_env import __version__
from doom_dream_env.world_model import files

# Shared memory, which threads need, is given only to a page that nothing from elsewhere can look into.
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".onnx": "application/octet-stream",
    ".bin": "application/octet-stream",
    ".safetensors": "application/octet-stream",
    ".webmanifest": "application/manifest+json",
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | TYPES

    def end_headers(self) -> None:
        for name, value in ISOLATION.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """Folders have no listing: the page names every file."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """A player need not read of every file."""


class PageServer(http.server.ThreadingHTTPServer):
    """Serves a folder; `url` says where.

    Args:
        folder: an export.
        host: address to listen at.
        port: 0: any that is free.

    Raises:
        OSError: if the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            super().__init__((host, port), functools.partial(_Handler, directory=str(folder)))
        except OSError as error:
            raise OSError(error.errno, f"cannot serve at {host}:{port}: {error.strerror}; try another --port") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"


def is_current(folder: Path, weights: str | Path | None, scenarios: tuple[str, ...]) -> bool:
    """Is there an export of these weights by this release in a folder, with these scenarios (none named: all)?"""
    from doom_dream_env.export.bundle import FORMAT_VERSION, MANIFEST

    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        fingerprint = files.read_json(files.find_weights(weights) / files.MANIFEST)["fingerprint"]
        has = {world["scenario"] for world in manifest["worlds"]}
        found = (manifest["format_version"], manifest["package_version"], manifest["weights"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    enough = set(scenarios) <= has if scenarios else manifest.get("complete") is True
    return enough and found == (FORMAT_VERSION, __version__, fingerprint)


def serve(folder: Path, host: str, port: int, browser: bool) -> None:
    """Serve an export until Ctrl-C.

    Args:
        folder: the export.
        host: address to listen at.
        port: 0: any that is free.
        browser: open the page in the user's browser.
    """
    with PageServer(folder, host, port) as server:
        print(f"{server.url} shows {folder}; Ctrl-C ends it", flush=True)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
