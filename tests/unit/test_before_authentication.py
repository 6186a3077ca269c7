"""What a client may not do before it has logged in: anything but log in, as the user that it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, Byte, String, UInt32

from tests.support.front import Front, front, until

Say = Callable[[asyncssh.SSHClientConnection], None]


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    async with front(tmp_path, monkeypatch) as made:
        made.add(1, "alice")
        made.add(2, "bob")
        yield made


async def says(here: Front, monkeypatch: pytest.MonkeyPatch, say: Say, user: str = "alice") -> bool:
    """Connect and say something in place of a login: whether the connection stands afterwards."""

    def instead(self: Any, *, next_method: bool = False) -> None:
        self._auth_complete = True
        say(self)

    with monkeypatch.context() as patch:
        patch.setattr(asyncssh.SSHClientConnection, "try_next_auth", instead)
        with suppress(asyncssh.Error, ConnectionError):
            async with asyncio.timeout(10):
                async with asyncssh.connect(
                    "127.0.0.1", here.port, username=user, known_hosts=None
                ) as client:
                    await client.run("touch " + str(here.folder / "ran"))
                    return True
    return False


def nothing_came_of_it(here: Front) -> None:
    assert here.behind.entered == []
    assert here.connections.shown() == []
    assert not (here.folder / "ran").exists()
    assert "internal_error" not in here.log.read_text()


OPEN = String(b"session") + UInt32(0) + UInt32(1 << 20) + UInt32(1 << 15)
REQUEST = UInt32(0) + String(b"exec") + Boolean(True) + String(b"true")


@pytest.mark.timeout(120)
async def test_no_message_but_a_login_is_heard(here: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = {80: String(b"tcpip-forward") + Boolean(True) + String(b"") + UInt32(0), 90: OPEN, 98: REQUEST}
    before = here.live[0].process.pid
    # Numbers that nobody knows are answered by UNIMPLEMENTED (RFC 4253 section 11.4) and are not in the list.
    for number in [*range(50, 54), 60, 61, *range(79, 83), *range(90, 101), 127, 192, 255]:
        payload = payloads.get(number, b"")
        assert not await says(here, monkeypatch, lambda conn, n=number, p=payload: conn.send_packet(n, p))
        nothing_came_of_it(here)
    assert here.live[0].process.pid == before
    assert (await here.ssh("alice", "localhost", "echo still here"))[1] == b"still here\n"


async def test_a_success_that_the_client_declares_is_none(
    here: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(conn: Any) -> None:
        conn.send_packet(52)
        conn.send_packet(90, OPEN)
        conn.send_packet(98, REQUEST)

    assert not await says(here, monkeypatch, say)
    nothing_came_of_it(here)


def sign_in(conn: Any, user: bytes, signer: bytes, key: asyncssh.SSHKey, *, signed: bool = True) -> None:
    """One request to log `user` in, signed as `signer`'s (RFC 4252 section 7)."""
    algorithm = key.algorithm

    def request(name: bytes) -> bytes:
        head = String(name) + String(b"ssh-connection") + String(b"publickey") + Boolean(signed)
        return head + String(algorithm) + String(key.public_data)

    rest = b""
    if signed:
        rest = String(key.sign(String(conn._session_id) + Byte(50) + request(signer), algorithm))
    conn.send_packet(50, request(user) + rest)


async def test_a_name_that_changes_on_the_way_is_the_last_one_or_none(
    here: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    bobs = asyncssh.read_private_key(here.folder / "bob.key")
    alices = asyncssh.read_private_key(here.folder / "alice.key")

    def probe_alice_sign_bob(conn: Any) -> None:
        sign_in(conn, b"alice", b"alice", alices, signed=False)
        sign_in(conn, b"bob", b"bob", bobs)

    def claim_alice_sign_bob(conn: Any) -> None:
        sign_in(conn, b"alice", b"bob", bobs)
        sign_in(conn, b"alice", b"alice", bobs)
        sign_in(conn, b"bob", b"alice", alices)

    def sign_bob_then_alice_wrongly(conn: Any) -> None:
        sign_in(conn, b"alice", b"bob", alices)
        sign_in(conn, b"bob", b"bob", bobs)
        sign_in(conn, b"alice", b"alice", bobs)

    await says(here, monkeypatch, claim_alice_sign_bob)
    nothing_came_of_it(here)
    for say in (probe_alice_sign_bob, sign_bob_then_alice_wrongly):
        seen: set[str] = set()
        asking = asyncio.create_task(says(here, monkeypatch, say))
        while not asking.done():
            seen.update(each.user for each in here.connections.shown())
            await asyncio.sleep(0.001)
        assert seen <= {"bob"}


@pytest.mark.timeout(120)
async def test_strange_names_are_nobodys(here: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    alices = asyncssh.read_private_key(here.folder / "alice.key")
    # The last two are alice's own once they are normalised (RFC 4013), and no name of hers.
    strange = [b"root", b"../alice", b"-oProxyCommand=x", b"alice\n", b"alice\0", b"\x1b[2J", b"\xff"]
    for name in [*strange, b"a" * 1023, b"a" * 9000, b"{{", b"", "\uff41lice".encode(), b"al\xc2\xadice"]:

        def say(conn: Any, user: bytes = name) -> None:
            sign_in(conn, user, user, alices)

        assert not await says(here, monkeypatch, say)
        nothing_came_of_it(here)
    assert here.log.read_text().isascii()
    await until(lambda: not here.connections.of_worker(here.live[0]))
