"""Brings the messages of connection sockets, with their descriptors, to the connections.

Owns one SEQPACKET socket for each SSH connection, and what is queued for it. Must not know what is asked.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from gateway.runner import codec, packets
from gateway.runner.inside.connection import Connection, World
from gateway.runner.protocol import TO_RUNNER, Message, ProtocolError


class Served:
    """One connection socket; `ended` is called once, when its worker is gone or spoke nonsense."""

    def __init__(self, world: World, sock: socket.socket, ended: Callable[[], object]) -> None:
        self._loop, self._socket, self._ended = world.loop, sock, ended
        self._queue: deque[bytes] = deque()
        self._connection = Connection(world, self._send)
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._receive)

    def _receive(self) -> None:
        """Take one message; epoll comes back for the next, so that no connection holds up another."""
        try:
            frame, fds = packets.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            return self._end()
        if not frame:
            packets.close_all(fds)
            return self._end()
        try:
            self._connection.handle(codec.decode(frame, len(fds), TO_RUNNER), fds)
        except ProtocolError:
            packets.close_all(fds)
            self._end()

    def _send(self, message: Message) -> None:
        """Queue an answer and send what the socket takes."""
        self._queue.append(codec.encode(message))
        if len(self._queue) == 1:
            self._flush()

    def _flush(self) -> None:
        """Send until the socket is full. A worker that is gone is noticed by the reader."""
        try:
            while self._queue:
                packets.send(self._socket, self._queue[0], ())
                self._queue.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._flush)
            return
        except OSError:
            self._queue.clear()
        self._loop.remove_writer(self._socket.fileno())

    def _end(self) -> None:
        """Let go of the socket and tell the connection and the owner."""
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._connection.end()
        self._ended()
