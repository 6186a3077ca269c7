"""What a hostile worker gets for codes and half a login: nothing that the broker has not seen proven."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import proofs
from gateway.admission import CLAIMED, MOST_WRONG, UNCLAIMED
from gateway.onetime import Enrolment
from tests.support.door import BOBS, CODE, Door, Worker, a_door, denied
from tests.support.front import until
from tests.support.keys import Key, evidence, fingerprint
from tests.support.stores import NOW

MINE = Key("ssh-ed25519")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with a_door(tmp_path / "state") as made:
        yield made


def claimed(answer: Any) -> bool:
    return isinstance(answer, proofs.Refused) and (answer.code, answer.message) == ("unavailable", CLAIMED)


def keys(door: Door) -> list[bytes]:
    """Alice's, in the store."""
    return [blob for each in door.store.accounts() if each.name == "alice" for blob in each.keys]


async def test_a_code_and_then_its_key_are_a_login(door: Door) -> None:
    first, second = door.keyed(), door.keyed()
    assert claimed(await door.type(first, "alice", CODE, MINE.blob))
    assert not first.ticket
    assert keys(door) == []
    ticket = await door.show(second, "alice", MINE)
    assert isinstance(ticket, proofs.Ticket)
    assert (second.user, second.credential.fingerprint) == ("alice", fingerprint(MINE))
    assert keys(door) == [MINE.blob]
    events = [row["verb"] for row in door.store._db.rows("select verb from event order by id desc limit 2")]
    assert sorted(events) == ["key add", "user enrolled"]
    assert denied(await door.type(door.keyed(), "alice", CODE, MINE.blob))


async def test_a_key_without_a_code_is_nobodys(door: Door) -> None:
    assert denied(await door.show(door.keyed(), "alice", MINE))
    assert denied(await door.type(door.keyed(), "alice", "AAAA-AAAA-AAAA-AAAA", MINE.blob))
    assert denied(await door.show(door.keyed(), "alice", MINE))


async def test_only_keys_that_were_offered_with_the_code_and_sign_become_hers(door: Door) -> None:
    assert claimed(await door.type(door.keyed(), "alice", CODE, *[MINE.blob] * 2, BOBS.blob, b"no key"))
    other, connection = Key("ssh-ed25519"), door.keyed()
    for user, key in (("alice", other), ("alice", BOBS), ("bob", MINE), ("nobody", MINE), ("", MINE)):
        assert denied(await door.show(connection, user, key))
    assert denied(await door.show(connection, "alice", MINE, session_id=b"9" * 32))
    assert keys(door) == []
    assert isinstance(await door.show(connection, "alice", MINE), proofs.Ticket)


async def test_a_code_is_good_for_its_user_and_of_the_connections_own_worker(door: Door) -> None:
    for user in ("bob", "nobody", "", "\udc80" * 900):
        assert denied(await door.type(door.keyed(), user, CODE, MINE.blob))
    assert denied(await door.type(door.keyed(), "alice", CODE, MINE.blob, worker=Worker()))
    for weak in (b"", b"ssh-rsa", MINE.blob + b"x", Key("ssh-rsa", "rsa-sha2-256", 2048).blob):
        answer = await door.type(door.keyed(), "alice", CODE, weak)
        assert answer.message == UNCLAIMED


async def test_a_code_is_used_once_by_whoever_is_first(door: Door) -> None:
    other = Key("ssh-ed25519")
    assert claimed(await door.type(door.keyed(), "alice", CODE, MINE.blob, other.blob))
    before = len(door.worker.told)
    for key in (MINE, other):
        connection = door.keyed()
        door.admission.shown(door.worker, evidence(connection.id, connection.session_id, "alice", key))
    await until(lambda: len(door.worker.told) == before + 2)
    first, second = door.worker.told[before:]
    assert isinstance(first, proofs.Ticket)
    assert denied(second)
    assert keys(door) == [MINE.blob]


@pytest.mark.parametrize("how", ["expired", "withdrawn", "disabled", "removed"])
async def test_a_code_that_is_gone_before_the_key_is_shown(door: Door, how: str) -> None:
    assert claimed(await door.type(door.keyed(), "alice", CODE, MINE.blob))
    connection = door.keyed()
    if how == "expired":
        door.time += timedelta(hours=2)
    elif how == "withdrawn":
        door.store.set_enrolment("alice", Enrolment(b"another", NOW + timedelta(hours=9)), "root", NOW)
    elif how == "disabled":
        door.store.set_enabled("alice", False, "root", NOW)
    else:
        door.store.remove_user("alice", "root", NOW)
    # The broker's own snapshot is behind.
    assert denied(await door.show(connection, "alice", MINE))
    assert keys(door) == []
    assert not connection.ticket


async def test_nothing_else_is_heard_while_a_key_is_registered(door: Door) -> None:
    assert claimed(await door.type(door.keyed(), "alice", CODE, MINE.blob))
    connection, before = door.keyed(), len(door.worker.told)
    told = evidence(connection.id, connection.session_id, "alice", MINE)
    door.admission.shown(door.worker, told)
    door.admission.shown(door.worker, told)
    await until(lambda: len(door.worker.told) == before + 2)
    first, second = door.worker.told[before:]
    assert denied(first)
    assert isinstance(second, proofs.Ticket)


async def test_who_left_while_her_key_was_registered_has_no_ticket(door: Door) -> None:
    assert claimed(await door.type(door.keyed(), "alice", CODE, MINE.blob))
    connection, before = door.keyed(), len(door.worker.told)
    door.admission.shown(door.worker, evidence(connection.id, connection.session_id, "alice", MINE))
    door.connections.leave(door.worker, connection.id)
    await until(lambda: len(door.worker.told) > before)
    assert denied(door.worker.told[-1])
    assert list(door.connections) == []
    assert keys(door) == [MINE.blob]


async def test_who_guesses_must_wait(door: Door) -> None:
    for _ in range(MOST_WRONG):
        assert denied(await door.type(door.keyed(), "alice", "AAAA-AAAA-AAAA-AAAA"))
    assert denied(await door.type(door.keyed(), "alice", CODE, MINE.blob))
    assert claimed(await door.type(door.keyed("192.0.2.2"), "alice", CODE, MINE.blob))
    door.time += timedelta(hours=1)
    assert claimed(await door.type(door.keyed(), "alice", CODE, MINE.blob))
