"""Bytes between a channel and a descriptor, with back-pressure both ways.

Owns the readiness callbacks and what waits to be written. Never closes a descriptor: it belongs to
whoever made the pump. Must not know what runs at the other end.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

CHUNK = 32768
"""Bytes a read: one packet of the size that OpenSSH's clients accept."""


class Channel(Protocol):
    """What a pump needs of a channel."""

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Send."""

    def pause_reading(self) -> None:
        """Deliver no more."""

    def resume_reading(self) -> None:
        """Deliver again."""


class Outflow:
    """From a descriptor to a channel, until the end of file; `done` is set then.

    `moved` is told how many bytes were sent, each time.
    """

    def __init__(
        self,
        fd: int,
        channel: Channel,
        datatype: int | None = None,
        moved: Callable[[int], None] | None = None,
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fd = fd
        self._channel = channel
        self._datatype = datatype
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self.resume()

    def pause(self) -> None:
        """The channel takes no more."""
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def resume(self) -> None:
        """It takes more again."""
        if not self._reading and not self.done.done():
            self._loop.add_reader(self._fd, self._read)
            self._reading = True

    def stop(self) -> None:
        """Read no more, whatever is left."""
        self.pause()
        if not self.done.done():
            self.done.set_result(None)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.stop()
            return
        if self._moved is not None:
            self._moved(len(data))
        try:
            self._channel.write(data, self._datatype)
        except OSError:
            self.stop()


class Inflow:
    """From a channel to a descriptor.

    `at_end` is called once: when everything before the end was written, or nobody reads any more.
    """

    def __init__(self, fd: int, channel: Channel, at_end: Callable[[], None]) -> None:
        self._fd = fd
        self._channel = channel
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[memoryview] = deque()
        self._ending = False
        self._broken = False

    @property
    def ended(self) -> bool:
        """Whether nothing will be written any more."""
        return self._broken or (self._ending and not self._waiting)

    def feed(self, data: bytes) -> None:
        """Write, or keep what the descriptor does not take and pause the channel."""
        if self._broken or self._ending:
            return
        self._waiting.append(memoryview(data))
        if len(self._waiting) == 1:
            self._write()
        else:
            # Whoever let the channel go on did not know that something waits here already.
            self._channel.pause_reading()

    def end(self) -> None:
        """Nothing comes after what was fed."""
        if not self._ending and not self._broken:
            self._ending = True
            if not self._waiting:
                self._at_end()

    def stop(self) -> None:
        """Write no more; what waits is dropped."""
        self._broken = True
        if self._waiting:
            self._waiting.clear()
            self._loop.remove_writer(self._fd)
            self._channel.resume_reading()

    def _write(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                written = 0
            except OSError:
                self.stop()
                self._at_end()
                return
            if written < len(data):
                self._waiting[0] = data[written:]
                self._channel.pause_reading()
                self._loop.add_writer(self._fd, self._drain)
                return
            self._waiting.popleft()
        if self._ending:
            self._at_end()

    def _drain(self) -> None:
        self._loop.remove_writer(self._fd)
        self._write()
        if not self._waiting and not self._broken:
            self._channel.resume_reading()
