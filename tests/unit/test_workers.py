"""The broker's side of a worker: who does not keep the protocol is ended, and what is pushed fits."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway import proofs, verbs, wire
from gateway.admission import Admission
from gateway.connections import Connections
from gateway.evidence import proves
from gateway.hostkeys import HostKeys
from gateway.messages import LIMIT, encode
from gateway.reception import Reception
from gateway.totp import step_of
from gateway.users import Account
from gateway.workers import MOST_KEYS, Worker, Workers
from tests.support.descriptors import held
from tests.support.stores import NOW
from tests.support.world import until

HELLO = encode(verbs.Hello(verbs.VERSION, ()))


@dataclass
class Trial:
    """A worker whose part the test plays; its process only sleeps."""

    workers: Workers
    worker: Worker
    talk: socket.socket
    sign: socket.socket

    async def told(self) -> Any:
        """What the broker says next."""
        data = await asyncio.get_running_loop().sock_recv(self.talk, LIMIT)
        return verbs.from_broker(data, 0)

    async def ended(self) -> bool:
        """Whether the process was killed and its line closed."""
        async with asyncio.timeout(10):
            return await self.worker.process.wait() == -9


@pytest.fixture
async def trial(tmp_path: Path) -> AsyncIterator[Trial]:
    (ours, theirs), (our_sign, their_sign) = wire.pair(), wire.pair()
    connections = Connections(proves)
    async with asyncio.TaskGroup() as group:
        nobody: Any = type("Nobody", (), {"answer": None})()
        admission = Admission(connections, nobody, step_of, group, lambda: NOW)
        reception = Reception(
            nobody, connections, lambda sets: [], admission, nobody.answer, group, lambda: NOW
        )
        keys = {os.urandom(800): "" for _ in range(MOST_KEYS + 1)}
        reception.accounts = {"a" * 32: Account(1, "a" * 32, True, keys)}
        workers = Workers(1, (29_997, 29_997), HostKeys(tmp_path / "keys"), connections, reception)
        process = await asyncio.create_subprocess_exec("sleep", "60")
        worker = Worker(process, ours, our_sign)
        workers._workers.append(worker)
        worker.serve(
            lambda data, fds: workers._receive(worker, data, fds), lambda data: workers._sign(worker, data)
        )
        yield Trial(workers, worker, theirs, their_sign)
        worker.kill()
        await process.wait()
        theirs.close()
        their_sign.close()


async def test_a_hello_is_answered_with_all_that_a_worker_needs(trial: Trial) -> None:
    trial.talk.send(HELLO)
    welcome, account = await trial.told(), await trial.told()
    assert (welcome.version, len(welcome.host_keys), welcome.uid) == (verbs.VERSION, 3, 29_997)
    assert len(account.keys) == MOST_KEYS
    assert {len(digest) for digest in account.keys} == {32}
    assert trial.worker.ready


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense",
        encode(verbs.Hello(verbs.VERSION + 1, ())),
        encode(verbs.Hello(verbs.VERSION, ("c1",))),
        encode(verbs.Gone("c1")),
    ],
)
async def test_who_begins_with_anything_else_is_ended(trial: Trial, said: bytes) -> None:
    trial.talk.send(said)
    assert await trial.ended()
    assert not trial.worker.ready


async def test_who_breaks_the_protocol_is_ended_and_not_heard_again(trial: Trial) -> None:
    for said in (HELLO, b"nonsense", HELLO):
        trial.talk.send(said)
    assert await trial.ended()
    assert not trial.worker.ready


async def test_descriptors_from_a_worker_end_it_and_are_closed(trial: Trial) -> None:
    trial.talk.send(HELLO)
    await trial.told()
    before = held()
    fd = os.open("/dev/null", os.O_RDONLY)
    wire.send(trial.talk, encode(verbs.Gone("c1")), [fd])
    os.close(fd)
    assert await trial.ended()
    assert held() <= before


@pytest.mark.parametrize("said", [b"nonsense", encode(proofs.Signature(b"")), b"x" * LIMIT])
async def test_nonsense_on_the_signing_line_ends_it(trial: Trial, said: bytes) -> None:
    trial.sign.send(said)
    assert await trial.ended()


async def test_nothing_is_signed_for_a_connection_of_nobody(trial: Trial) -> None:
    key = trial.workers._keys.public()[0]
    trial.sign.send(encode(proofs.Sign("0" * 16, key, b"ssh-ed25519", b"1" * 32)))
    data = await asyncio.get_running_loop().sock_recv(trial.sign, LIMIT)
    assert verbs.decode(data, verbs.SIGNING) == proofs.Signature(b"")


async def test_a_worker_that_hangs_up_is_ended(trial: Trial) -> None:
    trial.talk.close()
    assert await trial.ended()


async def test_who_comes_is_carried_by_the_worker_with_the_fewest(trial: Trial) -> None:
    trial.talk.send(HELLO)
    await trial.workers.ready()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other = Worker(trial.worker.process, ours, theirs)
        other.ready = True
        trial.workers._workers.append(other)
        connections = trial.workers._connections
        for number in range(4):
            trial.workers.hand_over(socket.socket(), f"192.0.2.1:{number}")
        assert [len(connections.of_worker(each)) for each in (trial.worker, other)] == [2, 2]
        for each in connections.of_worker(other):
            connections.leave(other, each.id)
        trial.workers.hand_over(socket.socket(), "192.0.2.1:4")
        trial.workers.hand_over(socket.socket(), "192.0.2.1:5")
        assert [len(connections.of_worker(each)) for each in (trial.worker, other)] == [2, 2]


async def test_nobody_is_handed_to_a_worker_that_is_not_ready(trial: Trial) -> None:
    ready = asyncio.create_task(trial.workers.ready())
    ours, theirs = socket.socketpair()
    with theirs:
        trial.workers.hand_over(ours, "192.0.2.1:4")
        assert theirs.recv(1) == b""
    assert not ready.done()
    trial.talk.send(HELLO)
    await ready
    trial.worker.kill()
    again = asyncio.create_task(trial.workers.ready())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
    await until(again.done)
