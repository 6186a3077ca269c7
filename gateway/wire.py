"""Packets with descriptors over a SEQPACKET socket, without ever waiting.

Owns the queue of what the kernel would not take yet, and the rule that no descriptor is lost: each
is closed here or handed to exactly one receiver. Must not know what a packet means.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from gateway.messages import LIMIT

MOST_QUEUED_BYTES = 1 << 24
"""Kept for a peer that does not read; more and it is given up."""
MOST_QUEUED_DESCRIPTORS = 1024
"""The same for descriptors: a peer that asks for pipes and never reads must not use up this process's."""
MOST_DESCRIPTORS = 128
"""Descriptors taken from one packet; the kernel's own limit is 253 (SCM_MAX_FD)."""

_BURST = 64
_INTS = array.array("i").itemsize


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking SEQPACKET sockets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors, close-on-exec. Empty data with no descriptors is the end.

    Raises BlockingIOError when nothing is there, OSError when the peer is gone or the packet was cut.
    """
    data, control, flags, _ = sock.recvmsg(
        LIMIT, socket.CMSG_SPACE(MOST_DESCRIPTORS * _INTS), socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % _INTS])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(fds)
        raise OSError("a packet was longer than the protocol allows")
    return data, list(fds)


def send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    """Give one packet to the kernel. Raises BlockingIOError when it will not take it now."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], control)


def close_all(fds: Sequence[int] | array.array[int]) -> None:
    """Close descriptors that nobody will own."""
    for fd in fds:
        os.close(fd)


class PacketSocket:
    """One end of a conversation on the running loop.

    `received` is called with each packet and owns its descriptors; `lost` is called once, when the
    peer is gone, cannot keep up, or `close` was called.
    """

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[bytes, list[int]], None],
        lost: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._bytes = self._descriptors = 0
        self._closed = False
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send, or queue, one packet; `fds` belong to this call from here on and are closed after it."""
        if self._closed:
            close_all(fds)
            return
        self._queue.append((data, fds))
        self._bytes += len(data)
        self._descriptors += len(fds)
        if len(self._queue) == 1:
            self._write()
        elif self._bytes > MOST_QUEUED_BYTES or self._descriptors > MOST_QUEUED_DESCRIPTORS:
            self.close()

    def close(self) -> None:
        """End the conversation; queued packets are dropped and their descriptors closed."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        self._lost()

    def _read(self) -> None:
        for _ in range(_BURST):
            if self._closed:
                return
            try:
                data, fds = receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if not data:
                close_all(fds)
                self.close()
                return
            self._received(data, fds)

    def _write(self) -> None:
        while self._queue:
            data, fds = self._queue[0]
            try:
                send(self._sock, data, fds)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:
                self.close()
                return
            self._queue.popleft()
            self._bytes -= len(data)
            self._descriptors -= len(fds)
            close_all(fds)
        self._loop.remove_writer(self._sock.fileno())
