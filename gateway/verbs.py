"""What a worker and the broker say to each other: the whole protocol.

One SEQPACKET socket carries it, one message a packet (gateway.messages), descriptors beside it. The
worker speaks first with `Hello`; the broker answers `Welcome`, then pushes every `Account`. A second
socket carries `Sign` and its answer alone, because the worker blocks on it within a key exchange.

A connection lives so: `Connection` hands its socket over; `Sign` (the first one fixes the session id
of RFC 4253 section 7.2); `Evidence`, `Code` or `Password`, each answered by `Ticket`, `More` or
`Refused`; then `Enter`, `Begin`, `Ask`, `Active`, `Opened`, `Closed`, each with the ticket; `Gone` at its
end. The broker believes nothing that it can check.

Owns the messages and how many descriptors each carries. Must not know sockets or asyncssh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.activity import Active
from gateway.messages import MessageError, decode
from gateway.proofs import Code, Evidence, More, Password, Refused, Sign, Signature, Ticket
from gateway.questions import Answered, Ask, Said

VERSION = 11
MOST_OFFERED = 8
DESCRIPTORS_A_SET = 6
"""Three pipes, each as read end, write end: stdin, stdout, stderr."""
MOST_SETS = 16


@dataclass(frozen=True)
class Hello:
    """Worker: here I am; `connections` are the ones that I carry."""

    version: int
    connections: tuple[str, ...]


@dataclass(frozen=True)
class Welcome:
    """Broker: the public host keys (blobs of RFC 4253 section 6.6), what to run as, and how people log in."""

    version: int
    host_keys: tuple[bytes, ...]
    uid: int
    gid: int
    passwords: bool


@dataclass(frozen=True)
class Account:
    """Broker: this user may authenticate with the keys whose blobs have these SHA-256 digests.

    None when she is disabled. Digests, because a hundred long RSA keys do not fit into one message.
    """

    user: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class AccountGone:
    """Broker: nobody has this name any more."""

    user: str


@dataclass(frozen=True)
class Authorities:
    """Broker: certificates are believed of the keys whose blobs have these SHA-256 digests, and no others."""

    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Connection:
    """Broker: serve this accepted socket (one descriptor)."""

    connection: str


@dataclass(frozen=True)
class Enter:
    """Worker: have the container running and give me a line to its runner; a `terminal` sees progress."""

    request: int
    ticket: str
    terminal: bool = False


@dataclass(frozen=True)
class Progress:
    """Broker: one line for a person who waits; a `bar` in the place of the last one."""

    request: int
    text: str
    bar: bool = False


@dataclass(frozen=True)
class Entered:
    """Broker: the line to the runner (one descriptor), a greeting for terminals, and news for the first."""

    request: int
    greeting: str
    news: str = ""


@dataclass(frozen=True)
class Failed:
    """Broker: it cannot be; `code` is a gateway.errors.Code value."""

    request: int
    code: str
    message: str


@dataclass(frozen=True)
class Pipes:
    """Worker: make `sets` sets of pipes. They belong to nobody yet, so no ticket is needed."""

    request: int
    sets: int


@dataclass(frozen=True)
class Piped:
    """Broker: the sets, DESCRIPTORS_A_SET descriptors each."""

    request: int
    sets: int


@dataclass(frozen=True)
class Begin:
    """Worker: may a session `channel` begin? `what` is for people, escaped; `greeted`: it shows the news."""

    request: int
    ticket: str
    channel: str
    kind: str
    what: str
    greeted: bool = False


@dataclass(frozen=True)
class Begun:
    """Broker: it may, and counts as open until it is `Closed`."""

    request: int


@dataclass(frozen=True)
class Opened:
    """Worker: a forward `channel` began; `what` is for people, already escaped."""

    ticket: str
    channel: str
    kind: str
    what: str


@dataclass(frozen=True)
class Closed:
    """Worker: it ended."""

    ticket: str
    channel: str


@dataclass(frozen=True)
class Gone:
    """Worker: the connection ended, authenticated or not."""

    connection: str


@dataclass(frozen=True)
class End:
    """Broker: end this connection, or only one channel of it, telling the person why."""

    connection: str
    channel: str | None
    message: str


@dataclass(frozen=True)
class Announce:
    """Broker: show this notice on every terminal of this connection, and nowhere else."""

    connection: str
    message: str


_SAID = (Hello, Evidence, Code, Password, Enter, Pipes, Begin, Ask, Active, Opened, Closed, Gone)
_TOLD = (Welcome, Account, AccountGone, Authorities, Connection, More, Ticket, Refused, Progress)
_ANSWERED = (Entered, Failed, Piped, Begun, Said, Answered)
FROM_WORKER = {kind.__name__: kind for kind in _SAID}
FROM_BROKER = {kind.__name__: kind for kind in (*_TOLD, *_ANSWERED, End, Announce)}
SIGNING = {kind.__name__: kind for kind in (Sign, Signature)}


def descriptors(message: Any) -> int:
    """How many descriptors travel with this message."""
    piped = message.sets * DESCRIPTORS_A_SET if isinstance(message, Piped) else 0
    return 1 if isinstance(message, (Connection, Entered)) else piped


def from_worker(data: bytes, count: int) -> Any:
    """A worker's message that came with `count` descriptors. Raises MessageError."""
    return _checked(decode(data, FROM_WORKER), count)


def from_broker(data: bytes, count: int) -> Any:
    """A broker's message that came with `count` descriptors. Raises MessageError."""
    return _checked(decode(data, FROM_BROKER), count)


def _checked(message: Any, count: int) -> Any:
    if count != descriptors(message):
        raise MessageError(f"a {type(message).__name__} came with {count} descriptors")
    return message
