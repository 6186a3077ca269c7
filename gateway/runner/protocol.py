"""Every message that the runner, the broker and a worker exchange, and its limits.

Owns what can be said, by whom, and the limits. Must not know bytes or sockets: `codec` decides whether a
frame is a message, `packets` and `mux` carry frames. Runs on both sides, so it keeps to the standard library
of Python 3.9.

A frame is a u32 (big endian) header length, a JSON header in ASCII, and a raw blob. A conversation:

* runner socket (SEQPACKET, one frame a packet): the runner says `Hello`; then the broker speaks, one
  `Connection` for each SSH connection, with the runner's end of a new socket pair. A `Part` is answered with
  `Parting` when there is something to wait for, and with `Parted` when there is nothing any more.
* connection socket (SEQPACKET): the worker asks with `Start`, `Signal`, `Resize`, `Break`, `Close`, `Dial`,
  `DialUnix`; the runner answers a `Start` with `Started` or `Failed`, then once `Exited`; a dial with `Taken`
  (its descriptor has arrived) and then `Dialed` or `Refused`.
* listeners, on the same socket: see `listening`. The runner sends nothing else.
* byte stream: the same frames, each behind a u32 length; no descriptors. `Data`, `Eof`, `Credit` and `Stop`
  carry what the descriptors would have carried: stream 0 towards the runner, 1 and 2 towards the worker.
  Each stream starts with a credit of `WINDOW` bytes.

Text that was bytes travels as surrogate escapes. A message with a key too many or too few is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

from gateway.runner.listening import (
    LISTENS,
    Accept,
    Arrived,
    Decline,
    Listen,
    Listening,
    ListenPrivate,
    ListenUnix,
    Unlisten,
    Unlistened,
)
from gateway.sessions import Exit, Kind, Pty, SessionRequest, Window

VERSION = 3
HEADER_LIMIT = 64 * 1024
COMMAND_LIMIT = 128 * 1024 - 1  # the kernel's MAX_ARG_STRLEN, less its NUL
FRAME_LIMIT = 4 + HEADER_LIMIT + COMMAND_LIMIT
REPLY_LIMIT = 4 * 1024  # no frame of a runner is larger, Data apart
WINDOW = 64 * 1024


class ProtocolError(Exception):
    """The other side broke the protocol; the text says how, for a log."""


@dataclass(frozen=True)
class Hello:
    """First word of a runner: its protocol version and the connections that it still serves."""

    version: int
    connections: tuple[str, ...]


@dataclass(frozen=True)
class Connection:
    """A new SSH connection; carries the runner's end of its socket pair."""

    connection: str


@dataclass(frozen=True)
class Part:
    """The container will be stopped, in `seconds` at the latest: let its programs save their work."""

    id: int
    seconds: int
    reason: str


@dataclass(frozen=True)
class Parting:
    """So many programs were told, and her hook was started or not; they are waited for."""

    id: int
    programs: int
    hook: bool


@dataclass(frozen=True)
class Parted:
    """All have ended, or there were none."""

    id: int


@dataclass(frozen=True)
class Start:
    """Start a program. Carries stdin, stdout, stderr, or with a pty one end of a stream socket pair."""

    id: int
    kind: Kind
    env: dict[str, str]
    pty: Pty | None
    greeting: str
    command: bytes

    @classmethod
    def of(cls, id: int, request: SessionRequest) -> Start:
        """The message that asks for `request`."""
        return cls(id, request.kind, request.env, request.pty, request.greeting, request.command)

    @property
    def request(self) -> SessionRequest:
        """What is to be started."""
        return SessionRequest(self.kind, self.command, self.env, self.pty, self.greeting)


@dataclass(frozen=True)
class Signal:
    """Send a signal, named as in RFC 4254 section 6.10, to the execution's process group."""

    id: int
    name: str


@dataclass(frozen=True)
class Resize:
    """The client's window has another size."""

    id: int
    window: Window


@dataclass(frozen=True)
class Break:
    """A break on the execution's terminal (RFC 4335)."""

    id: int


@dataclass(frozen=True)
class Close:
    """The channel is gone: close the pty master. Nothing is signalled by the runner itself."""

    id: int


@dataclass(frozen=True)
class Dial:
    """Connect to a TCP port as seen from inside; carries one end of a stream socket pair."""

    id: int
    host: str
    port: int


@dataclass(frozen=True)
class DialUnix:
    """Connect to a stream socket's path inside; carries one end of a stream socket pair."""

    id: int
    path: str


@dataclass(frozen=True)
class Started:
    """The program runs; `pid` as seen inside."""

    id: int
    pid: int


@dataclass(frozen=True)
class Failed:
    """The program could not be started; `error` is an errno's name."""

    id: int
    error: str
    message: str


@dataclass(frozen=True)
class Exited:
    """The program ended, and its terminal (if any) is drained. One of `status` and `signal` is set."""

    id: int
    status: int | None
    signal: str | None
    core_dumped: bool
    out_of_memory: bool = False

    @property
    def exit(self) -> Exit:
        """How it ended, as the rest of the gateway says it."""
        return Exit(self.status, self.signal, self.core_dumped, self.out_of_memory)


@dataclass(frozen=True)
class Taken:
    """A descriptor for a dial or an arrival has left the socket's queue; the answer follows."""

    id: int


@dataclass(frozen=True)
class Dialed:
    """The connection stands, and the descriptor that came with the request is its other end."""

    id: int


@dataclass(frozen=True)
class Refused:
    """The dial or the listener failed; `reason` is one of `REASONS`."""

    id: int
    reason: str


@dataclass(frozen=True)
class Data:
    """Bytes of one stream, within its credit."""

    id: int
    stream: int
    data: bytes


@dataclass(frozen=True)
class Eof:
    """The writer of a stream has ended."""

    id: int
    stream: int


@dataclass(frozen=True)
class Credit:
    """The reader of a stream took `bytes` more."""

    id: int
    stream: int
    bytes: int


@dataclass(frozen=True)
class Stop:
    """The reader of a stream is gone; its writer should find a broken pipe."""

    id: int
    stream: int


# Evaluated, in Python 3.9 too.
Message = Union[
    Hello, Connection, Part, Parting, Parted, Start, Signal, Resize, Break, Close, Dial, DialUnix,
    Listen, ListenUnix, ListenPrivate, Unlisten, Accept, Decline, Started, Failed, Exited, Taken, Dialed,
    Refused, Listening, Unlistened, Arrived, Data, Eof, Credit, Stop,
]  # fmt: skip
Asked = Union[Start, Dial, DialUnix, Listen, ListenUnix, ListenPrivate, Accept]
Messages = frozenset[type[Any]]

REASONS = (
    *("denied", "connect_failed", "resource", "in_use"),
    *("refused", "no_route", "timed_out", "unknown_name"),
)
TO_BROKER: Messages = frozenset({Hello})
PARTING: Messages = frozenset({Parting, Parted})
FROM_BROKER: Messages = frozenset({Connection, Part})
STEERS: Messages = frozenset({Signal, Resize, Break, Close, Unlisten, Decline})
TO_RUNNER: Messages = frozenset({Start, Dial, DialUnix, *LISTENS, Accept}) | STEERS
TO_WORKER: Messages = frozenset(
    {Started, Failed, Exited, Taken, Dialed, Refused, Listening, Unlistened, Arrived}
)
STREAMED: Messages = frozenset({Data, Eof, Credit, Stop})


def descriptors(message: Message) -> int:
    """How many descriptors travel with `message`."""
    if isinstance(message, Start):
        return 3 if message.pty is None else 1
    return 1 if isinstance(message, (Connection, Dial, DialUnix, Accept)) else 0
