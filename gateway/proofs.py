"""What a worker shows the broker to prove who somebody is, and its answers: that part of the protocol.

Each of `Evidence`, `Code` and `Password` is answered by `Ticket`, `More` or `Refused` (gateway.verbs has
the order). `Sign` and `Signature` have a socket of their own.

Owns these messages. Must not know sockets, nor what holds as a proof.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """Worker, on its own socket: sign `data` with the host key `key` for this connection."""

    connection: str
    key: bytes
    algorithm: bytes
    data: bytes


@dataclass(frozen=True)
class Signature:
    """Broker, on that socket: the signature blob, empty when it will not sign."""

    signature: bytes


@dataclass(frozen=True)
class Evidence:
    """Worker: `user` signed `signed` (RFC 4252 section 7) with `key`."""

    connection: str
    user: str
    key: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True)
class Code:
    """Worker: `user` has typed `code` where she was asked for one, and her client has offered keys before.

    Nothing proves that these MOST_OFFERED blobs at most are hers; one that signs at her next login is.
    """

    connection: str
    user: str
    code: str
    offered: tuple[bytes, ...]


@dataclass(frozen=True)
class Password:
    """Worker: `user` has given this password."""

    connection: str
    user: str
    password: str


@dataclass(frozen=True)
class More:
    """Broker: what was shown holds and is not enough; a verification code is wanted beside it."""

    connection: str


@dataclass(frozen=True)
class Ticket:
    """Broker: the connection is this user's; every later verb about it needs `ticket`.

    `permits` are of certificates.PERMITS. Only the worker can hold her to them.
    """

    connection: str
    ticket: str
    permits: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """Broker: there is no ticket. `code` is a gateway.errors.Code value; `denied` tells nobody why."""

    connection: str
    code: str
    message: str
