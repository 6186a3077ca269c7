"""Many streams and the messages about them over one byte stream, where no descriptor can be passed.

Owns framing, the credit of each stream, and the local descriptors whose bytes are carried. Must not know what
the messages ask for. Runs on both sides, on asyncio's loop or on the runner's, so it keeps to the standard
library of Python 3.9 and to the four methods that both loops have.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol

from gateway.runner import codec
from gateway.runner.carried import Sink, Source
from gateway.runner.protocol import (
    FRAME_LIMIT,
    STREAMED,
    Credit,
    Data,
    Eof,
    Message,
    Messages,
    ProtocolError,
    Stop,
)

_LENGTH = struct.Struct(">I")
_READ = 64 * 1024
_CONGESTED = 256 * 1024
_MOST_UNSENT = 16 * 1024 * 1024


class Watcher(Protocol):
    """What asyncio's loop and the runner's have in common."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object:
        """Call whenever `fd` can be read."""

    def remove_reader(self, fd: int, /) -> object:
        """Stop that; harmless when it was not watched."""

    def add_writer(self, fd: int, callback: Callable[[], object], /) -> object:
        """Call whenever `fd` can be written."""

    def remove_writer(self, fd: int, /) -> object:
        """Stop that; harmless when it was not watched."""


class Mux:
    """One end. `reader` and `writer` (which may be one descriptor) are owned here.

    `sending` are the streams that flow away from this side. `received` gets every message that is not about a
    stream; `ended` is called once, with the reason, when the other side is gone or broke the protocol.
    """

    def __init__(
        self,
        loop: Watcher,
        reader: int,
        writer: int,
        sending: tuple[int, ...],
        accepted: Messages,
        received: Callable[[Message], object],
        ended: Callable[[str], object],
    ) -> None:
        self.loop, self._reader, self._writer = loop, reader, writer
        self._sending, self._accepted = sending, accepted | STREAMED
        self._received, self._ended = received, ended
        self._input = bytearray()
        self._output: deque[memoryview] = deque()
        self._unsent = 0
        self._sources: dict[tuple[int, int], Source] = {}
        self._sinks: dict[tuple[int, int], Sink] = {}
        self._highest = 0
        self._open = True
        for fd in (reader, writer):
            os.set_blocking(fd, False)
        loop.add_reader(reader, self._read)

    @property
    def congested(self) -> bool:
        """Whether sources should wait: what they would read could not be sent."""
        return self._unsent > _CONGESTED

    def carry(self, id: int, stream: int, fd: int) -> None:
        """Carry the bytes of a local descriptor, which is owned here from now on."""
        self._highest = max(self._highest, id)
        if stream in self._sending:
            self._sources[id, stream] = Source(self, id, stream, fd)
        else:
            self._sinks[id, stream] = Sink(self, id, stream, fd)

    def carry_socket(self, id: int, fd: int) -> None:
        """Carry both directions of a stream socket, which is owned here from now on."""
        self.carry(id, 0, fd)
        self.carry(id, 1, os.dup(fd))

    def drop(self, id: int) -> None:
        """Stop carrying anything for `id`."""
        for stream in range(3):
            for ends in (self._sources, self._sinks):
                end = ends.get((id, stream))
                if end is not None:
                    end.close()

    def forget(self, end: Source | Sink) -> None:
        """An end has closed its descriptor."""
        ends: dict[tuple[int, int], Source] | dict[tuple[int, int], Sink]
        ends = self._sources if isinstance(end, Source) else self._sinks
        ends.pop((end.id, end.stream), None)

    def send(self, message: Message) -> None:
        """Queue a message and send what the stream takes."""
        self.send_frame(codec.encode(message))

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded message. A peer that lets 16 MiB lie is given up."""
        if not self._open:
            return
        self._output.append(memoryview(_LENGTH.pack(len(frame)) + frame))
        self._unsent += 4 + len(frame)
        if self._unsent > _MOST_UNSENT:
            self._fail("the other side does not read")
        elif len(self._output) == 1:
            self._write()

    def close(self) -> None:
        """Close the stream and every descriptor that is carried; `ended` is not called any more."""
        if not self._open:
            return
        self._open = False
        self.loop.remove_reader(self._reader)
        self.loop.remove_writer(self._writer)
        for fd in {self._reader, self._writer}:
            os.close(fd)
        self._output.clear()
        ends: list[Source | Sink] = [*self._sources.values(), *self._sinks.values()]
        for end in ends:
            end.close()

    def _write(self) -> None:
        """Send until the stream is full; let sources go on once it is not."""
        waiting = self.congested
        try:
            while self._output:
                written = os.write(self._writer, self._output[0])
                self._unsent -= written
                self._output[0] = self._output[0][written:]
                if not self._output[0]:
                    self._output.popleft()
            self.loop.remove_writer(self._writer)
        except BlockingIOError:
            self.loop.add_writer(self._writer, self._write)
        except OSError as problem:
            return self._fail("the stream broke: " + os.strerror(problem.errno or 0))
        if waiting and not self.congested:
            for source in list(self._sources.values()):
                source.watch()

    def _read(self) -> None:
        """Take what has arrived and handle every whole frame of it."""
        try:
            data = os.read(self._reader, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._fail("the stream has ended")
        self._input += data
        try:
            while self._open and self._take():
                pass
        except ProtocolError as problem:
            self._fail(f"the other side broke the protocol: {problem}")

    def _take(self) -> bool:
        """Handle one frame. False when none is complete."""
        if len(self._input) < 4:
            return False
        (length,) = _LENGTH.unpack_from(self._input)
        if length > FRAME_LIMIT:
            raise ProtocolError(f"a frame of {length} bytes")
        if len(self._input) < 4 + length:
            return False
        frame = bytes(self._input[4 : 4 + length])
        del self._input[: 4 + length]
        message = codec.decode(frame, None, self._accepted)
        if isinstance(message, (Data, Eof, Credit, Stop)):
            self._steer(message)
        else:
            self._received(message)
        return True

    def _steer(self, message: Data | Eof | Credit | Stop) -> None:
        """A message about a stream; one that was just closed here is passed over: it crossed our word."""
        if message.id > self._highest:
            raise ProtocolError("a stream that was never opened")
        key = (message.id, message.stream)
        if isinstance(message, Data) and key in self._sinks:
            self._sinks[key].take(message.data)
        elif isinstance(message, Eof) and key in self._sinks:
            self._sinks[key].finish()
        elif isinstance(message, Credit) and key in self._sources:
            self._sources[key].allow(message.bytes)
        elif isinstance(message, Stop) and key in self._sources:
            self._sources[key].close()

    def _fail(self, reason: str) -> None:
        """Close, and say why."""
        if self._open:
            self.close()
            self._ended(reason)
