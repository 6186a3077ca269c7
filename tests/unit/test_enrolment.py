"""One-time codes: one of hers registers one key, once, and nobody can tell who has one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import asyncssh
import pytest

from gateway.keys import PublicKey
from gateway.onetime import RANDOM_BYTES, Enrolment, code_of, digest_of, opens
from gateway.sqlite.store import Store
from gateway.throttle import Throttle
from gateway.users import SiteAccount
from tests.support.certificates import make
from tests.support.front import Front, front
from tests.support.login import asked, log_in
from tests.support.stores import NOW, key_line

CODE = code_of(b"0123456789")


def test_a_code_is_read_however_it_is_typed() -> None:
    assert re.fullmatch("[A-Z2-7]{4}(-[A-Z2-7]{4}){3}", code_of(bytes(RANDOM_BYTES)))
    assert digest_of(f" {CODE.lower().replace('-', ' ')}\n") == digest_of(CODE)
    assert digest_of(CODE[:-1]) != digest_of(CODE)
    waits = Enrolment(digest_of(CODE), NOW)
    assert opens(waits, digest_of(CODE), NOW - timedelta(microseconds=1))
    assert not opens(waits, digest_of(CODE), NOW)
    assert not opens(waits, digest_of(""), NOW - timedelta(1))
    assert not opens(None, bytes(32), NOW)


def test_who_fails_too_often_waits() -> None:
    throttle = Throttle(2, timedelta(minutes=10))
    for minute in (0, 1):
        assert not throttle.full("a", NOW + timedelta(minutes=minute))
        throttle.failed("a", NOW + timedelta(minutes=minute))
    assert throttle.full("a", NOW + timedelta(minutes=9))
    assert not throttle.full("b", NOW)
    assert not throttle.full("a", NOW + timedelta(minutes=10))


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """Alice has a code and no key; dora has neither; both have a key that nobody knows."""
    async with front(tmp_path, monkeypatch) as made:
        await made.desk.ask(lambda store: add(cast(Store, store)))
        await made.learn()
        made.reception.admission.changed = made.learn
        for name in ("alice", "dora", "nobody"):
            make(tmp_path / f"{name}.key", "ed25519")
        yield made


def add(store: Store) -> None:
    for name in ("alice", "dora"):
        store.add_user(name, [], SiteAccount(), "root", NOW)
    store.add_user("bob", [PublicKey.parse(key_line("bob"))], SiteAccount(), "root", NOW)
    waits = Enrolment(digest_of(CODE), datetime.now(UTC) + timedelta(hours=1))
    store.set_enrolment("alice", waits, "root", NOW)


async def keys_of(here: Front, user: str) -> list[bytes]:
    """The keys that are hers in the store."""
    stored = await here.desk.ask(lambda store: {each.name: each for each in store.accounts()})
    return list(stored[user].keys)


def blob(here: Front, user: str) -> bytes:
    return asyncssh.read_public_key(here.folder / f"{user}.key.pub").public_data


async def test_her_code_registers_the_key_that_she_logs_in_with_next(here: Front) -> None:
    status, out, said = await log_in(here, "alice", CODE.lower())
    assert (status, out) == (255, b"")
    assert "Your code is right. Log in again now" in said
    assert asked(here) == ["One-time code: "]
    assert await keys_of(here, "alice") == []
    assert (await log_in(here, "alice"))[:2] == (0, b"in\n")
    assert await keys_of(here, "alice") == [blob(here, "alice")]
    # The key is enough from here on; the code is worth nothing, with another key neither.
    assert (await log_in(here, "alice"))[:2] == (0, b"in\n")
    assert asked(here) == []
    for name in ("dora.key", "dora.key.pub"):
        (here.folder / name).rename(here.folder / name.replace("dora", "alice"))
    assert "Permission denied" in (await log_in(here, "alice", CODE))[2]
    log = here.log.read_text()
    assert "internal_error" not in log
    assert CODE not in log


async def test_everybody_is_asked_the_same_and_only_she_gets_on(here: Front) -> None:
    seen = {}
    for user, code in (("alice", "AAAA-AAAA-AAAA-AAAA"), ("dora", CODE), ("nobody", CODE)):
        status, _, said = await log_in(here, user, code)
        seen[user] = (status, said.replace(user, "NAME"), asked(here))
    assert seen["alice"] == seen["dora"] == seen["nobody"]
    assert seen["alice"][2] == ["One-time code: "]
    assert "Permission denied (publickey,keyboard-interactive)" in seen["alice"][1]
    assert await keys_of(here, "alice") == await keys_of(here, "dora") == []


async def test_a_code_without_a_key_is_kept(here: Front) -> None:
    for name in ("alice.key", "alice.key.pub"):
        (here.folder / name).rename(here.folder / f"later-{name}")
    assert "Make one with: ssh-keygen" in (await log_in(here, "alice", CODE))[2]
    for name in ("alice.key", "alice.key.pub"):
        (here.folder / f"later-{name}").rename(here.folder / name)
    assert "Log in again now" in (await log_in(here, "alice", CODE))[2]


async def test_a_key_of_somebody_elses_is_passed_over(here: Front) -> None:
    bobs = here.folder / "bobs"
    make(bobs, "ed25519")
    key = PublicKey.parse(bobs.with_suffix(".pub").read_text())
    await here.desk.ask(lambda store: cast(Store, store).add_keys("bob", [key], "root", NOW))
    await here.learn()
    both = ("-i", str(bobs), "-i", str(here.folder / "alice.key"))
    assert "Log in again now" in (await log_in(here, "alice", CODE, more=both))[2]
    assert (await log_in(here, "alice", more=both))[:2] == (0, b"in\n")
    assert await keys_of(here, "alice") == [blob(here, "alice")]
    assert await keys_of(here, "bob") == [PublicKey.parse(key_line("bob")).blob, key.blob]
