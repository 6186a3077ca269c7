"""What a worker asks on behalf of somebody who typed `gpu`, and how the answer comes back.

    Ask -> Said ... -> Answered

The answer may take long; the session's `Closed`, or its connection's end, withdraws the question. Owns these
messages, which are of gateway.verbs's protocol, and their limits. Must not know what is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

LONGEST_PIECE = 4096
"""Characters of one `Said`; each may become six bytes on the wire."""

Say = Callable[[str, bool], None]
"""Writes text for a person, on stdout or, with True, on stderr."""
Answer = Callable[[tuple[str, ...], Say], Awaitable[int]]
"""Answers words, saying what there is to say, with the exit status. Raises nothing; may be cancelled."""


@dataclass(frozen=True)
class Ask:
    """Worker: the session `channel`, which has begun, is `gpu` with these words after it."""

    request: int
    ticket: str
    channel: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """Broker: text for the person, on stderr or on stdout, in pieces of LONGEST_PIECE at most."""

    request: int
    text: str
    error: bool


@dataclass(frozen=True)
class Answered:
    """Broker: that was all, and this is the exit status."""

    request: int
    status: int


def pieces(text: str) -> Iterator[str]:
    """A text cut into what one message takes."""
    for start in range(0, len(text), LONGEST_PIECE):
        yield text[start : start + LONGEST_PIECE]
