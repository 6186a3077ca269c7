"""Host keys that the broker holds, as clients see them sign."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_KEX_FIRST
from asyncssh.packet import SSHPacket

from tests.support.front import front

ALGORITHMS = ("rsa-sha2-256", "rsa-sha2-512")


class Hesitant(asyncssh.SSHClientConnection):
    """Agrees on the algorithms, and goes on with its key exchange when it is told to.

    Takes a signature of any algorithm, as asyncssh does; OpenSSH's client takes what was agreed alone.
    """

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.agreed = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.signed_by = ""

    def validate_server_host_key(self, key_data: bytes) -> asyncssh.SSHKey:
        key = super().validate_server_host_key(key_data)
        verify = key.verify

        def noted(data: bytes, signature: bytes) -> bool:
            self.signed_by = SSHPacket(signature).get_string().decode()
            return verify(data, signature)

        key.verify = noted  # type: ignore[method-assign]
        return key

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype != MSG_KEX_FIRST or self.may_go_on.is_set():
            super().send_packet(pkttype, *args, handler=handler)
            return
        self.agreed.set()
        self.create_task(self._later(pkttype, *args, handler=handler))

    async def _later(self, *packet: Any, handler: Any) -> None:
        await self.may_go_on.wait()
        super().send_packet(*packet, handler=handler)


@pytest.mark.parametrize("mine", ALGORITHMS)
async def test_key_exchanges_at_the_same_time_sign_each_as_was_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str
) -> None:
    """asyncssh notes on the key what was agreed; of two clients at once, one would be given the other's."""
    async with front(tmp_path, monkeypatch) as here:
        here.add(1, "alice")
        (others,) = set(ALGORITHMS) - {mine}
        common: dict[str, Any] = {
            "username": "alice",
            "client_keys": [str(here.folder / "alice.key")],
            "known_hosts": None,
            "config": None,
            "kex_algs": ["curve25519-sha256"],
        }
        options: Any = await asyncssh.SSHClientConnectionOptions.construct(
            **common, server_host_key_algs=[mine]
        )
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Hesitant(loop, options), "127.0.0.1", here.port)
        async with client, asyncio.timeout(30):
            await client.agreed.wait()
            async with asyncssh.connect(
                "127.0.0.1", here.port, **common, server_host_key_algs=[others]
            ) as other:
                assert (await other.run("echo other", check=True)).stdout == "other\n"
            client.may_go_on.set()
            assert (await client.run("echo mine", check=True)).stdout == "mine\n"
            assert client.signed_by == mine
