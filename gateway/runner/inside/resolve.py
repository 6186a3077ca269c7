"""Names to addresses, without the loop ever waiting for a name server.

Owns when a child process is needed: getaddrinfo has no other way not to block, and a thread would count
against the user's processes for ever. Must not connect.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from gateway.runner.inside.loop import Loop, Timer
from gateway.runner.inside.spawn import Spawner, onto

_SECONDS = 15.0
_MOST = 16  # addresses that are tried
_CHILD = """
import socket, sys
for found in socket.getaddrinfo(sys.argv[1].encode(), None, type=socket.SOCK_STREAM):
    print(found[4][0])
"""

Address = tuple[int, tuple[Any, ...]]
Found = Callable[[list[Address]], object]


def literal(host: str, port: int) -> list[Address]:
    """The addresses of a host that needs no resolver; empty for one that does.

    `localhost` is one of them (RFC 6761): IPv4 first, as the image's /etc/hosts has it.
    """
    names = ("127.0.0.1", "::1") if host.rstrip(".").lower() == "localhost" else (host,)
    return [address for name in names for address in _numeric(name, port)]


def _numeric(host: str, port: int) -> list[Address]:
    """What getaddrinfo makes of a numeric host; it does not ask anybody then."""
    try:
        # As bytes: for text Python would load its IDNA tables, three megabytes of them.
        raw = host.encode("utf-8", "surrogateescape")
        found = socket.getaddrinfo(raw, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return []
    return [(family, address) for family, _, _, _, address in found]


class Resolver:
    """Asks the container's own resolver, in a child process for each name."""

    def __init__(self, loop: Loop, spawner: Spawner) -> None:
        self._loop, self._spawner = loop, spawner

    def resolve(self, host: str, port: int, found: Found) -> Callable[[], object]:
        """Call `found` once with the addresses, none for an unknown name. Returns how to give up.

        Raises OSError when no process can be started.
        """
        return _Question(self._loop, self._spawner, host, port, found).cancel


class _Question:
    """One name and the child that looks it up."""

    def __init__(self, loop: Loop, spawner: Spawner, host: str, port: int, found: Found) -> None:
        self._loop, self._port, self._text = loop, port, b""
        self._found: Found | None = found
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        argv: list[str | bytes] = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _CHILD,
            host.encode("utf-8", "surrogateescape"),
        ]
        try:
            self._pid = spawner.start(sys.executable, argv, {}, "/", onto(null, writer, null))
        except OSError:
            os.close(self._reader)
            raise
        finally:
            os.close(writer)
            os.close(null)
        self._alive = True
        loop.add_child(self._pid, self._reaped)
        loop.add_reader(self._reader, self._read)
        self._timer: Timer = loop.call_later(_SECONDS, self._finish)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._found = None
        self._finish()

    def _reaped(self, status: int) -> None:
        """The child has ended; what it printed may still have to be read."""
        self._alive = False

    def _read(self) -> None:
        """Collect what the child prints; a few lines at most."""
        try:
            data = os.read(self._reader, 4096)
        except BlockingIOError:
            return
        self._text += data
        if not data or len(self._text) > 4096:
            self._finish()

    def _finish(self) -> None:
        """Answer with what was printed."""
        if self._reader < 0:
            return
        self._timer.cancel()
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self._reader = -1
        if self._alive:  # not reaped, so the pid is still its own
            os.kill(self._pid, signal.SIGKILL)
        found, self._found = self._found, None
        if found is not None:
            lines = dict.fromkeys(self._text.decode("ascii", "replace").split())
            found([address for line in list(lines)[:_MOST] for address in _numeric(line, self._port)])
