"""Passwords: off unless the config says so, compared at the same cost for everybody, and never alone enough
where a second factor is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyotp
import pytest

from gateway import proofs
from gateway.admission import MOST_WRONG
from gateway.connections import Connection
from gateway.credentials import refusal
from gateway.passwords import hash_of, matches
from gateway.sqlite.store import Store
from gateway.users import SiteAccount
from tests.support.door import Door, a_door, denied
from tests.support.front import Front, front, until
from tests.support.login import asked, log_in
from tests.support.stores import NOW
from tests.unit.test_second_factor import SECRET

PASSWORD = "correct horse \N{SNOWMAN}"
KEPT = hash_of(PASSWORD)


def test_a_hash_matches_its_password_and_nothing_else() -> None:
    assert KEPT.startswith("$argon2id$")
    assert hash_of(PASSWORD) != KEPT
    assert matches(KEPT, PASSWORD)
    for wrong in ("", PASSWORD[:-1], PASSWORD + " ", "\udc80"):
        assert not matches(KEPT, wrong)
    # Nobody has none, and an empty one is nobody's.
    assert not matches("", "")
    assert not matches("", PASSWORD)
    assert not matches("no hash", PASSWORD)


@pytest.fixture
async def takes(tmp_path: Path) -> AsyncIterator[Door]:
    """Bob has a password, and passwords are taken."""
    async with a_door(tmp_path / "state") as door:
        door.store.set_password("bob", KEPT, "root", NOW)
        door.admission.matches = matches
        await door.learn()
        yield door


async def give(door: Door, connection: Connection, user: str, password: str) -> Any:
    """A worker carries a password here: the answer."""
    before = len(door.worker.told)
    door.admission.given(door.worker, proofs.Password(connection.id, user, password))
    await until(lambda: len(door.worker.told) > before)
    return door.worker.told[-1]


async def test_only_hers_and_only_where_they_are_taken(takes: Door) -> None:
    for user, word in (("bob", "wrong"), ("alice", PASSWORD), ("alice", ""), ("nobody", PASSWORD), ("", "")):
        assert denied(await give(takes, takes.keyed(), user, word))
    connection = takes.keyed()
    assert isinstance(await give(takes, connection, "bob", PASSWORD), proofs.Ticket)
    assert (connection.user, connection.credential.fingerprint) == ("bob", "password")
    assert KEPT not in repr(connection.credential)
    # The same to the question that everybody is asked.
    assert isinstance(await takes.type(takes.keyed(), "bob", PASSWORD), proofs.Ticket)
    takes.admission.matches = None
    assert denied(await give(takes, takes.keyed(), "bob", PASSWORD))
    assert denied(await takes.type(takes.keyed(), "bob", PASSWORD))


async def test_everybody_costs_one_comparison(takes: Door) -> None:
    compared: list[str] = []

    def count(kept: str, password: str) -> bool:
        compared.append(kept)
        return False

    takes.admission.matches = count
    for user in ("bob", "alice", "nobody"):
        assert denied(await give(takes, takes.keyed(), user, PASSWORD))
    assert compared == [KEPT, "", ""]


async def test_who_guesses_must_wait(takes: Door) -> None:
    takes.admission.matches = lambda kept, password: password == PASSWORD
    for _ in range(MOST_WRONG):
        assert denied(await give(takes, takes.keyed(), "bob", "wrong"))
    assert denied(await give(takes, takes.keyed(), "bob", PASSWORD))
    assert isinstance(await give(takes, takes.keyed("192.0.2.2"), "bob", PASSWORD), proofs.Ticket)
    takes.time += timedelta(hours=1)
    assert isinstance(await give(takes, takes.keyed(), "bob", PASSWORD), proofs.Ticket)


async def test_a_second_factor_is_asked_for_all_the_same(takes: Door) -> None:
    takes.store.set_secret("bob", SECRET, "root", NOW)
    await takes.learn()
    connection = takes.keyed()
    assert await give(takes, connection, "bob", PASSWORD) == proofs.More(connection.id)
    assert denied(await give(takes, connection, "bob", PASSWORD))
    assert isinstance(await takes.type(connection, "bob", pyotp.TOTP(SECRET).at(NOW)), proofs.Ticket)


async def test_who_came_in_by_an_older_password_is_out(takes: Door) -> None:
    connection = takes.keyed()
    await give(takes, connection, "bob", PASSWORD)

    def why() -> str | None:
        bob = takes.admission.accounts["bob"]
        return refusal(bob, takes.admission.trust, connection.credential, connection.address, NOW)

    assert why() is None
    takes.store.set_password("bob", hash_of(PASSWORD), "root", NOW)
    await takes.learn()
    assert "was changed" in (why() or "")
    assert takes.store.drop_password("bob", "root", NOW)
    assert not takes.store.drop_password("bob", "root", NOW)
    await takes.learn()
    assert "was changed" in (why() or "")


async def test_a_password_that_is_changed_while_it_is_compared(takes: Door) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(kept: str, password: str) -> bool:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
        return True

    takes.admission.matches = slow
    giving = asyncio.create_task(give(takes, takes.keyed(), "bob", PASSWORD))
    await begun.wait()
    takes.store.drop_password("bob", "root", NOW)
    await takes.learn()
    go_on.set()
    assert denied(await giving)


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    async with front(tmp_path, monkeypatch, takes_passwords=True) as made:
        await made.desk.ask(lambda store: _add(cast(Store, store)))
        await made.learn()
        yield made


def _add(store: Store) -> None:
    store.add_user("alice", [], SiteAccount(), "root", datetime.now(UTC))
    store.set_password("alice", KEPT, "root", datetime.now(UTC))


async def test_her_client_asks_for_the_password(here: Front) -> None:
    assert (await log_in(here, "alice", PASSWORD))[:2] == (0, b"in\n")
    assert asked(here) == ["Password or one-time code: "]
    only = ("-o", "PreferredAuthentications=password")
    assert (await log_in(here, "alice", PASSWORD, more=only))[:2] == (0, b"in\n")
    seen = {user: await log_in(here, user, "wrong", more=only) for user in ("alice", "nobody")}
    assert seen["alice"][2].replace("alice", "NAME") == seen["nobody"][2].replace("nobody", "NAME")
    assert "Permission denied (publickey,keyboard-interactive,password)" in seen["alice"][2]
    log = here.log.read_text()
    assert "internal_error" not in log
    assert "horse" not in log
