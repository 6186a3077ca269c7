"""The two ends of a carried stream: a descriptor that is read here and written on the other side.

Owns credit: a source sends no more than its sink has promised to hold, so that one stalled reader neither
fills memory nor stops the other streams. Must not know messages beyond those about one stream. Runs on both
sides, so it keeps to the standard library of Python 3.9.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from gateway.runner.protocol import WINDOW, Credit, Data, Eof, ProtocolError, Stop

if TYPE_CHECKING:
    from gateway.runner.mux import Mux

_CHUNK = 16 * 1024


class Source:
    """Reads `fd` as far as credit goes, and tells its end."""

    def __init__(self, mux: Mux, id: int, stream: int, fd: int) -> None:
        self.id, self.stream = id, stream
        self._mux, self._fd = mux, fd
        self._credit = WINDOW
        os.set_blocking(fd, False)
        self.watch()

    def watch(self) -> None:
        """Wait for bytes when they could be sent, and only then."""
        if self._fd < 0:
            return
        if self._credit and not self._mux.congested:
            self._mux.loop.add_reader(self._fd, self._read)
        else:
            self._mux.loop.remove_reader(self._fd)

    def allow(self, more: int) -> None:
        """The other side took bytes. Raises ProtocolError for more credit than was ever used."""
        self._credit += more
        if self._credit > WINDOW:
            raise ProtocolError("more credit than the window")
        self.watch()

    def close(self) -> None:
        """Nobody reads this stream any more: whoever writes it finds a broken pipe."""
        if self._fd < 0:
            return
        self._mux.loop.remove_reader(self._fd)
        _shutdown(self._fd, socket.SHUT_RD)
        os.close(self._fd)
        self._fd = -1
        self._mux.forget(self)

    def _read(self) -> None:
        """Send one chunk, or the end."""
        try:
            data = os.read(self._fd, min(self._credit, _CHUNK))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._mux.send(Eof(self.id, self.stream))
            return
        self._credit -= len(data)
        self._mux.send(Data(self.id, self.stream, data))
        self.watch()


class Sink:
    """Writes what arrives to `fd`, and promises more room as it goes."""

    def __init__(self, mux: Mux, id: int, stream: int, fd: int) -> None:
        self.id, self.stream = id, stream
        self._mux, self._fd = mux, fd
        self._held = bytearray()
        self._owed = 0
        self._finished = False
        os.set_blocking(fd, False)

    def take(self, data: bytes) -> None:
        """Bytes for the descriptor. Raises ProtocolError when they were not promised room."""
        if self._finished or len(self._held) + self._owed + len(data) > WINDOW:
            raise ProtocolError("data beyond the credit or the end")
        self._held += data
        self._write()

    def finish(self) -> None:
        """Nothing follows: close once all is written."""
        self._finished = True
        if not self._held:
            self.close()

    def close(self) -> None:
        """Write no more; a socket's other direction goes on."""
        if self._fd < 0:
            return
        self._mux.loop.remove_writer(self._fd)
        _shutdown(self._fd, socket.SHUT_WR)
        os.close(self._fd)
        self._fd = -1
        self._mux.forget(self)

    def _write(self) -> None:
        """Write what the descriptor takes."""
        try:
            written = os.write(self._fd, self._held)
        except BlockingIOError:
            written = 0
        except OSError:
            self.close()
            self._mux.send(Stop(self.id, self.stream))
            return
        del self._held[:written]
        self._owed += written
        self._settle()

    def _settle(self) -> None:
        """Give credit back in few messages, and wait for room or close."""
        if self._owed >= WINDOW // 2:
            owed, self._owed = self._owed, 0
            self._mux.send(Credit(self.id, self.stream, owed))
        if self._held:
            self._mux.loop.add_writer(self._fd, self._write)
        elif self._finished:
            self.close()
        elif self._fd >= 0:
            self._mux.loop.remove_writer(self._fd)


def _shutdown(fd: int, how: int) -> None:
    """End one direction when `fd` is a socket; closing it would not, while its other direction is open."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:  # a pipe
        return
    try:
        sock.shutdown(how)
    except OSError:  # the peer was faster
        pass
    finally:
        sock.detach()
