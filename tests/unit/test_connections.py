"""Who a connection is: only what the broker has checked itself, and only for the worker that carries it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from gateway import connections as limits
from gateway.certificates import Trust
from gateway.connections import NOBODY, Connection, Connections
from gateway.errors import Code, PlatformError
from gateway.evidence import proves
from gateway.keyoptions import KeyOptions
from gateway.proofs import Evidence
from gateway.store import LiveSession
from gateway.users import Account
from tests.support.certificates import Authority, Certified, forged
from tests.support.keys import AnyKey, Key, SecurityKey, every_kind, evidence, fingerprint, request
from tests.support.stores import NOW

ALICE, BOB = Key("ssh-ed25519"), Key("ssh-ed25519")


class Worker:
    """A worker that is told nothing here."""

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """Nothing is sent by this floor."""
        raise AssertionError(message)


def account(user_id: int, name: str, *keys: AnyKey, enabled: bool = True) -> Account:
    return Account(user_id, name, enabled, {key.blob: fingerprint(key) for key in keys})


@dataclass
class House:
    """A gateway with two workers; alice and bob have a key each."""

    connections: Connections
    worker: Worker
    other: Worker

    def keyed(self, session_id: bytes, worker: Worker | None = None) -> Connection:
        """A connection whose key exchange is done."""
        carrier = worker or self.worker
        connection = self.connections.arrive(carrier, "192.0.2.1:4", NOW)
        assert self.connections.may_sign(carrier, connection.id, session_id)
        return connection

    def authenticate(
        self, worker: Worker, told: Evidence, known: Account | None, now: datetime, trust: Trust = NOBODY
    ) -> Connection:
        """What is done with evidence that is enough by itself."""
        connection = self.connections.unproven_of(worker, told.connection)
        used = self.connections.prove(connection, told, known, now, trust)
        assert known is not None
        self.connections.admit(connection, known, used)
        return connection

    def log_in(self, session_id: bytes = b"s" * 32) -> Connection:
        """A connection of alice's."""
        connection = self.keyed(session_id)
        told = evidence(connection.id, session_id, "alice", ALICE)
        return self.authenticate(self.worker, told, account(1, "alice", ALICE), NOW)


@pytest.fixture
def house() -> House:
    return House(Connections(proves), Worker(), Worker())


def denied(
    house: House,
    told: Evidence,
    known: Account | None,
    worker: Worker | None = None,
    trust: Trust = NOBODY,
) -> None:
    """The evidence is refused, in words that do not say why, and nothing comes of it."""
    before = list(house.connections)
    with pytest.raises(PlatformError) as caught:
        house.authenticate(worker or house.worker, told, known, NOW, trust)
    assert (caught.value.code, caught.value.message) == (Code.DENIED, "Permission denied.")
    assert list(house.connections) == before


@pytest.mark.parametrize("kind", sorted(every_kind()))
def test_evidence_gives_a_ticket_that_only_its_worker_may_use(house: House, kind: str) -> None:
    key, connection = every_kind()[kind], house.keyed(b"1" * 32)
    known = account(7, "alice", BOB, key)
    told = evidence(connection.id, b"1" * 32, "alice", key)
    assert house.authenticate(house.worker, told, known, NOW) is connection
    assert (connection.user_id, connection.user, connection.credential.key) == (7, "alice", key.blob)
    assert connection.credential.fingerprint == fingerprint(key)
    assert len(connection.ticket) >= 32
    assert house.connections.holder(house.worker, connection.ticket) is connection
    for worker, ticket in [(house.other, connection.ticket), (house.worker, ""), (house.worker, "0" * 32)]:
        with pytest.raises(PlatformError) as caught:
            house.connections.holder(worker, ticket)
        assert caught.value.code is Code.DENIED


def test_tickets_differ(house: House) -> None:
    assert house.log_in(b"1" * 32).ticket != house.log_in(b"2" * 32).ticket


def test_a_wrong_signature_is_refused(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    told = evidence(connection.id, b"1" * 32, "alice", ALICE)
    denied(house, replace(told, signature=BOB.sign(told.signed)), account(1, "alice", ALICE))
    denied(house, replace(told, signature=told.signature[:-1]), account(1, "alice", ALICE))
    denied(house, replace(told, signature=b""), account(1, "alice", ALICE))


def test_another_users_name_is_refused(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    told = evidence(connection.id, b"1" * 32, "bob", BOB)
    known = account(1, "alice", ALICE)
    denied(house, replace(told, user="alice"), known)
    denied(house, told, known)
    # Even with her key on bob's list: the name inside what was signed is what counts.
    mine = evidence(connection.id, b"1" * 32, "alice", ALICE)
    denied(house, replace(mine, user="bob"), account(2, "bob", BOB, ALICE))


def test_a_key_of_somebody_else_is_refused(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    denied(house, evidence(connection.id, b"1" * 32, "alice", BOB), account(1, "alice", ALICE))


@pytest.mark.parametrize("known", [None, account(1, "alice", ALICE, enabled=False), account(1, "alice")])
def test_unknown_disabled_and_keyless_users_hear_the_same(house: House, known: Account | None) -> None:
    connection = house.keyed(b"1" * 32)
    denied(house, evidence(connection.id, b"1" * 32, "alice", ALICE), known)


def test_evidence_of_another_connection_is_refused(house: House) -> None:
    mine, hers = house.keyed(b"1" * 32), house.keyed(b"2" * 32)
    told = evidence(hers.id, b"2" * 32, "alice", ALICE)
    denied(house, replace(told, connection=mine.id), account(1, "alice", ALICE))


def test_a_connection_without_a_key_exchange_is_refused(house: House) -> None:
    connection = house.connections.arrive(house.worker, "", NOW)
    denied(house, evidence(connection.id, b"", "alice", ALICE), account(1, "alice", ALICE))


def test_a_replay_on_a_second_connection_is_refused(house: House) -> None:
    first = house.log_in(b"1" * 32)
    told = evidence(first.id, b"1" * 32, "alice", ALICE)
    second = house.keyed(b"2" * 32)
    denied(house, replace(told, connection=second.id), account(1, "alice", ALICE))


@pytest.mark.parametrize("left", [False, True])
def test_no_second_connection_gets_a_session_id_that_was_used(house: House, left: bool) -> None:
    first = house.log_in(b"1" * 32)
    if left:
        house.connections.leave(house.worker, first.id)
    second = house.connections.arrive(house.worker, "", NOW)
    assert not house.connections.may_sign(house.worker, second.id, b"1" * 32)
    told = evidence(second.id, b"1" * 32, "alice", ALICE)
    denied(house, told, account(1, "alice", ALICE))


def test_no_session_id_is_remembered_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_REMEMBERED", 3)
    for number in range(4):
        house.keyed(b"%d" % number * 32)
    assert house.keyed(b"0" * 32)
    last = house.connections.arrive(house.worker, "", NOW)
    assert not house.connections.may_sign(house.worker, last.id, b"3" * 32)


def test_a_second_login_on_a_connection_is_refused(house: House) -> None:
    connection = house.log_in(b"1" * 32)
    denied(house, evidence(connection.id, b"1" * 32, "alice", ALICE), account(1, "alice", ALICE))
    denied(house, evidence(connection.id, b"1" * 32, "bob", BOB), account(2, "bob", BOB))


def test_another_workers_connection_is_refused(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    told = evidence(connection.id, b"1" * 32, "alice", ALICE)
    denied(house, told, account(1, "alice", ALICE), house.other)
    assert house.connections.leave(house.other, connection.id) is None
    assert not house.connections.may_sign(house.other, connection.id, b"x")
    denied(house, replace(told, connection="0" * 16), account(1, "alice", ALICE))


def test_a_rekey_does_not_change_the_session_id(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    assert house.connections.may_sign(house.worker, connection.id, b"2" * 32)
    assert connection.session_id == b"1" * 32
    told = evidence(connection.id, b"2" * 32, "alice", ALICE)
    denied(house, told, account(1, "alice", ALICE))


@pytest.mark.parametrize("digest", [b"", b"x" * 65])
def test_no_hash_has_this_length(house: House, digest: bytes) -> None:
    connection = house.connections.arrive(house.worker, "", NOW)
    assert not house.connections.may_sign(house.worker, connection.id, digest)


@pytest.mark.parametrize(
    "wrong",
    [{"user": "bob"}, {"method": b"password"}, {"service": b"ssh-userauth"}, {"has_signature": False}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_claims_inside_that_differ_are_refused(house: House, wrong: dict[str, object]) -> None:
    connection = house.keyed(b"1" * 32)
    told = evidence(connection.id, b"1" * 32, "alice", ALICE, **wrong)
    denied(house, told, account(1, "alice", ALICE))


def test_data_that_is_cut_anywhere_is_refused(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    whole = request(b"1" * 32, "alice", ALICE)
    for size in range(len(whole)):
        cut = Evidence(connection.id, "alice", ALICE.blob, whole[:size], ALICE.sign(whole[:size]))
        denied(house, cut, account(1, "alice", ALICE))
    assert house.authenticate(
        house.worker, evidence(connection.id, b"1" * 32, "alice", ALICE), account(1, "alice", ALICE), NOW
    )


def test_a_key_is_good_only_from_where_and_until_when_its_options_say(house: House) -> None:
    connection = house.keyed(b"1" * 32)
    told = evidence(connection.id, b"1" * 32, "alice", ALICE)
    known = account(1, "alice", ALICE)
    for text in ('from="198.51.100.0/24"', 'expiry-time="20261123150000Z"'):
        denied(house, told, replace(known, options={ALICE.blob: KeyOptions.parse(text)}))
    other = KeyOptions.parse('from="192.0.2.0/24",expiry-time="20261123150001Z"')
    limited = replace(known, options={ALICE.blob: other, BOB.blob: KeyOptions.parse('from="10.0.0.1"')})
    assert house.authenticate(house.worker, told, limited, NOW) is connection


def test_a_security_key_proves_as_much_as_its_options_ask(house: House) -> None:
    present, verified = 1, 5
    for number, (text, flags, enough) in enumerate(
        [
            ("", 0, False),
            ("", present, True),
            ("no-touch-required", 0, True),
            ("verify-required", present, False),
            ("verify-required", verified, True),
            ("verify-required,no-touch-required", 4, True),
            ("verify-required,no-touch-required", 0, False),
        ]
    ):
        key, session_id = SecurityKey("nistp256", flags), bytes([number]) * 32
        connection = house.keyed(session_id)
        told = evidence(connection.id, session_id, "alice", key)
        known = replace(account(1, "alice", key), options={key.blob: KeyOptions.parse(text)})
        if enough:
            assert house.authenticate(house.worker, told, known, NOW) is connection
        else:
            denied(house, told, known)


def test_a_certificate_is_evidence_only_of_an_authority_that_is_believed(
    house: House, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, name="other")
    names, known = ("-n", "alice"), account(1, "alice")
    connection = house.keyed(b"1" * 32)

    def told(shown: Certified, user: str = "alice") -> Evidence:
        return evidence(connection.id, b"1" * 32, user, shown)

    mine = ours.certify(*names)
    for shown in (theirs.certify(*names), ours.certify("-n", "bob"), ours.certify()):
        denied(house, told(shown), known, trust=ours.trust)
    denied(house, told(mine), known)
    denied(house, told(mine), replace(known, enabled=False), trust=ours.trust)
    denied(house, told(mine, "bob"), known, trust=ours.trust)
    denied(house, told(forged(mine, b"an id", b"an it")), known, trust=ours.trust)
    denied(
        house, told(forged(theirs.certify(*names), theirs.key.blob, ours.key.blob)), known, trust=ours.trust
    )
    authenticated = house.authenticate(house.worker, told(mine), known, NOW, ours.trust)
    assert authenticated.credential.fingerprint == mine.key.get_fingerprint()


def test_a_revoked_connection_has_no_ticket_and_gets_no_other(house: House) -> None:
    connection = house.log_in(b"1" * 32)
    house.connections.revoke(connection)
    assert list(house.connections) == []
    with pytest.raises(PlatformError):
        house.connections.holder(house.worker, connection.ticket)
    denied(house, evidence(connection.id, b"1" * 32, "alice", ALICE), account(1, "alice", ALICE))
    assert house.connections.leave(house.worker, connection.id) is connection


def test_one_connection_too_many_of_a_user(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_OF_A_USER", 2)
    first = house.log_in(b"1" * 32)
    house.log_in(b"2" * 32)
    with pytest.raises(PlatformError, match="close one") as caught:
        house.log_in(b"3" * 32)
    assert caught.value.code is Code.QUOTA_EXCEEDED
    house.connections.leave(house.worker, first.id)
    assert house.log_in(b"4" * 32)


def test_too_many_who_have_not_logged_in(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_UNPROVEN", 2)
    house.log_in(b"1" * 32)
    house.keyed(b"2" * 32)
    waiting = house.keyed(b"3" * 32)
    with pytest.raises(PlatformError) as caught:
        house.connections.arrive(house.worker, "", NOW)
    assert caught.value.code is Code.NO_CAPACITY
    house.connections.leave(house.worker, waiting.id)
    assert house.connections.arrive(house.worker, "", NOW)


def test_who_fills_her_share_keeps_nobody_else_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_UNPROVEN_OF_A_SIDE", 2)
    waiting = [house.connections.arrive(house.worker, f"[2001:db8::{n}]:22", NOW) for n in range(2)]
    with pytest.raises(PlatformError) as caught:
        house.connections.arrive(house.other, "[2001:db8::ffff:0:0:1]:22", NOW)
    assert caught.value.code is Code.NO_CAPACITY
    assert house.connections.arrive(house.worker, "[2001:db8:0:1::1]:22", NOW)
    house.log_in(b"1" * 32)
    house.connections.leave(house.worker, waiting[0].id)
    assert house.connections.arrive(house.worker, "[2001:db8::9]:22", NOW)


def test_a_connection_that_left_is_forgotten(house: House) -> None:
    connection = house.log_in()
    assert house.connections.leave(house.worker, connection.id) is connection
    assert house.connections.leave(house.worker, connection.id) is None
    assert list(house.connections) == house.connections.shown() == []
    assert house.connections.of_worker(house.worker) == []
    with pytest.raises(PlatformError):
        house.connections.holder(house.worker, connection.ticket)


def test_channels_are_found_shown_and_limited(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CHANNELS", 1)
    connection = house.log_in()
    session = LiveSession("c0", "shell", "", NOW)
    house.connections.open_channel(connection, session)
    with pytest.raises(PlatformError) as caught:
        house.connections.open_channel(connection, replace(session, id="c1"))
    assert caught.value.code is Code.QUOTA_EXCEEDED
    assert house.connections.find("c0") == (connection, "c0")
    assert house.connections.find(connection.id) == (connection, None)
    assert house.connections.find("c1") is None
    (shown,) = house.connections.shown()
    assert (shown.id, shown.user, shown.sessions) == (connection.id, "alice", (session,))
