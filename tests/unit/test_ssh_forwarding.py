"""Requests that no stock client sends, or not in time for a test, by asyncssh's client to a live worker."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_OPEN
from asyncssh.packet import Boolean, SSHPacket, String, UInt32

from gateway.runner.listening import MOST_ARRIVED
from gateway.ssh.forwarding import MOST_CHANNELS
from gateway.ssh.listeners import MOST_LISTENERS, MOST_OPENING
from tests.support.front import Front, front, until

SUCCESS, FAILURE = 81, 82
NOT_UTF8 = b"caf\xe9"


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """One worker; alice may log in."""
    async with front(tmp_path, monkeypatch) as made:
        made.add(1, "alice")
        yield made


@asynccontextmanager
async def client(here: Front) -> AsyncIterator[Any]:
    """Alice's connection."""
    key = str(here.folder / "alice.key")
    async with asyncssh.connect(
        "127.0.0.1", here.port, username="alice", client_keys=[key], known_hosts=None, config=None
    ) as made:
        yield made
        assert (await made.run("echo alive", check=True)).stdout == "alive\n"


async def ask(made: Any, request: bytes, *words: bytes) -> tuple[int, SSHPacket]:
    """A global request and its answer."""
    async with asyncio.timeout(30):
        kind, packet = await made._make_global_request(request, *words)
    return kind, packet


async def listen(made: Any, host: bytes = b"localhost", port: int = 0) -> int:
    """The port of a new listener."""
    kind, packet = await ask(made, b"tcpip-forward", String(host), UInt32(port))
    assert kind == SUCCESS
    return packet.get_uint32() if port == 0 else port


async def test_what_cannot_be_done_is_a_failure_and_the_connection_goes_on(here: Front) -> None:
    """asyncssh itself would end the connection at each of these."""
    async with client(here) as made:
        for request, *words in (
            (b"cancel-tcpip-forward", String(b"localhost"), UInt32(9999)),
            (b"cancel-tcpip-forward", String(NOT_UTF8), UInt32(9999)),
            (b"cancel-streamlocal-forward@openssh.com", String(b"/tmp/none")),
            (b"cancel-streamlocal-forward@openssh.com", String(NOT_UTF8)),
            (b"streamlocal-forward@openssh.com", String(b"/nonexistent/" + NOT_UTF8)),
            (b"streamlocal-forward@openssh.com", String(b"/tmp/a\0b")),
            (b"tcpip-forward", String(b"localhost"), UInt32(70_000)),
            (b"tcpip-forward", String(b"x" * 1000), UInt32(0)),
        ):
            assert (await ask(made, request, *words))[0] == FAILURE, (request, words)


def test_asyncssh_still_has_what_is_overridden() -> None:
    """Checked with 2.24.1. Under another name the original would serve the request, on the gateway."""
    connection = (
        "_process_direct_tcpip_open",
        "_process_direct_streamlocal_at_openssh_dot_com_open",
        "_process_tcpip_forward_global_request",
        "_process_cancel_tcpip_forward_global_request",
        "_process_streamlocal_forward_at_openssh_dot_com_global_request",
        "_process_cancel_streamlocal_forward_at_openssh_dot_com_global_request",
        "_report_global_response",
    )
    channel = ("_finish_agent_req_request", "_finish_x11_req_request", "_report_response", "_x11_display")
    source = inspect.getsource(asyncssh.channel)
    assert [name for name in connection if not hasattr(asyncssh.SSHServerConnection, name)] == []
    assert [name for name in channel if name not in source] == []


async def test_names_are_bytes(here: Front, tmp_path: Path) -> None:
    """A listener is known by the very bytes of its request, to the client and to its cancellation."""
    path = str(tmp_path).encode() + b"/" + NOT_UTF8
    tmp_path.chmod(0o755)
    async with client(here) as made:
        port = await listen(made, NOT_UTF8)
        assert (await ask(made, b"cancel-tcpip-forward", String(NOT_UTF8), UInt32(port)))[0] == SUCCESS
        unix = b"streamlocal-forward@openssh.com"
        assert (await ask(made, unix, String(path)))[0] == SUCCESS
        assert Path(str(path, "utf-8", "surrogateescape")).is_socket()
        assert (await ask(made, b"cancel-" + unix, String(path)))[0] == SUCCESS
        assert not Path(str(path, "utf-8", "surrogateescape")).exists()


async def test_destinations_are_bytes(here: Front, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/" + NOT_UTF8
    tmp_path.chmod(0o755)
    async with client(here) as made:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            words = (String(path), String(b""), UInt32(0))
            chantype = b"direct-streamlocal@openssh.com"
            unix = made.create_unix_channel()
            await unix._open_forward(asyncssh.SSHUNIXSession, chantype, *words)
            server.settimeout(20)
            server.accept()[0].close()
        nobody = (String(NOT_UTF8), UInt32(1), String(NOT_UTF8), UInt32(1))
        tcp = made.create_tcp_channel()
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await tcp._open_forward(asyncssh.SSHTCPSession, b"direct-tcpip", *nobody)
        assert refused.value.code == asyncssh.OPEN_CONNECT_FAILED


async def test_a_connection_listens_so_often_and_no_more(here: Front) -> None:
    async with client(here) as made:
        ports = [await listen(made) for _ in range(MOST_LISTENERS)]
        assert (await ask(made, b"tcpip-forward", String(b""), UInt32(0)))[0] == FAILURE
        assert (await ask(made, b"cancel-tcpip-forward", String(b"localhost"), UInt32(ports[0])))[
            0
        ] == SUCCESS
        await listen(made)


async def test_listeners_are_shown_and_end_with_their_connection(here: Front) -> None:
    async with client(here) as made:
        port = await listen(made, b"")
        (connection,) = here.connections
        assert [(each.kind, each.command) for each in connection.channels.values()] == [("forward", "-R :0")]
        await ask(made, b"cancel-tcpip-forward", String(b""), UInt32(port))
        await until(lambda: not connection.channels)
        port = await listen(made)
    await until(lambda: not _listens(port))


async def test_a_client_that_never_answers_holds_up_nobody_but_itself(here: Front, monkeypatch: Any) -> None:
    """Its arrivals stay in the container once enough wait; another connection of hers does not notice."""
    async with client(here) as silent:
        heard: list[object] = []
        ignoring = {MSG_CHANNEL_OPEN: lambda self, *words: heard.append(words)}
        monkeypatch.setattr(silent, "_packet_handlers", {**silent._packet_handlers, **ignoring})
        port = await listen(silent)
        count = MOST_OPENING + MOST_ARRIVED + 20
        crowd = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(count)]
        await until(lambda: len(heard) == MOST_OPENING)
        async with client(here) as other:
            port = await listen(other)
            await ask(other, b"cancel-tcpip-forward", String(b"localhost"), UInt32(port))
        for sock in crowd:
            sock.close()
        assert len(heard) == MOST_OPENING


async def test_arrivals_above_the_limit_of_channels_are_hung_up_on(here: Front) -> None:
    async with client(here) as made:
        listener = await made.start_server(lambda *_: _hold, "", 0)
        callers: list[socket.socket] = []
        try:
            for _ in range(MOST_CHANNELS + 1):
                callers.append(socket.socket())
                callers[-1].setblocking(False)
                address = ("127.0.0.1", listener.get_port())
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(callers[-1], address), 30)
            # One place is the listener's, which the broker counts as well.
            await until(lambda: sum(_hung_up(caller) for caller in callers) == 2, 60)
            callers.pop(0).close()
            await until(lambda: sum(_hung_up(caller) for caller in callers) == 2)
        finally:
            for caller in callers:
                caller.close()
        await until(lambda: len(made._channels) == 0, 60)


async def _hold(reader: Any, writer: Any) -> None:
    await reader.read()
    writer.close()


def _hung_up(caller: socket.socket) -> bool:
    try:
        return caller.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


async def test_what_xauth_would_read_as_its_own_commands_is_refused(here: Front) -> None:
    async with client(here) as made:
        process = await made.create_process()
        ask_x11 = process.channel._make_request
        for kind, cookie in (
            (b"MIT-MAGIC-COOKIE-1\nadd x . ", b"00"),
            (b"MIT MAGIC", b"00"),
            (b"", b"00"),
            (b"MIT-MAGIC-COOKIE-1", b"0g"),
            (b"MIT-MAGIC-COOKIE-1", b""),
            (b"MIT-MAGIC-COOKIE-1", b"00" * 600),
        ):
            words = (Boolean(False), String(kind), String(cookie), UInt32(0))
            assert not await asyncio.wait_for(ask_x11(b"x11-req", *words), 30)
        (connection,) = here.connections
        assert [each.kind for each in connection.channels.values()] == ["shell"]
        done = await asyncio.wait_for(process.communicate("exit\n"), 30)
        assert "xauth" not in done[1]  # it was never asked


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
