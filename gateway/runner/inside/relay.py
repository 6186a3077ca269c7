"""Bytes between two descriptors that cannot be given to their reader directly.

Owns back-pressure and half-close of a pty master or a dialled socket. Must not know which it is, beyond
that a terminal's end reads as EIO. Holds at most one buffer in each direction, so that a stalled peer costs
32 KiB and stalls nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from gateway.runner.inside.loop import Loop

_BUFFER = 32 * 1024


class Flow:
    """One direction: reads `source` only when `sink` has taken what was read before.

    `ended` is called once: with True when the source ended and all of it was delivered, with False when the
    sink is gone. Both descriptors stay the caller's.
    """

    def __init__(self, loop: Loop, source: int, sink: int, ended: Callable[[bool], object]) -> None:
        self._loop, self._source, self._sink = loop, source, sink
        self._ended: Callable[[bool], object] | None = ended
        self._rest = memoryview(b"")
        self._finishing = False
        loop.add_reader(source, self._read)

    def finish(self) -> None:
        """Deliver what can be read now; nothing to read counts as the end from here on."""
        self._finishing = True
        if self._ended is not None and not self._rest:
            self._read()

    def stop(self) -> None:
        """Leave both descriptors alone; `ended` is not called any more."""
        if self._ended is not None:
            self._ended = None
            (self._loop.remove_writer(self._sink) if self._rest else self._loop.remove_reader(self._source))

    def _read(self) -> None:
        """Take one buffer and pass on what the sink takes of it."""
        try:
            data = os.read(self._source, _BUFFER)
        except BlockingIOError:
            if self._finishing:
                self._end(True)
            return
        except OSError:  # EIO of a pty without a slave, ECONNRESET: the source has ended
            data = b""
        if not data:
            return self._end(True)
        self._rest = memoryview(data)
        written = self._give()
        if self._rest and written:
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._write)
        elif self._finishing and written:
            self._read()

    def _write(self) -> None:
        """The sink takes bytes again."""
        if self._give() and not self._rest:
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._read)
            if self._finishing:
                self._read()

    def _give(self) -> bool:
        """Write what the sink takes now. False when it is gone, and then this direction has ended."""
        try:
            self._rest = self._rest[os.write(self._sink, self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._end(False)
            return False
        return True

    def _end(self, delivered: bool) -> None:
        """Leave the loop and say so."""
        self._loop.remove_reader(self._source)
        if self._rest:
            self._loop.remove_writer(self._sink)
        ended, self._ended = self._ended, None
        self._rest = memoryview(b"")
        if ended is not None:
            ended(delivered)
