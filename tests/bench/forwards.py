"""Rows of forwarded connections, to a server inside the container.

Owns the server's three answers and both ends' sockets.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.figures import Row
from tests.bench.sides import Side, Sides
from tests.bench.timing import in_turn
from tests.support.house import wait_for
from tests.support.near import free_port, listens

GIBIBYTE = 1 << 30
SHORT = 1_000

# One letter says what is wanted: D sends a gibibyte, U takes everything and says so, S just says so.
_SERVER = f"""
import socket, sys, threading
def serve(sock):
    with sock:
        wanted = sock.recv(1)
        if wanted == b"D":
            chunk = bytes(1 << 16)
            for _ in range({GIBIBYTE} >> 16):
                sock.sendall(chunk)
            return
        while wanted == b"U" and sock.recv(1 << 16):
            pass
        sock.sendall(b".")
server = socket.create_server(("127.0.0.1", 0), backlog=128)
print(server.getsockname()[1], flush=True)
def accept():
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()  # whoever started it is gone
"""


def forwards(sides: Sides) -> list[Row]:
    """1 GiB each way and a thousand short connections through `-L`."""
    with _forwarded(sides.ours) as ours, _forwarded(sides.theirs) as theirs:
        down = in_turn(lambda: _down(ours), lambda: _down(theirs), 3)
        up = in_turn(lambda: _up(ours), lambda: _up(theirs), 3)
        short = in_turn(lambda: _short(ours), lambda: _short(theirs), 3)
    return [
        Row("`-L` 1 GiB down", "sshd", "s", *down, 0.7),
        Row("`-L` 1 GiB up", "sshd", "s", *up, 1.0),
        Row("`-L` 1,000 short connections", "sshd", "s", *short, 0.4),
    ]


def _down(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"D")
        buffer, taken = bytearray(1 << 18), 0
        while read := sock.recv_into(buffer):
            taken += read
        assert taken == GIBIBYTE, taken


def _up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"U")
        chunk = bytes(1 << 18)
        for _ in range(GIBIBYTE >> 18):
            sock.sendall(chunk)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b"."


def _short(port: int) -> None:
    for _ in range(SHORT):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"S")
            assert sock.recv(1) == b"."


@contextmanager
def _forwarded(side: Side) -> Iterator[int]:
    """A port here that leads to the server there."""
    server = subprocess.Popen(
        side.ssh(f"exec python3 -c '{_SERVER}'"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdout is not None
    inside = int(server.stdout.readline())
    port = free_port()
    client = subprocess.Popen(side.ssh(options=("-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{inside}")))
    try:
        wait_for(lambda: listens(port), "the forward")
        yield port
    finally:
        for process in (client, server):
            process.kill()
            process.wait()
