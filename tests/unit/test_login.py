"""A client hears the broker's verdict on what it has shown, and nothing before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, Byte, String

from gateway import connections as limits
from gateway.certificates import Trust
from gateway.proofs import Evidence
from tests.support.certificates import Authority
from tests.support.front import Front, front, until


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    async with front(tmp_path, monkeypatch) as made:
        made.add(1, "alice")
        yield made


async def test_who_is_refused_by_the_broker_alone_was_never_in(here: Front) -> None:
    # The worker's snapshot is behind.
    here.reception.accounts = {}
    code, out, err = await here.ssh("alice", "localhost", "true")
    assert (code, out) == (255, b"")
    assert b"Permission denied (publickey" in err
    assert b"isconnect" not in err
    assert "internal_error" not in here.log.read_text()


async def test_the_next_key_is_tried_after_one_that_the_broker_refuses(here: Front) -> None:
    first = here.folder / "alice.key"
    first.rename(here.folder / "old.key")
    here.add(1, "alice")
    alice = here.reception.accounts["alice"]
    old = asyncssh.read_private_key(here.folder / "old.key").public_data
    both = type(alice)(1, "alice", True, {**alice.keys, old: ""})
    here.workers.push([both], [])
    assert list(alice.keys) != [old]
    done = await here.ssh("alice", "-i", str(here.folder / "old.key"), "localhost", "echo in")
    assert done[:2] == (0, b"in\n")


def believe(here: Front, trust: Trust) -> None:
    here.reception.trust = trust
    here.workers.push_trust()


@pytest.fixture
def authority(here: Front) -> Authority:
    """An authority that is believed; carol has a key that nobody knows, and what it certifies."""
    made = Authority(here.folder)
    believe(here, made.trust)
    here.add(3, "carol")
    nothing = replace(here.reception.accounts["carol"], keys={})
    here.reception.accounts = {**here.reception.accounts, "carol": nothing}
    here.workers.push([nothing], [])
    return made


def certify(here: Front, authority: Authority, *options: str) -> None:
    authority.certify(*options, file=here.folder / "carol.key")


async def test_a_certificate_lets_in_whom_it_names(here: Front, authority: Authority) -> None:
    certify(here, authority, "-n", "carol,alice")
    assert (await here.ssh("carol", "localhost", "echo in"))[:2] == (0, b"in\n")
    certify(here, authority, "-n", "alice")
    code, _, err = await here.ssh("carol", "localhost", "true")
    assert code == 255
    assert b"Permission denied (publickey" in err


@pytest.mark.parametrize("told", ["everybody", "the broker alone"])
async def test_an_authority_that_is_gone_lets_nobody_in(here: Front, authority: Authority, told: str) -> None:
    certify(here, authority, "-n", "carol")
    if told == "everybody":
        believe(here, Trust())
    else:
        here.reception.trust = Trust()
    code, _, err = await here.ssh("carol", "localhost", "true")
    assert code == 255
    assert b"Permission denied (publickey" in err


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()
    await writer.wait_closed()


async def test_a_certificate_permits_no_more_than_it_says(here: Front, authority: Authority) -> None:
    certify(here, authority, "-n", "carol", "-O", "clear", "-O", "permit-pty")
    assert (await here.ssh("carol", "-tt", "localhost", "test -t 0 && echo tty"))[1] == b"tty\r\n"
    target = await asyncio.start_server(greet, "127.0.0.1", 0)
    through = ("-W", f"127.0.0.1:{target.sockets[0].getsockname()[1]}", "localhost")
    assert (await here.ssh("carol", *through))[:2] == (255, b"")
    listening = ("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "localhost", "echo in")
    reached = ("-o", "ExitOnForwardFailure=yes", "-R", f"{here.folder}/sock:127.0.0.1:1", "localhost", "true")
    for asked in (listening, reached):
        assert (await here.ssh("carol", *asked))[:2] == (255, b"")
    # OpenSSH's client asks for nothing unless an agent listens.
    silent = await asyncio.start_unix_server(greet, here.folder / "agent")
    agent = ("-A", "localhost", "echo ${SSH_AUTH_SOCK-none}")
    env = {"SSH_AUTH_SOCK": str(here.folder / "agent")}
    assert (await here.ssh("carol", *agent, env=env))[1] == b"none\n"
    certify(here, authority, "-n", "carol", "-O", "clear", "-O", "permit-port-forwarding")
    code, out, err = await here.ssh("carol", "-tt", "localhost", "echo in")
    assert (code, out) == (255, b"")
    assert b"PTY allocation request failed" in err
    assert (await here.ssh("carol", *through))[1] == b"hello"
    assert (await here.ssh("carol", *listening))[1] == b"in\n"
    certify(here, authority, "-n", "carol", "-O", "clear", "-O", "permit-agent-forwarding")
    assert (await here.ssh("carol", *agent, env=env))[1].startswith(b"/tmp/ssh-")
    x11 = ("-Y", "-o", "XAuthLocation=/nonexistent", "localhost", "echo ${DISPLAY-none}")
    assert (await here.ssh("carol", *x11, env={"DISPLAY": ":0"}))[1] == b"none\n"
    silent.close()
    await silent.wait_closed()
    target.close()
    await target.wait_closed()


async def test_who_came_in_by_a_revoked_certificate_is_out(here: Front, authority: Authority) -> None:
    certify(here, authority, "-n", "carol", "-z", "7")
    running = asyncio.create_task(here.ssh("carol", "localhost", "sleep 1000"))
    await until(lambda: here.connections.shown() and here.connections.shown()[0].sessions)
    believe(here, replace(authority.trust, revoked=frozenset([(authority.key.fingerprint, "serial", "7")])))
    here.reception.judge()
    code, _, err = await running
    assert code == 255
    assert b"The certificate that you logged in with was revoked." in err
    assert (await here.ssh("carol", "localhost", "true"))[0] == 255


async def test_a_reason_that_is_no_secret_is_told(here: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_OF_A_USER", 0)
    code, _, err = await here.ssh("alice", "localhost", "true")
    assert code == 255
    assert b"You have 0 connections open, which is the most" in err


async def test_a_request_before_the_last_ones_answer_ends_the_connection(
    here: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    alices = asyncssh.read_private_key(here.folder / "alice.key")
    shown: list[Evidence] = []
    monkeypatch.setattr(here.reception.admission, "shown", lambda worker, evidence: shown.append(evidence))

    def log_in(self: Any) -> None:
        head = String(b"alice") + String(b"ssh-connection") + String(b"publickey") + Boolean(True)
        request = head + String(alices.algorithm) + String(alices.public_data)
        signature = alices.sign(String(self._session_id) + Byte(50) + request, alices.algorithm)
        self.send_packet(50, request + String(signature))

    def instead(self: Any, *, next_method: bool = False) -> None:
        log_in(self)
        asyncio.get_running_loop().create_task(again(self))

    async def again(conn: Any) -> None:
        await until(lambda: shown)
        log_in(conn)

    with monkeypatch.context() as patch:
        patch.setattr(asyncssh.SSHClientConnection, "try_next_auth", instead)
        with pytest.raises((asyncssh.Error, ConnectionError)):
            async with asyncio.timeout(10):
                await asyncssh.connect("127.0.0.1", here.port, username="alice", known_hosts=None)
    assert len(shown) == 1
    await until(lambda: not here.connections.of_worker(here.live[0]))
    assert "internal_error" not in here.log.read_text()
