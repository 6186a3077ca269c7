"""The three pipes of a program without a terminal.

Owns how they are made. The broker makes them, because the kernel charges a pipe's memory to its maker's uid:
were it the workers', one container that enlarges the pipes it holds would leave every user with tiny ones.
Must not know who reads them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

SIZE = 64 * 1024

Pipe = tuple[int, int]


@dataclass(frozen=True)
class PipeSet:
    """Three pipes, each (read end, write end)."""

    stdin: Pipe
    stdout: Pipe
    stderr: Pipe

    def close(self) -> None:
        """Close all six ends."""
        for fd in (*self.stdin, *self.stdout, *self.stderr):
            os.close(fd)


Pipes = Callable[[], Awaitable[PipeSet]]


def make_pipes() -> PipeSet:
    """Three new pipes of `SIZE` bytes, close-on-exec and blocking, which the container's user may reopen.

    Without the mode 0666 `> /dev/stdout` fails for a uid that is not the maker's. Raises OSError.
    """
    made: list[Pipe] = []
    try:
        for _ in range(3):
            made.append(_pipe())
    except OSError:
        for pair in made:
            os.close(pair[0])
            os.close(pair[1])
        raise
    return PipeSet(*made)


def _pipe() -> Pipe:
    """One pipe."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.fchmod(reader, 0o666)
    if fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) != SIZE:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SIZE)
    return reader, writer
