"""Verification codes: asked for after the key, good once and for about a minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from gateway import proofs
from gateway.admission import MOST_UNVERIFIED, NO_SECRET
from gateway.keys import PublicKey
from gateway.sqlite.store import Store
from gateway.totp import STEP, new_secret, step_of, uri
from gateway.users import SiteAccount
from tests.support.certificates import make
from tests.support.front import Front, front
from tests.support.keys import Key
from tests.support.login import asked, log_in
from tests.support.stores import NOW
from tests.unit.test_admission import BOBS, Door, denied, door

__all__ = ["door"]

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
"""That of RFC 6238's examples."""


def code(at: datetime, secret: str = SECRET) -> str:
    """What her authenticator shows at an instant."""
    return pyotp.TOTP(secret).at(at)


def test_what_rfc_6238_says() -> None:
    at = datetime.fromtimestamp(1111111109, UTC)
    assert step_of(SECRET, "081804", at) == 1111111109 // STEP
    assert step_of(SECRET, " 081 804 ", at) == 1111111109 // STEP
    for wrong in ("081805", "", "81804", "0818044", "\udc80", "٠٨١٨٠٤"):
        assert step_of(SECRET, wrong, at) is None


def test_clocks_may_differ_by_a_step() -> None:
    now = NOW.replace(second=0, microsecond=0)
    for seconds, good in [(-STEP - 1, False), (-STEP, True), (0, True), (STEP, True), (2 * STEP, False)]:
        found = step_of(SECRET, code(now + timedelta(seconds=seconds)), now)
        assert (found is not None) is good, seconds


def test_an_authenticator_understands_what_it_is_given() -> None:
    secret = new_secret()
    parts = urlsplit(uri(secret, "alice"))
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parse_qs(parts.query) == {"secret": [secret], "issuer": ["gpu-gateway"]}
    assert parts.path == "/gpu-gateway:alice"
    assert pyotp.parse_uri(uri(secret, "alice")).now() == pyotp.TOTP(secret).now()


# What the broker gives a worker that lies.


@pytest.fixture
async def asks(door: Door) -> Door:
    """Bob is asked for codes."""
    door.store.set_secret("bob", SECRET, "root", NOW)
    await door.learn()
    return door


async def test_a_key_alone_is_half_a_login(asks: Door) -> None:
    connection = asks.keyed()
    assert await asks.show(connection, "bob", BOBS) == proofs.More(connection.id)
    assert not connection.ticket
    assert denied(await asks.type(connection, "bob", "000000"))
    assert not connection.ticket
    assert isinstance(await asks.type(connection, "bob", code(NOW)), proofs.Ticket)
    assert connection.user == "bob"


async def test_a_code_without_the_key_is_nothing(asks: Door) -> None:
    assert denied(await asks.type(asks.keyed(), "bob", code(NOW)))
    half, other = asks.keyed(), asks.keyed()
    await asks.show(half, "bob", BOBS)
    assert denied(await asks.type(other, "bob", code(NOW)))
    for user in ("alice", "nobody", ""):
        assert denied(await asks.type(half, user, code(NOW)))
    assert denied(await asks.show(half, "alice", BOBS))
    assert denied(await asks.show(half, "bob", Key("ssh-ed25519")))
    assert isinstance(await asks.type(half, "bob", code(NOW)), proofs.Ticket)


async def test_a_code_is_good_once_and_none_before_it(asks: Door) -> None:
    async def tried(typed: str) -> object:
        connection = asks.keyed()
        await asks.show(connection, "bob", BOBS)
        return await asks.type(connection, "bob", typed)

    assert isinstance(await tried(code(NOW)), proofs.Ticket)
    assert denied(await tried(code(NOW)))
    assert denied(await tried(code(NOW - timedelta(seconds=STEP))))
    assert isinstance(await tried(code(NOW + timedelta(seconds=STEP))), proofs.Ticket)


async def test_who_guesses_must_wait_though_she_has_the_key(asks: Door) -> None:
    for number in range(MOST_UNVERIFIED):
        connection = asks.keyed(f"192.0.2.{number}")
        await asks.show(connection, "bob", BOBS)
        assert denied(await asks.type(connection, "bob", "000000"))
    await asks.show(connection, "bob", BOBS)
    assert denied(await asks.type(connection, "bob", code(NOW)))
    asks.time += timedelta(hours=1)
    assert isinstance(await asks.type(connection, "bob", code(asks.time)), proofs.Ticket)


@pytest.mark.parametrize("how", ["disabled", "key removed", "secret changed"])
async def test_who_is_shut_out_between_key_and_code(asks: Door, how: str) -> None:
    connection = asks.keyed()
    await asks.show(connection, "bob", BOBS)
    if how == "disabled":
        asks.store.set_enabled("bob", False, "root", NOW)
    elif how == "key removed":
        asks.store.remove_key(asks.store.keys("bob")[0].fingerprint, "root", NOW)
    else:
        asks.store.drop_secret("bob", "root", NOW)
        asks.store.set_secret("bob", new_secret(), "root", NOW)
    await asks.learn()
    assert denied(await asks.type(connection, "bob", code(NOW)))
    assert not connection.ticket


async def test_a_group_asks_all_of_its_members(door: Door) -> None:
    door.store.add_group("vision", "root", NOW)
    door.store.join("vision", ["bob"], "root", NOW)
    assert door.store.ask_group("vision", True, "root", NOW)
    assert not door.store.ask_group("vision", True, "root", NOW)
    await door.learn()
    answer = await door.show(door.keyed(), "bob", BOBS)
    assert (answer.code, answer.message) == ("unavailable", NO_SECRET)
    door.store.set_secret("bob", SECRET, "root", NOW)
    await door.learn()
    connection = door.keyed()
    assert await door.show(connection, "bob", BOBS) == proofs.More(connection.id)
    door.store.drop_secret("bob", "root", NOW)
    door.store.ask_group("vision", False, "root", NOW)
    await door.learn()
    assert isinstance(await door.show(door.keyed(), "bob", BOBS), proofs.Ticket)


# With OpenSSH's client and a live worker.


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    async with front(tmp_path, monkeypatch) as made:
        file = made.add(1, "alice")
        line = file.with_suffix(".key.pub").read_text()
        await made.desk.ask(lambda store: _add(cast(Store, store), line))
        await made.learn()
        yield made


def _add(store: Store, line: str) -> None:
    store.add_user("alice", [PublicKey.parse(line)], SiteAccount(), "root", NOW)
    store.set_secret("alice", SECRET, "root", NOW)


async def test_her_client_asks_for_the_code_after_the_key(here: Front) -> None:
    status, out, said = await log_in(here, "alice", "no code")
    assert (status, out) == (255, b"")
    assert "Permission denied (keyboard-interactive)" in said
    right = code(datetime.now(UTC))
    assert (await log_in(here, "alice", right))[:2] == (0, b"in\n")
    assert asked(here) == ["Verification code: "]
    assert (await log_in(here, "alice", right))[0] == 255
    # Without anybody to ask there is no way in.
    assert (await here.ssh("alice", "localhost", "true"))[0] == 255
    # Who has not shown the key is asked what everybody is asked.
    for name in ("alice.key", "alice.key.pub"):
        (here.folder / name).unlink()
    make(here.folder / "alice.key", "ed25519")
    assert (await log_in(here, "alice", code(datetime.now(UTC))))[0] == 255
    assert asked(here) == ["One-time code: "]
    assert "internal_error" not in here.log.read_text()
