"""What a worker asks, and what it gets: nothing without a ticket, and no more than it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway import pipes, proofs, questions, verbs, wire
from gateway.activity import Active
from gateway.admission import Admission
from gateway.connections import Connections
from gateway.errors import PlatformError
from gateway.evidence import proves
from gateway.keyoptions import KeyOptions
from gateway.messages import MessageError, encode
from gateway.reception import LONGEST_WORDS, Reception
from gateway.store import LiveSession
from gateway.totp import step_of
from gateway.users import Account
from tests.support.descriptors import held
from tests.support.keys import Key, evidence, fingerprint
from tests.support.world import World, until, world

ALICE = Key("ssh-ed25519")


def only(options: str) -> dict[bytes, KeyOptions]:
    """What alice's key may do."""
    return {ALICE.blob: KeyOptions.parse(options)}


class Worker:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.descriptors: list[int] = []

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """See Peer."""
        encode(message)
        self.told.append(message)
        self.descriptors += descriptors


@dataclass
class House:
    """A reception before a broker in memory, and one worker."""

    world: World
    connections: Connections
    reception: Reception
    worker: Worker

    def say(self, message: object) -> None:
        """The worker says something."""
        self.reception.receive(self.worker, encode(message), 0)

    def log_in(self, session_id: bytes = b"1" * 32) -> proofs.Ticket:
        """A connection of alice's."""
        connection = self.connections.arrive(self.worker, "192.0.2.1:4", self.world.time)
        self.connections.may_sign(self.worker, connection.id, session_id)
        self.say(evidence(connection.id, session_id, "alice", ALICE))
        ticket = self.worker.told.pop()
        assert isinstance(ticket, proofs.Ticket)
        return ticket

    async def enter(self, ticket: str) -> None:
        """Have a line to the runner."""
        self.say(verbs.Enter(1, ticket))
        await until(lambda: any(isinstance(each, verbs.Entered | verbs.Failed) for each in self.worker.told))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with world(tmp_path / "state") as made, asyncio.TaskGroup() as group:
        connections, worker = Connections(proves), Worker()
        admission = Admission(connections, made.desk, step_of, group, lambda: made.time)
        reception = Reception(
            made.broker, connections, pipes.make, admission, made.answering.answer, group, lambda: made.time
        )
        reception.accounts = {"alice": Account(1, "alice", True, {ALICE.blob: fingerprint(ALICE)})}
        yield House(made, connections, reception, worker)
        for task in reception._inquiries._asked.values():
            task.cancel()
        wire.close_all(worker.descriptors)


async def test_a_ticket_opens_the_way_in(house: House) -> None:
    ticket = house.log_in()
    await house.enter(ticket.ticket)
    progress, entered = house.worker.told
    assert progress == verbs.Progress(1, "starting your container")
    assert entered.greeting.startswith("alice on gpu-gateway/base:1")
    assert len(house.worker.descriptors) == 1


@pytest.mark.parametrize("ticket", ["", "0" * 32])
async def test_without_one_there_is_no_way_in(house: House, ticket: str) -> None:
    house.log_in()
    await house.enter(ticket)
    assert house.worker.told == [verbs.Failed(1, "denied", "Permission denied.")]
    assert house.world.backend.started == []


async def test_another_workers_ticket_opens_nothing(house: House) -> None:
    ticket, other = house.log_in(), Worker()
    house.reception.receive(other, encode(verbs.Enter(7, ticket.ticket)), 0)
    house.reception.receive(other, encode(verbs.Opened(ticket.ticket, "c0", "forward", "")), 0)
    house.reception.receive(other, encode(verbs.Begin(8, ticket.ticket, "c0", "shell", "")), 0)
    house.reception.receive(other, encode(verbs.Gone(ticket.connection)), 0)
    await until(lambda: len(other.told) == 2)
    assert sorted(each.request for each in other.told) == [7, 8]
    assert {(each.code, each.message) for each in other.told} == {("denied", "Permission denied.")}
    assert house.connections.shown()[0].sessions == ()


async def test_every_refusal_of_evidence_reads_the_same(house: House) -> None:
    connection = house.connections.arrive(house.worker, "", house.world.time)
    house.connections.may_sign(house.worker, connection.id, b"1" * 32)
    for user in ("alice", "bob", "nobody", "\udc80", "x" * 900):
        house.say(proofs.Evidence(connection.id, user, ALICE.blob, b"", b""))
    assert set(house.worker.told) == {proofs.Refused(connection.id, "denied", "Permission denied.")}


@pytest.mark.parametrize("how", ["revoked", "left"])
async def test_who_is_shut_out_or_gone_meanwhile_gets_no_line(house: House, how: str) -> None:
    ticket, before = house.log_in(), held()
    reached, opened = asyncio.Event(), asyncio.Event()
    start = house.world.backend.start

    async def slow(*args: Any) -> Any:
        reached.set()
        await opened.wait()
        return await start(*args)

    house.world.backend.start = slow  # type: ignore[method-assign]
    house.say(verbs.Enter(1, ticket.ticket))
    await reached.wait()
    if how == "revoked":
        house.reception.accounts = {}
        house.reception.judge()
        assert house.worker.told == [verbs.End(ticket.connection, None, "Your account was removed.")]
    else:
        house.say(verbs.Gone(ticket.connection))
    opened.set()
    await until(lambda: any(isinstance(each, verbs.Failed) for each in house.worker.told))
    assert house.worker.descriptors == []
    assert held() == before


async def test_a_fault_of_ours_is_one_failed_entry(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    async def fault(*args: Any) -> Any:
        raise RuntimeError("secret \x1b[2J")

    ticket = house.log_in()
    house.world.backend.start = fault  # type: ignore[method-assign]
    await house.enter(ticket.ticket)
    failed = house.worker.told[-1]
    assert "reference" in failed.message
    assert "secret" not in failed.message
    logged = capsys.readouterr().err
    assert "RuntimeError" in logged
    assert "\x1b" not in logged


async def test_an_endless_reason_fits(house: House) -> None:
    house.world.backend.broken["run-1"] = "x" * 200_000
    await house.enter(house.log_in().ticket)
    assert len(house.worker.told[-1].message) <= LONGEST_WORDS


async def test_pipes_need_no_ticket_and_have_a_limit(house: House) -> None:
    house.say(verbs.Pipes(5, 2))
    assert house.worker.told == [verbs.Piped(5, 2)]
    assert len(house.worker.descriptors) == 2 * verbs.DESCRIPTORS_A_SET
    for wrong in (0, -1, verbs.MOST_SETS + 1):
        with pytest.raises(MessageError):
            house.say(verbs.Pipes(6, wrong))


async def test_no_descriptors_left_is_said(house: House) -> None:
    def none(sets: int) -> list[int]:
        raise OSError(24, "Too many open files")

    house.reception._make_pipes = none
    house.say(verbs.Pipes(5, 2))
    assert house.worker.told[0].code == "unavailable"


@pytest.mark.parametrize(
    "message",
    [
        verbs.Hello(1, ()),
        verbs.Opened("", "../x", "forward", ""),
        verbs.Begin(1, "", "../x", "shell", ""),
        verbs.Begin(1, "", "c0", "dance", ""),
        verbs.Begin(1, "", "c0", "forward", ""),
        verbs.Opened("", "c0", "shell", ""),
        verbs.Opened("", "c0", "forward", "\x1b[2J"),
        verbs.Begin(1, "", "c0", "exec", "\x1b[2J"),
        verbs.Begin(1, "", "c0", "exec", "\u202e"),
        verbs.Begin(1, "", "c0", "exec", "x" * 2000),
        verbs.Closed("", "x" * 400),
    ],
)
async def test_what_breaks_the_protocol(house: House, message: object) -> None:
    with pytest.raises(MessageError):
        house.say(message)


async def test_one_session_more_than_the_quota_of_all_her_connections_is_refused(house: House) -> None:
    alice = house.reception.accounts["alice"]
    house.reception.accounts = {"alice": replace(alice, sessions=2)}
    first, second = house.log_in(), house.log_in(b"2" * 32)
    house.say(verbs.Opened(first.ticket, "f0", "forward", "localhost:80"))
    house.say(verbs.Begin(1, first.ticket, "c0", "shell", ""))
    house.say(verbs.Begin(2, second.ticket, "c1", "subsystem", "sftp"))
    house.say(verbs.Begin(3, second.ticket, "c2", "exec", "true"))
    house.say(verbs.Closed(first.ticket, "c0"))
    house.say(verbs.Begin(4, second.ticket, "c3", "exec", "true"))
    words = "You have 2 sessions open, which is the most that you may; end one and try again."
    assert house.worker.told == [
        verbs.Begun(1),
        verbs.Begun(2),
        verbs.Failed(3, "quota_exceeded", words),
        verbs.Begun(4),
    ]
    # Lowered below use: what is open stays.
    house.reception.accounts = {"alice": replace(alice, sessions=1)}
    house.reception.judge()
    assert {each.id for one in house.connections.shown() for each in one.sessions} == {"f0", "c1", "c3"}


async def test_sessions_are_shown_and_make_her_workspace_occupied(house: House) -> None:
    ticket = house.log_in()
    house.say(verbs.Begin(4, ticket.ticket, "c0", "exec", r"printf \xff"))
    assert house.worker.told.pop() == verbs.Begun(4)
    (shown,) = house.connections.shown()
    assert shown.sessions == (LiveSession("c0", "exec", r"printf \xff", house.world.time),)
    assert house.world.broker.occupied(1)
    assert house.reception.end("c0", "Why.")
    assert house.worker.told.pop() == verbs.End(ticket.connection, "c0", "Why.")
    house.say(verbs.Closed(ticket.ticket, "c0"))
    assert not house.world.broker.occupied(1)
    assert not house.reception.end("c0", "Why.")


async def test_who_did_something_is_told_once_and_by_her_ticket_alone(house: House) -> None:
    ticket = house.log_in()
    house.say(Active("f" * 32))
    assert house.reception.active() == set()
    for _ in range(2):
        house.say(Active(ticket.ticket))
    assert house.reception.active() == {1}
    assert house.reception.active() == set()
    await house.enter(ticket.ticket)
    assert house.reception.active() == {1}
    house.say(verbs.Gone(ticket.connection))
    house.say(Active(ticket.ticket))
    assert house.reception.active() == set()


async def test_only_who_is_in_the_container_ends_with_it(house: House) -> None:
    inside, waiting = house.log_in(b"1" * 32), house.log_in(b"2" * 32)
    assert not house.world.broker.inside(1)
    await house.enter(inside.ticket)
    assert house.world.broker.inside(1), "a connection without a session"
    assert not house.world.broker.occupied(1)
    house.worker.told.clear()
    house.reception.end_user(1, "Your container ended.")
    house.reception.end_user(1, "Your container ended.")
    assert house.worker.told == [verbs.End(inside.connection, None, "Your container ended.")]
    assert {each.id for each in house.connections.shown()} == {inside.connection, waiting.connection}


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (None, "removed"),
        (Account(9, "alice", True, {ALICE.blob: ""}), "removed"),
        (Account(1, "alice", False, {ALICE.blob: ""}), "disabled"),
        (Account(1, "alice", True, {}), "key"),
        (Account(1, "alice", True, {ALICE.blob: ""}, options=only('from="10.0.0.0/8"')), "from your address"),
        (Account(1, "alice", True, {ALICE.blob: ""}, options=only('expiry-time="20200101Z"')), "expired"),
    ],
)
async def test_who_may_not_log_in_any_more_is_out_once_and_for_all(
    house: House, account: Account | None, words: str
) -> None:
    ticket = house.log_in()
    house.reception.judge()
    assert house.worker.told == []
    house.reception.accounts = {} if account is None else {"alice": account}
    house.reception.judge()
    house.reception.judge()
    (end,) = house.worker.told
    assert (end.connection, end.channel) == (ticket.connection, None)
    assert words in end.message
    assert house.connections.shown() == []
    with pytest.raises(PlatformError):
        house.connections.holder(house.worker, ticket.ticket)


async def test_a_worker_that_ended_takes_its_connections_alone(house: House) -> None:
    house.log_in(b"1" * 32)
    other = Worker()
    house.connections.arrive(other, "", house.world.time)
    house.reception.worker_ended(house.worker)
    assert house.connections.of_worker(house.worker) == []
    assert len(house.connections.of_worker(other)) == 1


async def asked(house: House, ticket: str, channel: str, *words: str) -> list[Any]:
    """What the worker is told until the answer is there, or a refusal."""
    house.worker.told.clear()
    house.say(questions.Ask(5, ticket, channel, words))
    await until(
        lambda: any(isinstance(each, questions.Answered | verbs.Failed) for each in house.worker.told)
    )
    return house.worker.told


async def test_a_session_that_has_begun_may_ask(house: House) -> None:
    """In whoever's name the ticket is; nothing is started for it."""
    ticket = house.log_in().ticket
    house.say(verbs.Begin(1, ticket, "c0", "exec", "gpu status"))
    *said, last = await asked(house, ticket, "c0", "status")
    assert last == questions.Answered(5, 0)
    assert "".join(each.text for each in said).startswith("You hold no GPU")
    assert house.world.backend.started == []


@pytest.mark.parametrize(("ticket", "channel"), [("0" * 32, "c0"), (None, "c1")])
async def test_nobody_else_may(house: House, ticket: str | None, channel: str) -> None:
    """Without the ticket, and for a session that was not counted."""
    own = house.log_in().ticket
    house.say(verbs.Begin(1, own, "c0", "exec", "gpu status"))
    told = await asked(house, ticket or own, channel, "status")
    assert told == [verbs.Failed(5, "denied", "Permission denied.")]


@pytest.mark.parametrize("how", ["closed", "gone", "its worker ended"])
async def test_a_question_ends_with_its_session(house: House, how: str) -> None:
    """Until then the session is in nobody's container, so a grant may be applied meanwhile."""
    house.world.grant("bob", *range(8))
    ticket = house.log_in()
    house.say(verbs.Begin(1, ticket.ticket, "c0", "exec", "gpu request 1 --wait"))
    assert house.world.broker.occupied(1)
    house.say(questions.Ask(5, ticket.ticket, "c0", ("request", "1", "--wait")))
    await until(lambda: house.world.store.waiting(house.world.time))
    assert not house.world.broker.occupied(1)
    with pytest.raises(MessageError):
        house.say(questions.Ask(6, ticket.ticket, "c0", ("status",)))
    if how == "closed":
        house.say(verbs.Closed(ticket.ticket, "c0"))
    elif how == "gone":
        house.say(verbs.Gone(ticket.connection))
    else:
        house.reception.worker_ended(house.worker)
    await until(lambda: not house.world.store.waiting(house.world.time))
