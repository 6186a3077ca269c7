"""The live connections: who each one is, proven, and which worker carries it.

    arrived -> keyed (session id fixed) -> authenticated (ticket given) -> gone

Owns identity: a user's name is believed only after `authenticate`, and a ticket is good for one
connection of one worker. Must not know sockets, the store, or how a signature is checked: that
function is given.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gateway.certificates import Trust
from gateway.credentials import Credential, credential
from gateway.errors import Code, PlatformError
from gateway.keyoptions import PLAIN, KeyOptions
from gateway.keys import PublicKey
from gateway.notices import Unread
from gateway.proofs import Evidence
from gateway.sources import side
from gateway.store import LiveConnection, LiveSession
from gateway.users import Account

MOST_OF_A_USER = 64
MOST_CHANNELS = 1_000
MOST_UNPROVEN = 1_000
MOST_UNPROVEN_OF_A_SIDE = 500
"""So that one client who never logs in, or one network, cannot keep everybody else out."""
LONGEST_DIGEST = 64
"""Bytes of an exchange hash: SHA-512's (RFC 8268)."""
MOST_REMEMBERED = 100_000
"""Session ids that no other connection may have: a worker that kept evidence could use it again else."""

NOBODY = Trust()
NONE = Credential(b"", "")
Proves = Callable[[bytes, str, bytes, bytes, bytes, KeyOptions], bool]


class Peer(Protocol):
    """A worker, as far as this floor needs it."""

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """Queue a message; the descriptors belong to the call."""


@dataclass(frozen=True)
class Half:
    """What user `user_id` has proven on a connection that needs more."""

    user_id: int
    used: Credential


@dataclass
class Connection:
    """One connection. `user` and the rest are set when it is authenticated and never change."""

    id: str
    worker: Peer
    peer: str
    arrived_at: datetime
    session_id: bytes = b""
    ticket: str = ""
    user_id: int = 0
    user: str = ""
    credential: Credential = NONE
    half: Half | None = None
    busy: bool = False
    """Whether something that was shown on it is being judged."""
    entered: bool = False
    """Whether it was given a line to the runner: only then do its sessions end with the container."""
    channels: dict[str, LiveSession] = field(default_factory=dict)
    unread: Unread | None = None
    """What its first terminal is to be greeted with."""
    side: str = ""
    """Whom it is counted as while it logs in (gateway.sources.side)."""

    @property
    def address(self) -> str:
        """Where the client is, without her port."""
        return self.peer.rpartition(":")[0].removeprefix("[").removesuffix("]")


class Connections:
    """Every connection that a worker carries."""

    def __init__(self, proves: Proves) -> None:
        self._proves = proves
        self._by_id: dict[str, Connection] = {}
        self._by_ticket: dict[str, Connection] = {}
        self._session_ids: dict[bytes, None] = {}

    def __iter__(self) -> Iterator[Connection]:
        """The authenticated ones."""
        return iter(list(self._by_ticket.values()))

    def unproven(self) -> int:
        """How many have not authenticated."""
        return len(self._by_id) - len(self._by_ticket)

    def arrive(self, worker: Peer, peer: str, now: datetime) -> Connection:
        """Note an accepted socket.

        Raises NO_CAPACITY when too many have not authenticated yet, of all or of those from its side.
        """
        connection = Connection(secrets.token_hex(8), worker, peer, now)
        connection.side = side(connection.address)
        if self.unproven() >= MOST_UNPROVEN or self._crowded(connection.side):
            raise PlatformError(Code.NO_CAPACITY, "Too many connections are logging in; try again.")
        self._by_id[connection.id] = connection
        return connection

    def _crowded(self, its: str) -> bool:
        if self.unproven() < MOST_UNPROVEN_OF_A_SIDE:
            return False
        waiting = (each for each in self._by_id.values() if not each.ticket)
        return sum(each.side == its for each in waiting) >= MOST_UNPROVEN_OF_A_SIDE

    def may_sign(self, worker: Peer, connection_id: str, digest: bytes) -> bool:
        """Whether the host key may sign for this connection.

        The first digest becomes its session id, which no other connection had.
        """
        connection = self._by_id.get(connection_id)
        if connection is None or connection.worker is not worker:
            return False
        return bool(connection.session_id) or self._fix_session_id(connection, digest)

    def _fix_session_id(self, connection: Connection, digest: bytes) -> bool:
        if not 0 < len(digest) <= LONGEST_DIGEST or digest in self._session_ids:
            return False
        if len(self._session_ids) >= MOST_REMEMBERED:
            del self._session_ids[next(iter(self._session_ids))]
        self._session_ids[digest] = None
        connection.session_id = digest
        return True

    def unproven_of(self, worker: Peer, connection_id: str) -> Connection:
        """A connection of this worker without a ticket, on which nothing is being judged. Raises DENIED."""
        connection = self._by_id.get(connection_id)
        if connection is None or connection.worker is not worker or connection.ticket or connection.busy:
            raise denied()
        return connection

    def prove(
        self,
        connection: Connection,
        evidence: Evidence,
        account: Account | None,
        now: datetime,
        trust: Trust = NOBODY,
    ) -> Credential:
        """What she has shown that is good for this account.

        Raises DENIED, always with the same words, when anything is amiss: an unknown, disabled or
        other user, a key or certificate that is not hers or not good now or from there, a signature that
        does not hold or is not over this connection's session id.
        """
        if account is None or not account.enabled or account.name != evidence.user:
            raise denied()
        used = credential(account, trust, evidence.key, connection.address, now)
        if used is None or not self._holds(connection, evidence, used.options):
            raise denied()
        return used

    def prove_claimed(self, connection: Connection, evidence: Evidence, account: Account) -> PublicKey:
        """The key that she has claimed with a one-time code and signs with now. Raises DENIED."""
        if account.name != evidence.user or evidence.key not in account.claimed:
            raise denied()
        if not self._holds(connection, evidence, PLAIN):
            raise denied()
        return PublicKey.of_blob(evidence.key)

    def waits(self, connection: Connection) -> bool:
        """Whether it is still there and has no ticket."""
        return self._by_id.get(connection.id) is connection and not connection.ticket

    def _holds(self, connection: Connection, evidence: Evidence, options: KeyOptions) -> bool:
        claim = (evidence.user, evidence.key, evidence.signed, evidence.signature)
        return self._proves(connection.session_id, *claim, options)

    def admit(self, connection: Connection, account: Account, used: Credential) -> None:
        """Give the connection its ticket. Raises QUOTA_EXCEEDED for one too many of one user."""
        if sum(other.user_id == account.user_id for other in self) >= MOST_OF_A_USER:
            raise PlatformError(
                Code.QUOTA_EXCEEDED,
                f"You have {MOST_OF_A_USER} connections open, which is the most; close one and try again.",
            )
        connection.user_id, connection.user = account.user_id, account.name
        connection.credential = used
        connection.ticket = secrets.token_hex(16)
        self._by_ticket[connection.ticket] = connection

    def holder(self, worker: Peer, ticket: str) -> Connection:
        """The connection that this ticket was given to. Raises DENIED for any other worker or ticket."""
        connection = self._by_ticket.get(ticket)
        if connection is None or connection.worker is not worker:
            raise denied()
        return connection

    def revoke(self, connection: Connection) -> None:
        """Its ticket is worth nothing from here on, whatever its worker does; a new one is not given."""
        self._by_ticket.pop(connection.ticket, None)

    def find(self, id_: str) -> tuple[Connection, str | None] | None:
        """The authenticated connection with this id, or the one with this channel and the channel's id."""
        for connection in self:
            if connection.id == id_:
                return connection, None
            if id_ in connection.channels:
                return connection, id_
        return None

    def of_user(self, user_id: int) -> list[Connection]:
        """A user's authenticated connections."""
        return [connection for connection in self if connection.user_id == user_id]

    def open_channel(self, connection: Connection, session: LiveSession) -> None:
        """Note a session or forward. Raises QUOTA_EXCEEDED above the limit a connection."""
        if len(connection.channels) >= MOST_CHANNELS:
            raise PlatformError(Code.QUOTA_EXCEEDED, f"A connection may have {MOST_CHANNELS} channels.")
        connection.channels[session.id] = session

    def open_session(self, connection: Connection, session: LiveSession, most: int) -> None:
        """The same for a session, of which her connections may have `most` together."""
        channels = [each for other in self.of_user(connection.user_id) for each in other.channels.values()]
        if sum(each.kind != "forward" for each in channels) >= most:
            raise PlatformError(
                Code.QUOTA_EXCEEDED,
                f"You have {most} session{'' if most == 1 else 's'} open, which is the most that you may; "
                "end one and try again.",
            )
        self.open_channel(connection, session)

    def leave(self, worker: Peer, connection_id: str) -> Connection | None:
        """Forget a connection of this worker; None when there is none."""
        connection = self._by_id.get(connection_id)
        if connection is None or connection.worker is not worker:
            return None
        del self._by_id[connection_id]
        self._by_ticket.pop(connection.ticket, None)
        return connection

    def of_worker(self, worker: Peer) -> list[Connection]:
        """All connections that a worker carries, authenticated or not."""
        return [connection for connection in self._by_id.values() if connection.worker is worker]

    def shown(self) -> list[LiveConnection]:
        """What `gpuadmin session list` shows."""
        return [
            LiveConnection(
                each.id,
                each.user_id,
                each.user,
                each.peer,
                each.credential.fingerprint,
                each.arrived_at,
                tuple(each.channels.values()),
            )
            for each in self
        ]


def denied() -> PlatformError:
    """The one refusal of whoever proves nothing."""
    return PlatformError(Code.DENIED, "Permission denied.")
