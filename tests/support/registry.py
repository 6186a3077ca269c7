"""Debian's docker-registry on a port of this machine, with a password; a proxy that spoils what it serves.

Owns the two programs' lives and a folder for their files. Must not know the product.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PASSWORD = "not a secret"
_HASH = "lab:$2y$05$abcdefghijklmnopqrstuuiitcSTbmWtinjxTMhPy6Z4ocreVFuRu"
_CONFIG = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/blobs}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: lab, path: {folder}/htpasswd}}}}
"""
_WITHIN = 60.0


@dataclass
class Registry:
    """A running registry at `host`, and the folder for DOCKER_CONFIG with which it lets one in."""

    host: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def docker_config(self) -> Path:
        """The folder."""
        return self.folder / "config"

    def lets_in(self, *hosts: str) -> None:
        """Write the file of `docker login` with the password for these hosts."""
        auth = base64.b64encode(f"lab:{PASSWORD}".encode()).decode()
        self.docker_config.mkdir(exist_ok=True)
        auths = {host: {"auth": auth} for host in hosts}
        (self.docker_config / "config.json").write_text(json.dumps({"auths": auths}))

    def stop(self) -> None:
        """End it; what was pushed stays."""
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """A registry whose files lie in `folder`; it is gone afterwards, and its files are the caller's."""
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port = found.getsockname()[1]
    (folder / "htpasswd").write_text(_HASH + "\n")
    (folder / "config.yml").write_text(_CONFIG.format(folder=folder, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    made = Registry(f"127.0.0.1:{port}", folder, process)
    made.lets_in(made.host)
    try:
        deadline = time.monotonic() + _WITHIN
        while not _listens(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not listen"
            time.sleep(0.05)
        yield made
    finally:
        made.stop()


def _listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


Spoil = Callable[[str, bytes], bytes | None]
"""Gets a request's method and path and the body of the answer; gives the body to serve, or None to wait."""


@contextmanager
def spoiled(behind: Registry, spoil: Spoil) -> Iterator[str]:
    """A proxy before a registry, as HOST:PORT. What `spoil` has wait is not answered."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        """Passes one request on, and the answer back as `spoil` leaves it."""

        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = self.rfile.read(length)
            with closing(HTTPConnection(behind.host, timeout=60)) as line:
                line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                # One by one: Accept comes several times.
                for name, value in self.headers.items():
                    line.putheader(name, value)
                line.endheaders(asked)
                answer = line.getresponse()
                body = spoil(f"{self.command} {self.path}", answer.read())
            if body is None:
                over.wait(_WITHIN)
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", size or "0")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    host = f"127.0.0.1:{server.server_port}"
    behind.lets_in(behind.host, host)
    try:
        yield host
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
