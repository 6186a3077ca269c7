"""Keeps the link to the broker, for as long as it takes.

Owns the runner socket: dialling it, saying hello, dialling again. Must not know what connections do.
"""

from __future__ import annotations

import socket

from gateway.runner import codec, packets
from gateway.runner.inside.connection import World
from gateway.runner.inside.parting import Farewell
from gateway.runner.inside.serve import Served
from gateway.runner.protocol import (
    FROM_BROKER,
    VERSION,
    Connection,
    Hello,
    Part,
    Parted,
    Parting,
    ProtocolError,
)

SOCKET_PATH = "/opt/gpu-gateway/socket/runner.sock"
_SHORTEST, _LONGEST = 0.02, 1.0
_MOST_NAMED = 512  # so that a hello with the longest ids still fits a header


class BrokerLink:
    """Always connected, or about to be. Connections outlive it: a broker may be replaced."""

    def __init__(self, world: World, path: str) -> None:
        self._world, self._path = world, path
        self._pause = _SHORTEST
        self._connections: dict[str, Served] = {}
        self._farewell = Farewell(world, self._answer)
        self._dial()

    def _dial(self) -> None:
        """Connect and say hello; the broker may be away, or busy with our predecessor."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        hello = codec.encode(Hello(VERSION, tuple(self._connections)[:_MOST_NAMED]))
        try:
            self._socket.connect(self._path)
            packets.send(self._socket, hello, ())
        except OSError:
            return self._later()
        self._world.loop.add_reader(self._socket.fileno(), self._receive)

    def _later(self) -> None:
        """Dial again, less and less often."""
        self._socket.close()
        self._world.loop.call_later(self._pause, self._dial)
        self._pause = min(self._pause * 2, _LONGEST)

    def _receive(self) -> None:
        """A new connection, word of the container's end, or the end of the link."""
        try:
            frame, fds = packets.receive(self._socket)
            message = codec.decode(frame, len(fds), FROM_BROKER)
        except BlockingIOError:
            return
        except OSError:
            return self._lost()
        except ProtocolError:
            packets.close_all(fds)
            return self._lost()
        self._pause = _SHORTEST
        if isinstance(message, Part):
            return self._farewell.part(message)
        assert isinstance(message, Connection)
        self._serve(message.connection, socket.socket(fileno=fds[0]))

    def _answer(self, message: Parting | Parted) -> None:
        """Tell the broker; one that does not read loses the link, and finds out by asking again."""
        try:
            packets.send(self._socket, codec.encode(message), ())
        except OSError:
            self._lost()

    def _serve(self, id: str, sock: socket.socket) -> None:
        """Serve one SSH connection until its worker lets go."""
        served = Served(self._world, sock, lambda: self._forget(id, served))
        self._connections[id] = served

    def _forget(self, id: str, served: Served) -> None:
        """A connection has ended; a later one of the same id has not."""
        if self._connections.get(id) is served:
            del self._connections[id]

    def _lost(self) -> None:
        """The broker is gone or speaks another version; it will be there again."""
        self._farewell.forget()
        self._world.loop.remove_reader(self._socket.fileno())
        self._later()
