"""The connection below its channels: key exchange and back-pressure.

Owns what asyncssh's connection lacks: it stops producing when the client's TCP does not take more or
a key exchange is going on, it waits for the client's offer before making its own, and it sends no
empty IGNORE packets, which only protect CBC ciphers. Must not know users or containers.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import asyncssh
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE, MSG_KEXINIT
from asyncssh.packet import SSHPacket, String, UInt32

from gateway.ssh.inbound import Inbound
from gateway.ssh.options import FAST_CIPHERS
from gateway.ssh.sealing import Sealing, sealed

WRITE_LIMIT = 65536
"""Bytes in the transport above which channels stop; more delays keystrokes and is no faster."""
HOLD_OFFER = 0.25
"""Seconds to wait for the client's KEXINIT; a client that waits for ours gets it then."""

_COOKIE = 16
_DATA = struct.Struct(">BBII")
_HEADER = _DATA.size
_BLOCK = 16
_LEAST_PADDING = 4
_FAST = {name.encode() for name in FAST_CIPHERS}


class Transport(asyncssh.SSHServerConnection):
    """asyncssh's server connection with bounded buffers and OpenSSH's speed."""

    _offer_timer: asyncio.TimerHandle | None = None
    _offer_made = False
    _stalled = False
    _held: list[bytes] | None = None

    @property
    def may_send(self) -> bool:
        """False while data would only pile up in this process."""
        return not self._stalled and self._kex_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with a small write buffer."""
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(WRITE_LIMIT)
        self._inpbuf = cast(bytes, Inbound())
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """The client's TCP takes no more."""
        self._stalled = True

    def resume_writing(self) -> None:
        """It takes more again."""
        self._stalled = False
        self._resume_channels()

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send one packet, but no IGNORE: this server offers no CBC cipher."""
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def send_data(self, channel: int, data: bytes) -> None:
        """Send CHANNEL_DATA (RFC 4254 section 5.2): what `send_packet` would, copied once."""
        sealing = self._send_encryption
        slow = not self._kex_complete or self._compressor or self._keys_are_old()
        if slow or not isinstance(sealing, Sealing):
            self.send_packet(MSG_CHANNEL_DATA, UInt32(channel), String(data))
            return
        size = len(data)
        padding = _LEAST_PADDING + -(_HEADER + size + _LEAST_PADDING) % _BLOCK
        head = _DATA.pack(padding, MSG_CHANNEL_DATA, channel, size)
        packet = sealing.seal(b"".join((head, data, os.urandom(padding))))
        self._send(cast(bytes, packet))
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += len(packet)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Packets that are sent meanwhile go out in one system call, and wake the client once."""
        if self._held is not None:
            yield
            return
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held and self._transport:
                self._transport.writelines(held)

    def _send(self, data: bytes) -> None:
        if self._held is None:
            super()._send(data)
        else:
            self._held.append(data)

    def _keys_are_old(self) -> bool:
        """Whether the next packet begins another exchange of keys."""
        return self._rekey_bytes_sent >= self._rekey_bytes or bool(
            self._rekey_seconds and time.monotonic() >= self._rekey_time
        )

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Begin to use new keys."""
        super().send_newkeys(k, h)
        self._send_encryption = sealed(self._send_encryption)
        self._next_recv_encryption = sealed(self._next_recv_encryption)

    def log_sent_packet(self, *_: object) -> None:
        """Nothing: asyncssh words each packet's line before it looks whether anybody wants it."""

    def log_received_packet(self, *_: object) -> None:
        """Nothing, as above."""

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        self._resume_channels()

    def _resume_channels(self) -> None:
        for channel in list(self._channels.values()):
            channel._flush_send_buf()

    def _send_kexinit(self) -> None:
        if self._offer_made:
            super()._send_kexinit()
        elif self._offer_timer is None:
            self._offer_timer = self._loop.call_later(HOLD_OFFER, self._make_offer)

    def _make_offer(self) -> None:
        if self._offer_timer is not None:
            self._offer_timer.cancel()
        self._offer_made = True
        super()._send_kexinit()

    def _cleanup(self, exc: Exception | None) -> None:
        if self._offer_timer is not None:
            self._offer_timer.cancel()
        super()._cleanup(exc)

    async def _answer_kexinit(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """OpenSSH lists CTR before GCM and the client's order decides: who has GCM is offered it alone."""
        offer = SSHPacket(packet.get_full_payload())
        offer.get_bytes(1 + _COOKIE)
        lists = [offer.get_namelist() for _ in range(4)]
        if not self._offer_made:
            if all(_FAST.intersection(ciphers) for ciphers in lists[2:]):
                self._enc_algs = [name for name in self._enc_algs if name in _FAST]
            self._make_offer()
        await super()._process_kexinit(pkttype, pktid, packet)
        self._judge_guess(lists[0], lists[1])

    def _judge_guess(self, exchanges: Any, host_keys: Any) -> None:
        """A guess is right only when both sides' first choices agree (RFC 4253 section 7.1)."""
        if self._ignore_first_kex or self._kex is None or not self._guessed():
            return
        ours = self._server_host_key_algs or [b""]
        self._ignore_first_kex = exchanges[0] != self._kex_algs[0] or host_keys[0] != ours[0]

    def _guessed(self) -> bool:
        return bool(self._client_kexinit[-5])

    def _reset_keepalive_timer(self) -> None:
        """Whatever a client sends shows that it lives, as sshd counts it; asyncssh believes answers alone."""
        self._keepalive_count = 0
        super()._reset_keepalive_timer()

    async def reload_config(self) -> None:
        """Nothing: asyncssh would rebuild its options in a thread on every login."""

    _packet_handlers: ClassVar[Any] = {  # type: ignore[misc]
        **asyncssh.SSHServerConnection._packet_handlers,
        MSG_KEXINIT: _answer_kexinit,
    }
