"""One client's connection: the sessions that it may open, and its end.

Owns the limit of sessions. Who its client is, login.py asks the broker; its forwards are forwarding.py's.
Must not know the store or the engine.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncssh
from asyncssh.packet import SSHPacket

from gateway.journal import explain
from gateway.ssh.agent import Agent
from gateway.ssh.channels import SessionChannel
from gateway.ssh.display import Displays
from gateway.ssh.entry import Entry
from gateway.ssh.forwarding import Forwarding
from gateway.ssh.login import Authorities, Keys
from gateway.ssh.session import Session
from gateway.ssh.tasks import Tasks

MOST_SESSIONS = 200
CLOSE_WITHIN = 2.0
"""Seconds for the last words of an ended connection to be sent."""


class Connection(Forwarding):
    """A client's connection, carried by this worker under the broker's `id`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
        id_: str,
        entry: Entry,
        keys: Keys,
        authorities: Authorities,
        tasks: Tasks,
        ended: Callable[[str], None],
    ) -> None:
        super().__init__(loop, options, id_, entry, keys, authorities, tasks)
        self.agent = Agent(self)
        self.displays = Displays(self)
        self._ended = ended
        self._no_more_sessions = False
        self._promised = False
        self._sessions: dict[str, Session] = {}
        copies = {key: key.for_connection(id_) for key in options.all_server_host_keys.values()}  # type: ignore[attr-defined]
        self._server_host_keys = {name: copies[key] for name, key in options.server_host_keys.items()}  # type: ignore[assignment]
        self._all_server_host_keys = {
            key.public_data: copies[key] for key in options.all_server_host_keys.values()
        }  # type: ignore[assignment]

    def variables(self) -> dict[str, str]:
        """The environment that sshd gives: who is connected from where, and with which agent."""
        peer, port = self._peer_addr, self._peer_port
        return self.agent.variables | {
            "SSH_CLIENT": f"{peer} {port} {self._local_port}",
            "SSH_CONNECTION": f"{peer} {port} {self._local_addr} {self._local_port}",
        }

    def end(self, reason: str, session: str | None = None) -> None:
        """The platform ends this connection, or one session, and says why; a forward ends without words."""
        if session is not None:
            if session in self._sessions:
                self._sessions[session].end(reason)
            else:
                self.end_forward(session)
            return
        for each in list(self._sessions.values()):
            each.end(reason)
        self._no_more_sessions = True
        self.tasks.create_task(self._close_soon(reason))

    def announce(self, text: str) -> None:
        """Show a notice on every terminal that this client has open here."""
        for each in list(self._sessions.values()):
            each.announce(text)

    async def _close_soon(self, reason: str) -> None:
        """Close when the sessions' last words were sent, or could not be in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN):
                for channel in list(self._channels.values()):
                    await channel.wait_closed()
        if self._transport:
            self.disconnect(asyncssh.DISC_BY_APPLICATION, reason)

    def session(self) -> tuple[SessionChannel, Session]:
        """A new session channel. Raises ChannelOpenError above the limits."""
        if self._promised:
            raise asyncssh.ProtocolError("A session was opened after no-more-sessions@openssh.com")
        if self._no_more_sessions or len(self._sessions) >= MOST_SESSIONS:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "No more sessions")
        self.check_channels()
        channel = SessionChannel(
            self, self._loop, True, False, False, 0, 0, None, "strict", self._window, self._max_pktsize
        )
        session = Session(self)
        self._sessions[session.id] = session
        return channel, session

    def session_closed(self, session: str) -> None:
        """A session channel is closed."""
        self._sessions.pop(session, None)

    def _process_no_more_sessions_at_openssh_dot_com_global_request(self, packet: SSHPacket) -> None:
        """The client will open no more sessions (OpenSSH PROTOCOL section 2.2); another ends it all."""
        packet.check_end()
        self._promised = True
        self._report_global_response(True)

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        """What nobody foresaw ends this connection and is logged whole; asyncssh says it to nobody."""
        error = (exc_info or sys.exc_info())[1]
        if error is not None:
            explain(error)
        super().internal_error(exc_info, error_logger)

    def _cleanup(self, exc: Exception | None) -> None:
        try:
            super()._cleanup(exc)
        finally:
            self.entry.leave()
            self._ended(self.id)


class Owner(asyncssh.SSHServer):
    """asyncssh's hooks, each handed to the connection."""

    _connection: Connection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """The connection whose hooks these are."""
        assert isinstance(conn, Connection)
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Everybody must authenticate: a false value here would let anyone in."""
        return True

    def public_key_auth_supported(self) -> bool:
        """The one method, for every name alike."""
        return True

    def session_requested(self) -> Any:
        """A session channel."""
        return self._connection.session()
