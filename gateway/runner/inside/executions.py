"""One program that a worker asked for, from its start to its exit.

Owns the process group and the order of what is told: started, then once exited, after its terminal has been
drained. Must not know how messages travel.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gateway.runner.inside.account import account
from gateway.runner.inside.environment import environment
from gateway.runner.inside.loop import Loop
from gateway.runner.inside.memory import Memory
from gateway.runner.inside.program import program
from gateway.runner.inside.spawn import Spawner, onto, onto_terminal
from gateway.runner.inside.terminal import Terminal
from gateway.runner.packets import close_all
from gateway.runner.protocol import Exited, Failed, Message, Start, Started
from gateway.sessions import Kind, SessionRequest, Window

_SHELLS_WORD_FOR_KILLED = 128 + signal.SIGKILL
_SIGNALS = (
    "ABRT",
    "ALRM",
    "FPE",
    "HUP",
    "ILL",
    "INT",
    "KILL",
    "PIPE",
    "QUIT",
    "SEGV",
    "TERM",
    "USR1",
    "USR2",
)


class Execution:
    """One process of one connection."""

    def __init__(self, loop: Loop, base: Mapping[str, str], spawner: Spawner, memory: Memory) -> None:
        self._loop, self._base, self._spawner, self._memory = loop, base, spawner, memory
        self._terminal: Terminal | None = None
        self._status: int | None = None
        self._pid = 0

    def start(self, message: Start, fds: Sequence[int], send: Callable[[Message], object]) -> bool:
        """Start it, own its descriptors, answer, and later say how it ended. False when it did not start."""
        self._id, self._send, self._kind = message.id, send, message.kind
        try:
            self._spawn(message.request, fds)
        except OSError as problem:
            send(failure(message.id, problem))
            return False
        self._loop.add_child(self._pid, self._ended)
        send(Started(message.id, self._pid))
        return True

    def _spawn(self, request: SessionRequest, fds: Sequence[int]) -> None:
        """The process, with a terminal or with the three descriptors. Raises OSError, nothing left open."""
        try:
            terminal = None if request.pty is None else Terminal(request.pty)
        except OSError:
            close_all(fds)
            raise
        files = onto(*fds) if terminal is None else onto_terminal(terminal.path)
        try:
            self._run(request, terminal, files)
        except OSError:
            if terminal is not None:
                terminal.abandon()
            close_all(fds)
            raise
        if terminal is None:
            close_all(fds)
        else:
            self._terminal = terminal
            self._greet(request.greeting, fds[0])
            terminal.opened(self._loop, fds[0], self._report)

    def _greet(self, text: str, socket: int) -> None:
        """Show the greeting before the program's first word, unless there is a ~/.hushlogin, as sshd does."""
        if text and not os.path.lexists(os.path.join(account().home, ".hushlogin")):
            with suppress(OSError):
                os.write(socket, text.replace("\n", "\r\n").encode("utf-8", "surrogateescape"))

    def _run(
        self, request: SessionRequest, terminal: Terminal | None, files: Sequence[tuple[object, ...]]
    ) -> None:
        """Work out what to run, and run it."""
        who = account()
        path, argv = program(request, who)
        device = (request.pty.term, terminal.path) if request.pty and terminal else None
        runtime = f"/run/user/{who.uid}"
        env = environment(self._base, who, request.env, device, runtime if os.path.isdir(runtime) else None)
        self._pid = self._spawner.start(path, argv, env, who.home, files)

    def signal(self, name: str) -> None:
        """Signal the process group, as sshd does: not a subsystem's, and nothing once it is reaped."""
        if self._status is None and self._kind is not Kind.SUBSYSTEM and name in _SIGNALS:
            with suppress(OSError):
                os.killpg(self._pid, getattr(signal, "SIG" + name))

    def resize(self, window: Window) -> None:
        """Resize the terminal; without one there is nothing to resize."""
        if self._terminal is not None:
            self._terminal.resize(window)

    def send_break(self) -> None:
        """Break on the terminal, if there is one."""
        if self._terminal is not None:
            self._terminal.send_break()

    def hang_up(self) -> None:
        """The channel or the whole connection is gone: close the master, and nothing more."""
        if self._terminal is not None:
            self._terminal.hang_up()

    def _ended(self, status: int) -> None:
        """The process was reaped."""
        self._status = status
        if self._terminal is None:
            self._report()
        else:
            self._terminal.finish()

    def _report(self) -> None:
        """Say how it ended: the terminal is drained, or gone long before its program."""
        self._terminal = None
        if self._status is not None:
            self._send(exited(self._id, self._status, self._memory.ran_out))


def exited(id: int, status: int, ran_out: Callable[[], bool]) -> Exited:
    """A wait status as sshd would report it; a killed program may have been the kernel's victim."""
    if os.WIFSIGNALED(status):
        name = _signal_name(os.WTERMSIG(status))
        return Exited(id, None, name, os.WCOREDUMP(status), name == "KILL" and ran_out())
    code = os.WEXITSTATUS(status)
    return Exited(id, code, None, False, code == _SHELLS_WORD_FOR_KILLED and ran_out())


def failure(id: int, problem: OSError) -> Failed:
    """Why a program could not be started."""
    name = errno.errorcode.get(problem.errno or 0, "EIO")
    where = os.fsdecode(problem.filename) + ": " if problem.filename else ""
    return Failed(id, name, (where + os.strerror(problem.errno or errno.EIO))[:120])


def _signal_name(number: int) -> str:
    """A signal without SIG; real-time ones have no name of their own."""
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return f"RT{number}"
