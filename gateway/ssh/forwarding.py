"""Forwards of one connection, in both directions, all with their far end inside the container.

Owns the channel opens and global requests of RFC 4254 section 7 and of OpenSSH's PROTOCOL section 2.4. Names
are bytes, and what cannot be done is refused: asyncssh ends the connection for a name that is not UTF-8 and
for the cancellation of a listener that is not there, where OpenSSH's sshd goes on. Must not know sessions.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import asyncssh
from asyncssh.channel import SSHForwardChannel
from asyncssh.packet import SSHPacket, UInt32

from gateway.activity import Activity
from gateway.journal import explain
from gateway.ports import Arrival, Listener, Runner
from gateway.ssh import words
from gateway.ssh.channels import TCPChannel, UnixChannel
from gateway.ssh.entry import Entry
from gateway.ssh.forward import Forward
from gateway.ssh.listeners import Listeners
from gateway.ssh.login import Authorities, Keys, Login
from gateway.ssh.tasks import Tasks

MOST_CHANNELS = 1_000
_FORWARDS = "port-forwarding"

Dial = Callable[[Runner], Awaitable[socket.socket]]
MakeForward = Callable[[], Forward]
AnyChannel = TypeVar("AnyChannel", bound=SSHForwardChannel[bytes])


class Forwarding(Login):
    """A connection with its forwards."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
        id_: str,
        entry: Entry,
        keys: Keys,
        authorities: Authorities,
        tasks: Tasks,
    ) -> None:
        super().__init__(loop, options, id_, entry, keys, authorities)
        self.tasks = tasks
        self.listeners = Listeners(self)
        self.activity = Activity(entry.active, loop.time)
        self.forwards: dict[str, Forward] = {}

    @property
    def is_full(self) -> bool:
        """Whether it may have no channel more; the broker counts listeners as well."""
        return len(self._channels) + len(self.listeners) >= MOST_CHANNELS

    def end_forward(self, id_: str) -> None:
        """The platform ends the forwarded connection, or the listener, that the broker knows by this id."""
        if id_ in self.forwards:
            self.forwards[id_].end()
        else:
            self.tasks.create_task(self.listeners.end(id_))

    def check_channels(self) -> None:
        """Raises ChannelOpenError when there are too many channels."""
        if self.is_full:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "Too many channels")

    def _process_direct_tcpip_open(self, packet: SSHPacket) -> tuple[TCPChannel, Awaitable[Forward]]:  # type: ignore[override]
        """To a host and port as the container sees them (RFC 4254 section 7.2)."""
        host, port = packet.get_string(), packet.get_uint32()
        packet.get_string(), packet.get_uint32()
        packet.check_end()
        dial = _later(host, lambda runner, name: runner.dial_tcp(name, port))
        return self.channel(TCPChannel), self._forward(dial, b"%s:%d" % (host, port))

    def _process_direct_streamlocal_at_openssh_dot_com_open(  # type: ignore[override]
        self, packet: SSHPacket
    ) -> tuple[UnixChannel, Awaitable[Forward]]:
        """To a socket file in the container."""
        path = packet.get_string()
        packet.get_string(), packet.get_uint32()
        packet.check_end()
        dial = _later(path, lambda runner, name: runner.dial_unix(name))
        return self.channel(UnixChannel), self._forward(dial, path)

    async def _forward(self, dial: Dial, what: bytes) -> Forward:
        """Dial inside the container. Only ChannelOpenError may leave: anything else ends the connection."""
        if not self.check_certificate_permission(_FORWARDS):
            text = "Port forwarding is not permitted by your certificate"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
        try:
            runner = await self.entry.runner(_unheard)
            return Forward(self, await dial(runner), words.shown(what))
        except Exception as error:
            raise words.refused(explain(error)) from error

    def channel(self, kind: type[AnyChannel]) -> AnyChannel:
        """A new channel of a forward. Raises ChannelOpenError when there are too many."""
        self.check_channels()
        return kind(self, self._loop, None, "strict", self._window, self._max_pktsize)

    def _process_tcpip_forward_global_request(self, packet: SSHPacket) -> None:
        """Listen on a port inside (RFC 4254 section 7.1)."""
        host, port = packet.get_string(), packet.get_uint32()
        packet.check_end()
        self._answer(self._listen_tcp(host, port))

    def _process_cancel_tcpip_forward_global_request(self, packet: SSHPacket) -> None:
        """Listen there no more; a listener that is not there is a failure, and nothing worse."""
        host, port = packet.get_string(), packet.get_uint32()
        packet.check_end()
        self._answer(self.listeners.close((host, port)))

    async def _listen_tcp(self, host: bytes, port: int) -> bool | bytes:
        """The answer to the request: for port 0 the one that the kernel chose."""
        if not self.check_certificate_permission(_FORWARDS):
            return False

        def reach(make: MakeForward, arrival: Arrival, made: Listener) -> Awaitable[object]:
            # The client knows the listener by the very bytes of its request, which asyncssh's packets take.
            name: Any = host
            return self.channel(TCPChannel).accept(make, name, made.port, arrival.host, arrival.port)

        listener = await self.listeners.listen(
            words.shown(b"-R %s:%d" % (host, port)),
            lambda runner, arrived: runner.listen_tcp(_text(host), port, arrived),
            reach,
            lambda made: (host, made.port),
            _unheard,
        )
        return UInt32(listener.port) if port == 0 else True

    def _process_streamlocal_forward_at_openssh_dot_com_global_request(self, packet: SSHPacket) -> None:
        """Listen on a socket file inside."""
        path = packet.get_string()
        packet.check_end()
        self._answer(self._listen_unix(path))

    def _process_cancel_streamlocal_forward_at_openssh_dot_com_global_request(
        self, packet: SSHPacket
    ) -> None:
        """Listen there no more, and remove the file."""
        path = packet.get_string()
        packet.check_end()
        self._answer(self.listeners.close(path))

    async def _listen_unix(self, path: bytes) -> bool:
        if not self.check_certificate_permission(_FORWARDS):
            return False

        def reach(make: MakeForward, arrival: Arrival, made: Listener) -> Awaitable[object]:
            name: Any = path
            return self.channel(UnixChannel).accept(make, name)

        await self.listeners.listen(
            words.shown(b"-R " + path),
            lambda runner, arrived: runner.listen_unix(_text(path), arrived),
            reach,
            lambda made: path,
            _unheard,
        )
        return True

    def _answer(self, work: Coroutine[Any, Any, bool | bytes]) -> None:
        """Do it, and answer the global request that is being served."""
        self.tasks.create_task(self._answered(work))

    async def _answered(self, work: Coroutine[Any, Any, bool | bytes]) -> None:
        result: bool | bytes = False
        try:
            result = await work
        except Exception as error:
            explain(error)
        if self._transport:
            self._report_global_response(result)


def _later(name: bytes, dial: Callable[[Runner, str], Awaitable[socket.socket]]) -> Dial:
    return lambda runner: dial(runner, _text(name))


def _text(raw: bytes) -> str:
    """Bytes as the runner takes them."""
    return raw.decode("utf-8", "surrogateescape")


def _unheard(text: str, bar: bool = False) -> None:
    """Nobody reads of progress where no terminal is."""
