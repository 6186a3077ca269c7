"""A client hears the broker's verdict on what it has shown, and nothing before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, Byte, String

from gateway import connections as limits
from gateway.verbs import Evidence
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
    monkeypatch.setattr(here.reception, "_authenticate", lambda worker, evidence: shown.append(evidence))

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
