"""The worker's end of a runner that is reached over one byte stream.

Owns the descriptors that another transport would have passed, and carries their bytes; a RunnerClient cannot
tell the difference. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from gateway.runner.listening import Accept
from gateway.runner.mux import Mux
from gateway.runner.protocol import TO_WORKER, Close, Dial, DialUnix, Failed, Message, Refused, Start


class StreamChannel:
    """Messages and data over a stream socket; see Channel and Mux."""

    def __init__(
        self, sock: socket.socket, received: Callable[[Message], None], ended: Callable[[str], None]
    ) -> None:
        self._received = received
        fd = sock.detach()
        self._mux = Mux(asyncio.get_running_loop(), fd, fd, (0,), TO_WORKER, self._take, ended)

    def send(self, frame: bytes, message: Message, fds: Sequence[int]) -> None:
        """See Channel."""
        self._mux.send_frame(frame)
        if isinstance(message, (Start, Dial, DialUnix, Accept)):
            if len(fds) == 1:
                self._mux.carry_socket(message.id, fds[0])
            else:
                for stream, fd in enumerate(fds):
                    self._mux.carry(message.id, stream, fd)

    def release(self, id: int) -> None:
        """See Channel: close the far ends too, even of a program that has ended but left a job behind."""
        self._mux.drop(id)
        self._mux.send(Close(id))

    def close(self) -> None:
        """See Channel."""
        self._mux.close()

    def _take(self, message: Message) -> None:
        """Pass on an answer; what was not granted has nothing to carry."""
        if isinstance(message, (Failed, Refused)):
            self._mux.drop(message.id)
        self._received(message)
