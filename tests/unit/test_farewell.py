"""Why a container was stopped is what its user's next terminal says, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import pipes, verbs, wire
from gateway.admission import Admission
from gateway.connections import Connections
from gateway.errors import PlatformError
from gateway.evidence import proves
from gateway.messages import encode
from gateway.notices import Farewell, Unread
from gateway.reception import Reception
from gateway.sqlite.farewells import MOST_MESSAGES
from gateway.totp import step_of
from gateway.users import Account
from tests.support.keys import Key, evidence, fingerprint
from tests.support.stores import NOW, add_people, gpu, open_store
from tests.support.world import World, until, world

ALICE = Key("ssh-ed25519")
WHY = "An operator stopped your container; log in again to have it started."
NEWS = "  Your container was stopped at 2026-11-23 15:00 UTC: An operator stopped your container.\n"


def test_a_later_farewell_takes_the_place_of_an_earlier_and_outlives_its_reading(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "state")) as store:
        add_people(store, "alice", "bob")
        assert store.farewell(1) is None
        store.stopped(1, "first", NOW)
        first = store.farewell(1)
        assert first == Farewell(NOW, "first")
        store.stopped(1, "second", NOW + timedelta(seconds=1))
        store.was_read(1, Unread(farewell=first))
        store.was_read(2, Unread(farewell=Farewell(NOW + timedelta(seconds=1), "second")))
        second = store.farewell(1)
        assert second is not None
        assert second.reason == "second"
        store.was_read(1, Unread(farewell=second))
        assert store.farewell(1) is None


def test_messages_are_kept_until_they_are_read_and_no_more_than_fit_a_greeting(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "state")) as store:
        add_people(store, "alice", "bob")
        for number in range(MOST_MESSAGES + 2):
            store.leave_message(1, f"message {number}")
        store.leave_message(2, "bob's")
        unread = store.unread(1)
        assert unread is not None
        assert unread.lines == tuple(f"message {number}" for number in range(2, MOST_MESSAGES + 2))
        store.leave_message(1, "a later one")
        store.stopped(1, "It ended; log in again.", NOW)
        store.was_read(1, unread)
        unread = store.unread(1)
        assert unread is not None
        assert unread.lines == (
            "a later one",
            "Your container was stopped at 2026-11-23 15:00 UTC: It ended.",
        )
        store.was_read(1, unread)
        assert (store.unread(1), store.unread(2)) == (None, Unread(("bob's",), 8))


class House:
    """A reception, and one worker that keeps what it is told."""

    def __init__(self, made: World, reception: Reception, connections: Connections) -> None:
        self.world, self.reception, self.connections = made, reception, connections
        self.told: list[Any] = []
        self.descriptors: list[int] = []

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """See Peer."""
        self.told.append(message)
        self.descriptors += descriptors

    async def say(self, message: object) -> Any:
        """The worker says something: what it is answered."""
        before = len(self.told)
        self.reception.receive(self, encode(message), 0)
        await until(lambda: [each for each in self.told[before:] if not isinstance(each, verbs.Progress)])
        return self.told[-1]

    async def entered(self, session_id: bytes) -> tuple[str, str]:
        """Another connection of alice's: its ticket, and the news that it has."""
        connection = self.connections.arrive(self, "192.0.2.1:4", self.world.time)
        self.connections.may_sign(self, connection.id, session_id)
        ticket = (await self.say(evidence(connection.id, session_id, "alice", ALICE))).ticket
        answer = await self.say(verbs.Enter(1, ticket))
        assert isinstance(answer, verbs.Entered)
        return ticket, answer.news

    async def begin(self, ticket: str, channel: str, greeted: bool) -> None:
        """A session of that connection."""
        answer = await self.say(verbs.Begin(2, ticket, channel, "shell", "", greeted))
        assert answer == verbs.Begun(2)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with world(tmp_path / "state") as made, asyncio.TaskGroup() as group:
        connections = Connections(proves)
        admission = Admission(connections, made.desk, step_of, group, lambda: made.time)
        reception = Reception(
            made.broker, connections, pipes.make, admission, made.answering.answer, group, lambda: made.time
        )
        reception.accounts = {"alice": Account(1, "alice", True, {ALICE.blob: fingerprint(ALICE)})}
        found = House(made, reception, connections)
        yield found
        wire.close_all(found.descriptors)


async def stop(made: World, reason: str = WHY) -> None:
    async with made.broker.room(1).lock:
        await made.broker.stop(1, reason)


async def test_the_first_terminal_says_it_and_whatever_has_none_does_not_use_it_up(house: House) -> None:
    await house.world.enter(1)
    await stop(house.world)
    ticket, news = await house.entered(b"1" * 32)
    assert news == NEWS
    await house.begin(ticket, "c0", greeted=False)
    other, news = await house.entered(b"2" * 32)
    assert news == NEWS
    await house.begin(other, "c1", greeted=True)
    await until(lambda: house.world.store.farewell(1) is None)
    assert (await house.entered(b"3" * 32))[1] == ""


async def test_what_was_stopped_after_she_came_in_is_told_the_next_time(house: House) -> None:
    """A connection that was told of one does not use up another's."""
    await house.world.enter(1)
    await stop(house.world)
    ticket, _ = await house.entered(b"1" * 32)
    house.world.time += timedelta(hours=1)
    await stop(house.world, "Your lease 3 ended at its time.")
    await house.begin(ticket, "c0", greeted=True)
    assert "16:00 UTC: Your lease 3 ended at its time." in (await house.entered(b"2" * 32))[1]


async def test_the_first_terminal_says_what_happened_to_her_gpus_meanwhile(house: House) -> None:
    made = house.world
    lease = made.grant("alice", 0, 1)
    made.store.sync_devices([gpu(index) for index in range(1, 8)], made.time)
    made.store.replace_lost(made.time)
    ticket, news = await house.entered(b"1" * 32)
    assert news == (
        f"  GPU 0 of your lease {lease.id} failed at 2026-11-23 15:00 UTC: not seen by the driver."
        " GPU 2 takes its place.\n"
    )
    await house.begin(ticket, "c0", greeted=True)
    await until(lambda: made.store.unread(1) is None)
    assert (await house.entered(b"2" * 32))[1] == ""


async def test_what_did_not_run_was_not_stopped(house: House) -> None:
    await stop(house.world)
    assert house.world.store.farewell(1) is None
    await house.world.enter(1)
    house.world.backend.end(1, 0)
    await stop(house.world)
    assert house.world.store.farewell(1) is None


async def test_an_engine_that_does_not_stop_it_has_stopped_nothing(house: House) -> None:
    await house.world.enter(1)
    house.world.backend.away = True
    with pytest.raises(PlatformError):
        await stop(house.world)
    assert house.world.store.farewell(1) is None
