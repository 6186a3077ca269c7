"""Serves one SSH connection over a byte stream, where the gateway cannot pass descriptors.

Owns the pipes and socket pairs that the gateway would have passed. Must not know what is asked: the
connection gets the same messages with the same descriptors as always.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from gateway.runner import packets
from gateway.runner.inside.connection import Connection, World
from gateway.runner.listening import Accept
from gateway.runner.mux import Mux
from gateway.runner.protocol import (
    TO_RUNNER,
    Close,
    Dial,
    DialUnix,
    Failed,
    Message,
    ProtocolError,
    Refused,
    Start,
    descriptors,
)


class StreamServed:
    """One connection over two descriptors of this process; `ended` is called when the stream has ended."""

    def __init__(self, world: World, reader: int, writer: int, ended: Callable[[], object]) -> None:
        self._ended = ended
        self._connection = Connection(world, self._send)
        self._mux = Mux(world.loop, reader, writer, (1, 2), TO_RUNNER, self._received, self._end)

    def _received(self, message: Message) -> None:
        """Do what the worker asks, with descriptors made here."""
        if isinstance(message, Close):
            self._mux.drop(message.id)
        if not isinstance(message, (Start, Dial, DialUnix, Accept)):
            self._connection.handle(message, ())
            return
        theirs = self._pipes(message.id) if descriptors(message) == 3 else self._socket(message.id)
        try:
            self._connection.handle(message, theirs)
        except ProtocolError:
            packets.close_all(theirs)
            raise

    def _pipes(self, id: int) -> list[int]:
        """Three pipes; ours are carried."""
        pairs = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        for stream, (reader, writer) in enumerate(pairs):
            self._mux.carry(id, stream, writer if stream == 0 else reader)
        return [pairs[0][0], pairs[1][1], pairs[2][1]]

    def _socket(self, id: int) -> list[int]:
        """One socket pair; ours is carried."""
        ours, theirs = socket.socketpair()
        self._mux.carry_socket(id, ours.detach())
        return [theirs.detach()]

    def _send(self, message: Message) -> None:
        """Answer; what was not granted has nothing to carry."""
        if isinstance(message, (Failed, Refused)):
            self._mux.drop(message.id)
        self._mux.send(message)

    def _end(self, reason: str) -> None:
        """The worker is gone."""
        self._connection.end()
        self._ended()
