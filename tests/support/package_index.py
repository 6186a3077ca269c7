"""A package index of a site's own, over plain HTTP at an address that pip does not trust by itself.

Owns a server of the simple API (peps.python.org/pep-0503) over a folder of wheels. Must not assert.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class PackageIndex(ThreadingHTTPServer):
    """`url` is the index; `asked` are the paths that somebody wanted."""

    def __init__(self, wheels: Path) -> None:
        super().__init__((_address(), 0), _Answer)
        self.wheels = wheels
        self.asked: list[str] = []
        self.url = f"http://{self.server_address[0]!s}:{self.server_port}/simple"


class _Answer(BaseHTTPRequestHandler):
    server: PackageIndex

    def do_GET(self) -> None:
        """A project's page, or a wheel."""
        self.server.asked.append(self.path)
        name = self.path.rstrip("/").rpartition("/")[2]
        wheels = {wheel.name: wheel for wheel in self.server.wheels.iterdir()}
        if name in wheels:
            return self._send(wheels[name].read_bytes(), "application/octet-stream")
        files = [each for each in wheels if each.split("-")[0].lower() == name]
        if not files:
            return self.send_error(404)
        links = "".join(f'<a href="/wheels/{each}">{each}</a>\n' for each in files)
        return self._send(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def package_index(wheels: Path) -> Iterator[PackageIndex]:
    """An index of what is in the folder, during the block."""
    with PackageIndex(wheels) as index:
        server = threading.Thread(target=index.serve_forever, kwargs={"poll_interval": 0.05})
        server.start()
        try:
            yield index
        finally:
            index.shutdown()
            server.join()


def _address() -> str:
    """The host's own on the engine's default network, which is no loopback address."""
    shown = ["docker", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
