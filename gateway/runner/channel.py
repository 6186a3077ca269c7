"""The worker's end of a connection socket: messages out with descriptors, messages in without.

Owns what the kernel would not take yet and the cap on descriptors in flight. Must not know what is asked.
Everything that is read here was written by a hostile runner: it is bounded, checked, and never brings a
descriptor, because the kernel drops those that a plain recv has no room for.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.runner import codec, packets
from gateway.runner.protocol import FRAME_LIMIT, REPLY_LIMIT, TO_WORKER, Message, ProtocolError

_MOST_QUEUED = 1024
_BURST = 16
_RETRY = 0.01


class Channel(Protocol):
    """What a RunnerClient needs of a transport."""

    def send(self, frame: bytes, message: Message, fds: Sequence[int]) -> None:
        """Queue a message; `fds` are owned here from now on, whatever happens. Never raises."""

    def release(self, id: int) -> None:
        """Our ends of what was sent along with `id` are closed."""

    def close(self) -> None:
        """End the connection; `ended` is not called for it."""


class PacketChannel:
    """Messages over a SEQPACKET socket, descriptors beside them.

    `received` gets each message; `ended` is called once, with the reason, when the runner is gone or broke
    the protocol.
    """

    def __init__(
        self, sock: socket.socket, received: Callable[[Message], None], ended: Callable[[str], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket, self._received, self._ended = sock, received, ended
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._retry: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FRAME_LIMIT + 1024)
        self._loop.add_reader(sock.fileno(), self._receive)

    def send(self, frame: bytes, message: Message, fds: Sequence[int]) -> None:
        """See Channel. A runner that lets a thousand messages lie is given up."""
        self._queue.append((frame, tuple(fds)))
        if self._socket.fileno() < 0:
            self._drop_queue()
        elif len(self._queue) > _MOST_QUEUED:
            self._fail("the runner does not read")
        elif len(self._queue) == 1:
            self._flush()

    def release(self, id: int) -> None:
        """See Channel: the other ends are the runner's own here."""

    def close(self) -> None:
        """See Channel."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
        if self._retry is not None:
            self._retry.cancel()
        self._drop_queue()

    def _flush(self) -> None:
        """Send until the socket is full or the queue is empty."""
        try:
            while self._queue:
                frame, fds = self._queue[0]
                packets.send(self._socket, frame, fds)
                self._queue.popleft()
                packets.close_all(fds)
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._flush)
            return
        except OSError as problem:
            self._cannot_send(problem)
            return
        self._loop.remove_writer(self._socket.fileno())

    def _cannot_send(self, problem: OSError) -> None:
        """The peer is gone, or this uid has too many descriptors in flight; nothing tells when that ends."""
        if problem.errno == errno.ETOOMANYREFS:
            self._loop.remove_writer(self._socket.fileno())
            self._retry = self._loop.call_later(_RETRY, self._flush)
        else:
            self._fail("the runner is gone: " + os.strerror(problem.errno or 0))

    def _receive(self) -> None:
        """Take some messages; a flood must leave the loop to others in between."""
        for _ in range(_BURST):
            try:
                frame = self._socket.recv(REPLY_LIMIT + 1)
                if not frame:
                    return self._fail("the runner is gone")
                if len(frame) > REPLY_LIMIT:
                    return self._fail("the runner sent a message that is too long")
                self._received(codec.decode(frame, 0, TO_WORKER))
            except BlockingIOError:
                return
            except OSError as problem:
                return self._fail("the runner is gone: " + os.strerror(problem.errno or 0))
            except ProtocolError as problem:
                return self._fail(f"the runner broke the protocol: {problem}")
            if self._socket.fileno() < 0:
                return

    def _fail(self, reason: str) -> None:
        """Close, and say why."""
        if self._socket.fileno() >= 0:
            self.close()
            self._ended(reason)

    def _drop_queue(self) -> None:
        """Close the descriptors that will never be sent."""
        while self._queue:
            packets.close_all(self._queue.popleft()[1])
