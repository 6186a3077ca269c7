#!/usr/bin/python3 -ISB
"""The program `gpu`, as it lies in every workspace: it asks the gateway and shows the answer.

Owns two standard streams and an exit status, nothing else: what words mean the gateway decides, and who asks
it sees by the container. This file alone is mounted, and runs on the image's Python, 3.9 or newer.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys

SOCKET_PATH = "/opt/gpu-gateway/socket/gpu.sock"
_PATIENCE = 20  # seconds for a gateway that is busy with other programs of this container
_LONGEST = 1 << 16
_AWAY = 75  # EX_TEMPFAIL


def main(path: str) -> int:
    """Ask with this process's arguments; the exit status."""
    # Interrupted, or read by nobody any more, it ends as other programs do.
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    words = [os.fsencode(word) for word in ["gpu", *sys.argv[1:]]]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE, 0))
        try:
            sock.connect(path)
            sock.sendall(b"\0".join(words))
        except OSError as problem:
            return _fail(f"The gateway cannot be reached ({problem.strerror}); try again in a moment.")
        return _show(sock)


def _show(sock: socket.socket) -> int:
    """Show packet after packet; the last one is the exit status."""
    while True:
        try:
            packet = sock.recv(_LONGEST)
        except OSError:
            packet = b""
        kind, rest = packet[:1], packet[1:]
        if kind == b"x":
            return int(rest)
        if kind not in (b"o", b"e"):
            return _fail("The gateway did not answer to the end; see gpu status.")
        stream = (sys.stdout if kind == b"o" else sys.stderr).buffer
        stream.write(rest)
        stream.flush()


def _fail(sentence: str) -> int:
    sys.stderr.write(f"gpu: {sentence}\n")
    return _AWAY


if __name__ == "__main__":
    sys.exit(main(SOCKET_PATH))
