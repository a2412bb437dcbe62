"""Serves an exported folder on this machine, with the headers that a browser wants before it gives a page threads."""

from __future__ import annotations

import errno
import functools
import http.server
import socket
import sys
import webbrowser
from http import HTTPStatus
from pathlib import Path
from typing import Any

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
        host: name or address to listen at, of IPv4 or IPv6.
        port: 0: any that is free.

    Raises:
        OSError: if the address or the port cannot be had; says which, and why.
    """

    daemon_threads = True

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self.folder = folder
        try:
            self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__(address[:2], functools.partial(_Handler, directory=str(folder)))  # type: ignore[arg-type]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            other = "--port" if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES) else "--host"
            raise OSError(f"cannot serve at {host!r}, port {port}: {reason}; try another {other}") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}/" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone, because its page was closed or loaded anew, is no fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def show(self, browser: bool) -> None:
        """Serve until Ctrl-C; `browser`: open the page in the user's browser."""
        print(f"{self.url} shows {self.folder}; Ctrl-C ends it", flush=True)
        if browser:
            webbrowser.open(self.url)
        try:
            self.serve_forever()
        except KeyboardInterrupt:
            print()
