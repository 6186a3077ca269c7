"""The messages about listeners inside the container, and their limits.

Owns what can be said about them; `protocol` says how messages travel. Must not know bytes or sockets. Runs on
both sides, so it keeps to the standard library of Python 3.9.

The worker's `Listen`, `ListenUnix` or `ListenPrivate` is answered with `Listening` or `Refused`, then by an
`Arrived` for each connection that somebody makes. Of these `MOST_ARRIVED` may wait for an answer: `Accept`,
which is itself answered as a dial is, or `Decline`. `Unlisten` is answered with `Unlistened`.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_ARRIVED = 64
"""Connections on one connection socket that the worker has not answered; the rest wait in the kernel."""


@dataclass(frozen=True)
class Listen:
    """Listen on a TCP port inside; 0 lets the kernel choose. The host is read as sshd reads it."""

    id: int
    host: str
    port: int


@dataclass(frozen=True)
class ListenUnix:
    """Listen on a socket file inside, which only the container's user may open."""

    id: int
    path: str


@dataclass(frozen=True)
class ListenPrivate:
    """Listen on a socket file in a new directory that only the container's user may enter."""

    id: int


@dataclass(frozen=True)
class Unlisten:
    """Listen no more; connections that were made stay."""

    id: int


@dataclass(frozen=True)
class Accept:
    """Take the connection `arrival`; carries one end of a stream socket pair."""

    id: int
    arrival: int


@dataclass(frozen=True)
class Decline:
    """Close the connection `arrival`."""

    arrival: int


@dataclass(frozen=True)
class Listening:
    """The listener stands: on this port, or on this path."""

    id: int
    port: int
    path: str


@dataclass(frozen=True)
class Unlistened:
    """The listener is closed and its file gone; nothing arrives any more."""

    id: int


@dataclass(frozen=True)
class Arrived:
    """Somebody connected to the listener `id`, from this address; a socket file's callers have none."""

    id: int
    arrival: int
    host: str
    port: int


LISTENS = (Listen, ListenUnix, ListenPrivate)
