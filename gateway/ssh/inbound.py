"""Bytes that came and are not read yet.

Owns where reading stands, so that taking a packet off the front moves a number and not all that came after
it. Must not know packets. It looks like the bytes object that asyncssh keeps in its place: what `[end:]`
leaves is another of these, every other piece is bytes.
"""

from __future__ import annotations


class Inbound:
    """What is left of `data` from `start` on."""

    __slots__ = ("_data", "_start")

    def __init__(self, data: bytes = b"", start: int = 0) -> None:
        self._data, self._start = data, start

    def __len__(self) -> int:
        return len(self._data) - self._start

    def __add__(self, more: bytes) -> Inbound:
        if self._start == len(self._data):
            return Inbound(more)
        return Inbound(b"".join((memoryview(self._data)[self._start :], more)))

    def __getitem__(self, piece: slice) -> bytes | Inbound:
        start, stop = piece.start or 0, piece.stop
        if stop is None:
            return Inbound(self._data, min(self._start + start, len(self._data)))
        return self._data[self._start + start : self._start + stop]

    def find(self, what: bytes, start: int, stop: int) -> int:
        """Where `what` first is between `start` and `stop`; -1 when it is not."""
        found = self._data.find(what, self._start + start, self._start + stop)
        return found if found < 0 else found - self._start
