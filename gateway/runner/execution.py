"""One program in the container, as its worker holds it.

Owns the worker's ends of its descriptors until `close`. Must not know messages: the client gives it the few
functions that send them.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway.sessions import Exit, Window


@dataclass(frozen=True)
class Controls:
    """How an execution reaches its runner; each does nothing once the program or the runner is gone."""

    signal: Callable[[str], None]
    resize: Callable[[Window], None]
    send_break: Callable[[], None]
    close: Callable[[], None]


class Execution:
    """A running program.

    `stdin`, `stdout` and `stderr` are raw, non-blocking descriptors that we made; they are owned here, so
    take them out of the loop before `close`. With a pty there is no `stderr`; `stdin` and `stdout` are one
    descriptor, of a stream socket. `stdin` is None once `close_stdin` was called. An end of file on `stdout`
    says that nothing more will be written, not that the program has ended: a program may close it early,
    and a background job may hold it long after the exit.
    """

    def __init__(
        self,
        stdin: int,
        stdout: int,
        stderr: int | None,
        controls: Controls,
        exit: asyncio.Future[Exit],
    ):
        self.stdin: int | None = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._controls, self._exit = controls, exit
        self._closed = False
        self._stdout_open = True

    async def wait(self) -> Exit:
        """How the program ended; with a pty also: everything that it wrote can be read.

        Raises PlatformError(UNAVAILABLE) when the runner is gone first, or the client was closed.
        """
        return await asyncio.shield(self._exit)

    def close_stdin(self) -> None:
        """The client sends no more: a pipe's reader sees the end. A terminal is told nothing, as by sshd."""
        stdin, self.stdin = self.stdin, None
        if stdin is None or self._closed:
            return
        if stdin != self.stdout:
            os.close(stdin)
            return
        # The runner may have let go of it first.
        with socket.socket(fileno=os.dup(stdin)) as end, suppress(OSError):
            end.shutdown(socket.SHUT_WR)

    def close_stdout(self) -> None:
        """The client reads no more output: a pipe's writer learns so. A terminal is told nothing, as by sshd.

        `stdout` must not be used afterwards.
        """
        terminal = self.stderr is None
        if not terminal and self._stdout_open and not self._closed:
            self._stdout_open = False
            os.close(self.stdout)

    def signal(self, name: str) -> None:
        """Signal the program's process group; `name` as in RFC 4254 section 6.10, without SIG.

        A name that is not known there, and a subsystem, are passed over, as sshd does.
        """
        self._controls.signal(name)

    def resize(self, window: Window) -> None:
        """Give the terminal another size; without a pty nothing happens."""
        self._controls.resize(window)

    def send_break(self) -> None:
        """Send a break to the terminal; without a pty nothing happens."""
        self._controls.send_break()

    def close(self) -> None:
        """The channel is gone: close the descriptors, and hang up the terminal. Harmless when repeated.

        The program is not signalled by us. `wait` still tells how it ends.
        """
        if self._closed:
            return
        self._closed = True
        stdout = self.stdout if self._stdout_open else None
        for fd in {self.stdin, stdout, self.stderr} - {None}:
            os.close(fd)  # type: ignore[arg-type]
        self.stdin = None
        self._controls.close()
