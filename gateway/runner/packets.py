"""One frame with its descriptors in one SEQPACKET packet.

Owns the two system calls and the rule that a descriptor is either handed over whole or closed. Must not
know what a frame means. Runs on both sides, so it keeps to the standard library of Python 3.9.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

from gateway.runner.protocol import FRAME_LIMIT

_INT = array.array("i").itemsize
# Room for one descriptor more than any message carries: the kernel closes what does not fit, and the
# surplus one makes the count wrong, so that the message is refused.
_ANCILLARY = socket.CMSG_SPACE(4 * _INT)


def send(sock: socket.socket, frame: bytes, fds: Sequence[int]) -> None:
    """Send one packet at once; the caller keeps its descriptors. Raises OSError as sendmsg(2) does."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([frame], rights)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors, close-on-exec, now the caller's. Empty bytes mean the peer is gone.

    A packet above the limit comes back one byte longer than any frame may be, so that it is refused.
    socket.recv_fds() ignores its flags in 3.11, which would leak descriptors into every child.
    """
    frame, ancillary, _, _ = sock.recvmsg(FRAME_LIMIT + 1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _INT])
    return frame, list(fds)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that nobody else owns."""
    for fd in fds:
        os.close(fd)
