"""The HTTP side of metrics: /metrics for Prometheus and /healthz for whoever watches.

Owns the listening socket and its threads; none of them touches the broker's loop. Must not know what is
measured.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.config import Listen
from gateway.journal import note
from gateway.metrics import Metrics, trouble

_CLIENT_SECONDS = 5.0
_POLL_SECONDS = 0.1
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]


@contextmanager
def exported(where: Listen | None, metrics: Metrics) -> Iterator[None]:
    """Answer HTTP at `where` during the block; not at all for None.

    An address that cannot be had is logged and otherwise ignored: people must get in all the same.
    """
    server = None if where is None else _listen(where, metrics)
    if server is None:
        yield
        return
    host, port = server.socket.getsockname()[:2]
    note("metrics", listen=str(Listen(host, port)))
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(path: str, metrics: Metrics) -> Answer:
    """Status, content type and body for one GET."""
    match path.partition("?")[0]:
        case "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)
        case "/healthz":
            why = trouble(metrics.snapshot, time.monotonic())
            return (200, _TEXT, b"ok\n") if why is None else (503, _TEXT, f"{why}\n".encode())
    return 404, _TEXT, b"Ask for /metrics or /healthz.\n"


def _listen(where: Listen, metrics: Metrics) -> _Server | None:
    try:
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        return _Server(family, (where.host, where.port), lambda path: answer(path, metrics))
    except OSError as error:
        note("metrics_unavailable", listen=str(where), reason=str(error.strerror or error))
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # server_close would wait for threads, and with them for clients that hold a connection.
    block_on_close = False

    def __init__(self, family: int, address: tuple[str, int], reply: Callable[[str], Answer]) -> None:
        self.address_family = family
        self.reply = reply
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the look-up of our own name that HTTPServer makes, which may take long."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_SECONDS
    server_version = "gpu-gateway"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer from what is known already."""
        status, kind, body = self.server.reply(self.path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Nothing: a scrape every few seconds is no event."""
