"""One forwarded connection: a channel on this side, a socket dialled inside the container on that.

Owns the half-closes. Must not know who asked, nor dial anything from this process's own network.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncssh

from gateway.ssh.pump import Inflow, Outflow

if TYPE_CHECKING:
    from gateway.ssh.forwarding import Forwarding


class Forward(asyncssh.SSHTCPSession[bytes], asyncssh.SSHUNIXSession[bytes]):
    """Carries bytes until both sides have ended, or the client closes the channel."""

    def __init__(self, connection: Forwarding, sock: socket.socket, what: str) -> None:
        sock.setblocking(False)
        self.id = secrets.token_hex(4)
        self._connection = connection
        self._sock = sock
        self._what = what
        self._channel: Any = None
        self._outflow: Outflow | None = None
        self._inflow: Inflow | None = None

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        self._channel = chan
        self._inflow = Inflow(self._sock.fileno(), chan, self._end_input)
        self._connection.forwards[self.id] = self
        self._connection.entry.opened(self.id, "forward", self._what)

    def session_started(self) -> None:
        """Begin to read; a server may speak first."""
        self._outflow = Outflow(self._sock.fileno(), self._channel, moved=self._connection.activity.moved)
        self._outflow.done.add_done_callback(self._end_output)

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed."""
        if self._outflow is not None:
            self._outflow.stop()
        if self._inflow is not None:
            self._inflow.stop()
        self._sock.close()
        self._connection.forwards.pop(self.id, None)
        self._connection.entry.closed(self.id)

    def end(self) -> None:
        """The platform ends it, at once; SSH has no word to tell the client why."""
        self._channel.abort()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """From the client."""
        assert self._inflow is not None
        self._connection.activity.moved(len(data))
        self._inflow.feed(data)

    def eof_received(self) -> bool:
        """The client sends no more; the other direction goes on."""
        assert self._inflow is not None
        self._inflow.end()
        return True

    def pause_writing(self) -> None:
        """The client takes no more."""
        if self._outflow is not None:
            self._outflow.pause()

    def resume_writing(self) -> None:
        """It takes more again."""
        if self._outflow is not None:
            self._outflow.resume()

    def _end_input(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._close_when_done()

    def _end_output(self, done: asyncio.Future[None]) -> None:
        with self._connection.together():
            with suppress(OSError):
                self._channel.write_eof()
            self._close_when_done()

    def _close_when_done(self) -> None:
        if (
            self._outflow is not None
            and self._outflow.done.done()
            and self._inflow is not None
            and self._inflow.ended
        ):
            self._channel.close()
