"""Starts a process that owes nothing to the runner.

Owns what a child inherits: its descriptors, session, signals, directory, limits and place in the OOM
killer's queue. Must not know requests or messages.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

_EXPENDABLE = 200
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Spawner:
    """Starts processes with posix_spawn: no fork of this interpreter, no code of ours before the exec."""

    def __init__(self) -> None:
        self._score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        own = int(os.pread(self._score, 16, 0))
        self._own, self._children = b"%d" % own, b"%d" % min(1000, own + _EXPENDABLE)
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._raise_own_limit()
        os.umask(0o022)

    def start(
        self,
        path: str,
        argv: list[str | bytes],
        env: Mapping[str, str],
        directory: str,
        files: Sequence[tuple[Any, ...]],
    ) -> int:
        """Start `path` in its own session and return its pid. `files` are posix_spawn's file actions.

        Raises OSError when it does not start. A `directory` that is missing means `/`, as sshd does.
        """
        try:
            os.chdir(directory)
        except OSError:
            os.chdir("/")
        raw = {_raw(name): _raw(value) for name, value in env.items()}
        try:
            with self._as_child():
                return os.posix_spawn(
                    path, argv, raw, file_actions=files, setsid=True, setsigmask=[], setsigdef=_SIGNALS
                )
        finally:
            os.chdir("/")

    @contextmanager
    def _as_child(self) -> Iterator[None]:
        """Be for the moment of the spawn what the child shall inherit.

        A process may always raise its own score and go back to where it was, so this needs no privilege; and
        since the parent sleeps until the child has called exec, no child ever runs with the runner's score.
        """
        self._set_score(self._children)
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
        try:
            yield
        finally:
            self._raise_own_limit()
            self._set_score(self._own)

    def _set_score(self, score: bytes) -> None:
        """Take a place in the OOM killer's queue; where the site pins it, the program starts all the same."""
        with suppress(OSError):
            os.pwrite(self._score, score, 0)

    def _raise_own_limit(self) -> None:
        """Many ptys and forwards need more descriptors than the usual 1024."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limits[1], self._limits[1]))


def onto(stdin: int, stdout: int, stderr: int) -> list[tuple[Any, ...]]:
    """File actions for three descriptors that are already open here."""
    return [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate((stdin, stdout, stderr))]


def onto_terminal(path: str) -> list[tuple[Any, ...]]:
    """File actions for a terminal: the first open after setsid makes it the controlling one."""
    opened = (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0)
    return [opened, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]


def _raw(text: str) -> bytes:
    """The bytes that `text` stands for, whatever locale this interpreter was started in."""
    return text.encode("utf-8", "surrogateescape")
