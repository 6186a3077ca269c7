"""Channels that do not pile up data, and that take what OpenSSH's clients send.

Owns the overrides of asyncssh's channels: bounded sending, raw command bytes, the filter on
environment variables, and eow@openssh.com. Must not know executions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from asyncssh.channel import SSHServerChannel, SSHTCPChannel, SSHUNIXChannel
from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST
from asyncssh.packet import SSHPacket, UInt32

MOST_VARIABLES = 128
LONGEST_VALUE = 4096
PIECE = 32768

_ACCEPTED = re.compile(rb"LANG|LC_[A-Za-z0-9_]{1,64}|COLORTERM|NO_COLOR")


class Bounded:
    """Mixed into a channel class: data waits in the program that makes it, not in this process."""

    _conn: Any
    _session: Any
    _send_buf: Any
    _send_state: str
    _send_chan: Any
    _send_window: int
    _send_pktsize: int
    _recv_buf: list[tuple[bytes, int | None]]
    _recv_paused: bool | str
    _recv_window: int
    _init_recv_window: int

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Send, straight into a packet where the window and the transport allow."""
        direct = datatype is None and not self._send_buf and self._send_state == "open"
        if direct and self._conn.may_send and 0 < len(data) <= min(self._send_window, self._send_pktsize):
            self._send_window -= len(data)
            self._conn.send_data(self._send_chan, data)
        else:
            super().write(data, datatype)  # type: ignore[misc]

    def log_sent_packet(self, *_: object) -> None:
        """Nothing; see Transport."""

    def log_received_packet(self, *_: object) -> None:
        """Nothing; see Transport."""

    def _accept_data(self, data: bytes, datatype: int | None = None) -> None:
        """Keep what waits in few pieces: a window of single bytes would cost a hundred times its size."""
        buffer = self._recv_buf
        before = len(buffer)
        super()._accept_data(data, datatype)  # type: ignore[misc]
        if len(buffer) > before > 0:
            last, kind = buffer[-2]
            if kind == datatype and len(last) + len(data) <= PIECE:
                buffer[-2:] = [(last + data, datatype)]

    def _deliver_data(self, data: bytes, datatype: int | None) -> None:
        """Grant the client what was taken, no more: asyncssh grants what still waits here a second time."""
        waiting = sum(len(piece) for piece, _ in self._recv_buf) if self._recv_buf else 0
        taken = self._init_recv_window - self._recv_window - waiting
        if taken > self._init_recv_window // 2:
            self.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(taken))  # type: ignore[attr-defined]
            self._recv_window += taken
        if self._session is not None:
            self._session.data_received(data, datatype)

    def _flush_send_buf(self) -> None:
        if self._send_buf and (self._conn is None or not self._conn.may_send):
            self._pause_resume_writing()
        else:
            super()._flush_send_buf()  # type: ignore[misc]

    def _pause_resume_writing(self) -> None:
        if self._session is not None:
            super()._pause_resume_writing()  # type: ignore[misc]


class SessionChannel(Bounded, SSHServerChannel[bytes]):
    """A session's channel. `command` holds the bytes of an exec request as they came."""

    command = b""
    _when_sent: Callable[[], None] | None = None

    def when_sent(self, action: Callable[[], None]) -> None:
        """Do something after everything written so far has gone out; what it sends goes out together."""
        if self._send_buf:
            self._when_sent = action
        else:
            self._act(action)

    def _act(self, action: Callable[[], None]) -> None:
        if self._conn is None:
            action()
            return
        with self._conn.together():
            action()

    def _flush_send_buf(self) -> None:
        super()._flush_send_buf()
        if self._when_sent is not None and not self._send_buf:
            action, self._when_sent = self._when_sent, None
            self._act(action)

    def _process_exec_request(self, packet: SSHPacket) -> bool:
        self.command = packet.get_string()
        packet.check_end()
        return self._start_session(command=self.command.decode("utf-8", "surrogateescape"))

    def _process_env_request(self, packet: SSHPacket) -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        accepted = _ACCEPTED.fullmatch(name) and len(value) <= LONGEST_VALUE and b"\0" not in value
        if not accepted or len(self._env) >= MOST_VARIABLES:
            return False
        self._env[name] = value
        return True

    async def _finish_agent_req_request(self) -> None:
        """auth-agent-req@openssh.com (draft-ietf-sshm-ssh-agent section 4.1), in the container."""
        self._answer(await self._conn.agent.forward(self._session.say))

    async def _finish_x11_req_request(self, auth_proto: bytes, auth_data: bytes, screen: int) -> None:
        """x11-req, in the container; a session has one display at most, as by sshd."""
        displays, already = self._conn.displays, self._x11_display
        if not already:
            made = await displays.open(self, auth_proto, auth_data, screen, self._session.say)
            self._x11_display = made
            if made and self._conn is None:  # the channel was closed meanwhile
                displays.close(self)
        self._answer(not already and self._x11_display is not None)

    def _answer(self, granted: bool) -> None:
        """Answer the request that is served; the channel may be gone by now, and its requests with it."""
        if self._conn is not None:
            self._report_response(granted)

    def _process_eow_at_openssh_dot_com_request(self, packet: SSHPacket) -> bool:
        """The client will read no more output (OpenSSH PROTOCOL section 2.1)."""
        packet.check_end()
        end_output = getattr(self._session, "output_unwanted", None)
        if end_output is not None:
            end_output()
        return True


class TCPChannel(Bounded, SSHTCPChannel[bytes]):
    """A forward's channel."""


class UnixChannel(Bounded, SSHUNIXChannel[bytes]):
    """A forward's channel to a socket file."""
