"""Pipes for executions, made by the broker.

Owns how they are made: pipe memory is charged to the uid that made the pipe, so that the workers'
uid could be starved by a container that enlarges what it was given; root's is not limited (kernel:
Documentation/admin-guide/sysctl/fs.rst, pipe-user-pages-soft). Must not know who uses them.
"""

from __future__ import annotations

import os

_EVERYONE = 0o666
"""Else a program cannot open /dev/stdout, which is its end of a pipe that another uid owns."""


def make(sets: int) -> list[int]:
    """Three pipes a set, each read end then write end, not blocking on the side that a worker keeps.

    Raises OSError, with none left open, when the process has no descriptors left.
    """
    made: list[int] = []
    try:
        for _ in range(sets):
            for worker_reads in (False, True, True):
                read, write = os.pipe2(os.O_CLOEXEC)
                made += [read, write]
                os.fchmod(read, _EVERYONE)
                os.set_blocking(read if worker_reads else write, False)
    except OSError:
        for fd in made:
            os.close(fd)
        raise
    return made
