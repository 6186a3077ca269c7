"""Servers on the test's own side of a forward: what a reverse forward leads to.

Owns their threads and sockets. Must not know SSH.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens there, asked of the kernel: a connection would be forwarded."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == f"0100007F:{port:04X}" and row[3] == "0A" for row in rows)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serves each connection in a thread: the port. All are closed at the end, and the threads awaited."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=600)
    peers: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def one(peer: socket.socket) -> None:
        with suppress(OSError):
            serve(peer)
        with suppress(OSError):
            peer.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peers.append(peer)
                threads.append(threading.Thread(target=one, args=(peer,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(20)
        for peer in peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(20)


def greet_and_count(peer: socket.socket) -> None:
    """Speaks first, and after the end of what it reads says how much that was."""
    peer.sendall(b"ready\n")
    count = 0
    while data := peer.recv(65536):
        count += len(data)
    peer.sendall(b"got %d" % count)
