"""One pty: its master, and the relay between it and the socket that the worker gave.

Owns the master descriptor and when it is closed, which is what hangs the terminal up. Must not know what
runs on it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

from gateway.runner.inside import modes
from gateway.runner.inside.loop import Loop
from gateway.runner.inside.relay import Flow
from gateway.sessions import Pty, Window


class Terminal:
    """A pty with the size and modes of the request.

    `path` is the slave, which `opened` releases once a program has it. `drained` is called once, when
    nothing more will come from the terminal: its programs are gone, or it was hung up.
    """

    def __init__(self, pty: Pty) -> None:
        """Open a pty. Raises OSError when there is none left."""
        self._master, self._slave = os.openpty()
        self._socket = -1
        self._flows: tuple[Flow, ...] = ()
        self.path = os.ttyname(self._slave)
        self.resize(pty.window)
        attributes = modes.apply(pty.modes, termios.tcgetattr(self._slave))
        # sshd goes on as well: a speed that a pty cannot have must not cost the session
        with suppress(termios.error):
            termios.tcsetattr(self._slave, termios.TCSANOW, attributes)

    def abandon(self) -> None:
        """No program came: close both ends."""
        os.close(self._master)
        os.close(self._slave)

    def opened(self, loop: Loop, socket: int, drained: Callable[[], object]) -> None:
        """A program has the slave: drop ours, own `socket` and relay."""
        os.close(self._slave)
        os.set_blocking(self._master, False)
        os.set_blocking(socket, False)
        self._socket, self._drained = socket, drained
        output = Flow(loop, self._master, socket, lambda delivered: self.hang_up())
        # The end of the client's input is not sent to the terminal; OpenSSH's sshd does not either.
        typed = Flow(loop, socket, self._master, lambda delivered: None)
        self._flows = (output, typed)

    def finish(self) -> None:
        """The session leader has ended: deliver what was written, wait for nothing more.

        Jobs left in the background may hold the slave for ever; sshd stops at the first empty read too.
        """
        if self._flows:
            self._flows[0].finish()

    def hang_up(self) -> None:
        """Close the master; the kernel sends SIGHUP. Harmless when it is closed."""
        flows, self._flows = self._flows, ()
        for flow in flows:
            flow.stop()
        if flows:
            os.close(self._master)
            os.close(self._socket)
            self._drained()

    def resize(self, window: Window) -> None:
        """Set the size; the kernel sends SIGWINCH when it differs."""
        if self._socket < 0 or self._flows:
            size = struct.pack("HHHH", window.rows, window.columns, window.width, window.height)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def send_break(self) -> None:
        """A break condition, which a pty passes on to nobody; sshd answers the request the same way."""
        if self._flows:
            termios.tcsendbreak(self._master, 0)
