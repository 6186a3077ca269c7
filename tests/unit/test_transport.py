"""Bytes through a real connection with asyncssh's client, whatever the cipher, and across changes of keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest

from gateway.ssh.channels import SessionChannel
from gateway.ssh.inbound import Inbound
from gateway.ssh.options import CIPHERS, FAST_CIPHERS
from gateway.ssh.sealing import Sealing
from gateway.ssh.transport import Transport

PIECE = bytes(range(256)) * 96
PIECES = 40


class Writer(asyncssh.SSHServerSession[bytes]):
    """Writes many pieces, by turns one and two at a time, as fast as the client takes them; then ends."""

    def __init__(self) -> None:
        self.left = PIECES

    def connection_made(self, chan: Any) -> None:
        self.channel = chan
        self.paused = False

    def exec_requested(self, command: str) -> bool:
        return True

    def session_started(self) -> None:
        self.write()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self.write)

    def write(self) -> None:
        while self.left and not self.paused:
            self.channel.write(PIECE)
            with self.channel.get_connection().together():
                self.channel.write(PIECE)
                self.channel.write(PIECE)
            self.left -= 1
        if not self.left:
            self.channel.exit(0)


class Server(Transport):
    """Lets everybody in, and counts the keys that it had."""

    keys = 0

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        super().send_newkeys(k, h)
        self.keys += 1


class Owner(asyncssh.SSHServer):
    """asyncssh's hooks."""

    def connection_made(self, conn: Any) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Any:
        conn = self.connection
        loop = asyncio.get_running_loop()
        size, window = conn._max_pktsize, conn._window
        channel = SessionChannel(
            conn, loop, True, False, False, 0, 0, None, "strict", window=window, max_pktsize=size
        )
        return channel, Writer()


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, list[Server]]]:
    """A port, and who was served there."""
    loop = asyncio.get_running_loop()
    options = asyncssh.SSHServerConnectionOptions(
        server_factory=Owner,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        encryption_algs=CIPHERS,
        compression_algs=None,
        encoding=None,
        gss_host=None,
        rekey_bytes=1 << 20,
    )
    served: list[Server] = []

    def serve() -> Server:
        served.append(Server(loop, options))
        return served[-1]

    listener = await loop.create_server(serve, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1], served
    listener.close()
    await listener.wait_closed()


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_all_arrives_across_changes_of_keys(server: tuple[int, list[Server]], cipher: str) -> None:
    port, served = server
    async with asyncssh.connect(
        "127.0.0.1", port, username="anyone", known_hosts=None, config=None, encryption_algs=[cipher]
    ) as client:
        done = await client.run("write", encoding=None)
        assert done.stdout == PIECE * 3 * PIECES
        assert done.exit_status == 0
        assert isinstance(served[0]._inpbuf, Inbound)
    assert isinstance(served[0]._send_encryption, Sealing) is (cipher in FAST_CIPHERS)
    assert served[0].keys == 1 + (len(PIECE) * 3 * PIECES >> 20)
