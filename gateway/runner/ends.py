"""Descriptors for a program or a dial, and requests that fit the protocol.

Owns which end is ours. Must not know who sends them.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace

from gateway.ports import PipeSource
from gateway.sessions import Pty, SessionRequest, Window

_OPCODES, _SIZE, _U32 = 255, 65535, 2**32 - 1


@dataclass(frozen=True)
class Ends:
    """Both sides of some pipes or of a socket pair: `ours` never block, `theirs` go to the runner."""

    ours: tuple[int, ...]
    theirs: tuple[int, ...]


def socket_ends() -> Ends:
    """A stream socket pair, for a terminal or a dial. Both ends were made here, so neither can stall us."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Ends((ours.detach(),), (theirs.detach(),))


async def pipe_ends(pipes: PipeSource) -> Ends:
    """Three pipes, ours in the order stdin, stdout, stderr."""
    made = await pipes()
    ours = (made.stdin[1], made.stdout[0], made.stderr[0])
    for fd in ours:
        os.set_blocking(fd, False)
    return Ends(ours, (made.stdin[0], made.stdout[1], made.stderr[1]))


def clamped(window: Window) -> Window:
    """The window as a terminal can have it: SSH has 32 bits a side, struct winsize 16."""
    return Window(
        min(window.columns, _SIZE),
        min(window.rows, _SIZE),
        min(window.width, _SIZE),
        min(window.height, _SIZE),
    )


def fitting(request: SessionRequest) -> SessionRequest:
    """The request with a window and modes that a terminal can have."""
    if request.pty is None:
        return request
    modes = {code: value for code, value in request.pty.modes.items() if code <= _OPCODES and value <= _U32}
    return replace(request, pty=Pty(request.pty.term, clamped(request.pty.window), modes))
