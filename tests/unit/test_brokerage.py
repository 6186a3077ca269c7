"""The worker's line to the broker: each answer finds its question, and no descriptor is lost."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway import pipes, proofs, verbs, wire
from gateway.errors import Code, PlatformError
from gateway.messages import LIMIT, encode
from gateway.ssh.brokerage import Brokerage
from tests.support.descriptors import held
from tests.support.world import until

EVIDENCE = proofs.Evidence("c1", "alice", b"k", b"d", b"s")


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Every test ends with the descriptors that it began with."""
    before = held()
    yield
    assert held() == before


@dataclass
class Lines:
    """A worker's line and the broker's end of it."""

    brokerage: Brokerage
    broker: socket.socket
    arrived: list[tuple[str, socket.socket]]
    ended: list[tuple[str, str | None, str]]
    lost: list[int]

    async def asked(self) -> Any:
        """What the worker said."""
        data = await asyncio.get_running_loop().sock_recv(self.broker, LIMIT)
        return verbs.from_worker(data, 0)

    def answer(self, message: object, fds: tuple[int, ...] = ()) -> None:
        """The broker says something; the descriptors are gone from here."""
        wire.send(self.broker, encode(message), fds)
        wire.close_all(fds)


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    ours, theirs = wire.pair()
    made = Lines(Brokerage(ours), theirs, [], [], [])
    made.brokerage.arrived = lambda id_, sock: made.arrived.append((id_, sock))
    made.brokerage.ended = lambda *what: made.ended.append(what)
    made.brokerage.lost = lambda: made.lost.append(1)
    made.brokerage.begin()
    yield made
    made.brokerage._line.close()
    theirs.close()
    assert made.lost == [1]


def null() -> int:
    return os.open("/dev/null", os.O_RDONLY)


async def test_entering(lines: Lines) -> None:
    heard: list[tuple[str, bool]] = []

    def progress(text: str, bar: bool = False) -> None:
        heard.append((text, bar))

    entering = asyncio.create_task(lines.brokerage.enter("t1", progress, terminal=True))
    asked = await lines.asked()
    assert (asked.ticket, asked.terminal) == ("t1", True)
    lines.answer(verbs.Progress(asked.request, "soon"))
    lines.answer(verbs.Progress(asked.request, "sooner", True))
    lines.answer(verbs.Progress(asked.request + 1, "somebody else's"))
    ours, theirs = wire.pair()
    ours.close()
    lines.answer(verbs.Entered(asked.request, "hi", "new"), (theirs.detach(),))
    line, greeting, news = await entering
    with line:
        assert line.type == socket.SOCK_SEQPACKET
    assert (greeting, news, heard) == ("hi", "new", [("soon", False), ("sooner", True)])


async def test_pipes(lines: Lines) -> None:
    asking = asyncio.create_task(lines.brokerage.pipes(2))
    asked = await lines.asked()
    lines.answer(verbs.Piped(asked.request, 2), tuple(pipes.make(2)))
    for one in await asking:
        for read, write in (one.stdin, one.stdout, one.stderr):
            os.write(write, b"through")
            assert os.read(read, 9) == b"through"
            wire.close_all((read, write))


async def test_a_session_begins_when_the_broker_says_so(lines: Lines) -> None:
    asking = asyncio.create_task(lines.brokerage.begin_session("t1", "c0", "shell", ""))
    asked = await lines.asked()
    assert asked == verbs.Begin(asked.request, "t1", "c0", "shell", "")
    assert not asking.done()
    lines.answer(verbs.Begun(asked.request))
    await asking


async def test_a_failure_is_the_askers(lines: Lines) -> None:
    asking = asyncio.create_task(lines.brokerage.pipes(1))
    asked = await lines.asked()
    lines.answer(verbs.Failed(asked.request, "no_capacity", "Try again."))
    with pytest.raises(PlatformError, match=r"Try again\.") as caught:
        await asking
    assert caught.value.code is Code.NO_CAPACITY


async def test_an_answer_that_nobody_waits_for_is_closed(lines: Lines) -> None:
    asking = asyncio.create_task(lines.brokerage.pipes(1))
    asked = await lines.asked()
    asking.cancel()
    await asyncio.wait([asking])
    lines.answer(verbs.Piped(asked.request, 1), tuple(pipes.make(1)))
    lines.answer(verbs.Entered(999, ""), (null(),))
    lines.answer(verbs.End("c1", None, "sync"))
    await until(lambda: lines.ended)


async def test_an_answer_in_the_turn_of_its_cancellation_is_closed(lines: Lines) -> None:
    asking = asyncio.create_task(lines.brokerage.pipes(1))
    asked = await lines.asked()
    fds = pipes.make(1)
    lines.brokerage._received(encode(verbs.Piped(asked.request, 1)), fds)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()


async def test_a_ticket_or_none(lines: Lines) -> None:
    ticket = lines.brokerage.authenticate(EVIDENCE)
    assert await lines.asked() == EVIDENCE
    lines.answer(proofs.Ticket("c2", "another's", ()))
    lines.answer(proofs.Ticket("c1", "t1", ("pty",)))
    assert await ticket == proofs.Ticket("c1", "t1", ("pty",))
    refused = lines.brokerage.authenticate(EVIDENCE)
    lines.answer(proofs.Refused("c1", "denied", "Permission denied."))
    with pytest.raises(PlatformError) as caught:
        await refused
    assert caught.value.code is Code.DENIED


async def test_a_connection_that_ended_waits_for_no_ticket(lines: Lines) -> None:
    ticket = lines.brokerage.authenticate(EVIDENCE)
    lines.brokerage.gone("c1")
    assert ticket.cancelled()
    lines.answer(proofs.Ticket("c1", "late", ()))
    lines.answer(verbs.End("c1", None, "sync"))
    await until(lambda: lines.ended)


async def test_the_snapshot_follows(lines: Lines) -> None:
    lines.answer(verbs.Account("alice", (b"1", b"2")))
    lines.answer(verbs.Account("bob", (b"3",)))
    lines.answer(verbs.Account("alice", ()))
    lines.answer(verbs.AccountGone("bob"))
    lines.answer(verbs.AccountGone("carol"))
    lines.answer(verbs.Authorities((b"4",)))
    lines.answer(verbs.Authorities((b"5",)))
    lines.answer(verbs.End("c1", "s1", "why"))
    await until(lambda: lines.ended)
    assert lines.brokerage.accounts == {"alice": frozenset()}
    assert lines.brokerage.authorities == {b"5"}
    assert lines.ended == [("c1", "s1", "why")]


async def test_a_connection_arrives(lines: Lines) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        lines.answer(verbs.Connection("c1"), (theirs.detach(),))
        await until(lambda: lines.arrived)
        ((id_, sock),) = lines.arrived
        with sock:
            ours.send(b"x")
            assert (id_, sock.recv(1)) == ("c1", b"x")


async def test_a_broker_that_is_gone_fails_all_that_waits(lines: Lines) -> None:
    asking = asyncio.create_task(lines.brokerage.enter("t1", print))
    ticket = lines.brokerage.authenticate(EVIDENCE)
    await lines.asked()
    lines.broker.close()
    for waiting in (asking, ticket):
        with pytest.raises(PlatformError) as caught:
            await waiting
        assert caught.value.code is Code.UNAVAILABLE
    assert lines.lost == [1]


async def test_nonsense_from_the_broker_ends_the_line(lines: Lines) -> None:
    fd = null()
    wire.send(lines.broker, b"nonsense", [fd])
    os.close(fd)
    await until(lambda: lines.lost)
