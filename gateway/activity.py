"""That somebody uses a connection, and how a worker tells the broker of it.

Owns the message, which is of gateway.verbs's protocol, and what counts: input to a terminal, a program that
begins, and other bytes when they are many. Editors, notebooks' pages and keep-alives talk all night, so a few
bytes are nobody's doing. Must not know SSH. The clock is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MUCH = 65536
"""Bytes within LATELY, in both directions together, from which on somebody uses what carries them."""
LATELY = 60.0
TELL_EVERY = 1.0
"""Seconds between two messages of one connection."""


@dataclass(frozen=True)
class Active:
    """Worker: somebody uses this connection."""

    ticket: str


class Activity:
    """What is done on one connection; `tell` is called when the broker is to know. `clock` is in seconds."""

    def __init__(self, tell: Callable[[], None], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._told: float | None = None
        self._bytes = 0
        self._since = clock()

    def acted(self) -> None:
        """Somebody typed, or began something."""
        now = self._clock()
        if self._told is None or now - self._told >= TELL_EVERY:
            self._told = now
            self._tell()

    def moved(self, count: int) -> None:
        """Bytes went through something that is no terminal."""
        self._bytes += count
        if self._bytes >= MUCH:
            now = self._clock()
            if now - self._since <= LATELY:
                self.acted()
            self._bytes, self._since = 0, now
