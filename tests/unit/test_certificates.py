"""User certificates: what ssh-keygen makes lets in whom it names, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.certificates import PERMITS, Certificate, Trust
from gateway.credentials import credential, refusal
from gateway.errors import PlatformError
from gateway.evidence import proves
from gateway.users import Account
from tests.support.certificates import Authority, Certified, forged
from tests.support.keys import request
from tests.support.stores import NOW

SESSION = b"s" * 32
HERE = "192.0.2.7"
ALICE = Account(1, "alice", True, {})
VALID = ("-n", "alice,ops", "-V", "20261123145900:20261123150100")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def let_in(authority: Authority, shown: Certified, address: str = HERE, now: datetime = NOW) -> bool:
    """Whether alice gets in with it, everything but its being hers beyond doubt."""
    return credential(ALICE, authority.trust, shown.blob, address, now) is not None


def proven(shown: Certified, **wrong: object) -> bool:
    """Whether its owner proves that she has it; `wrong` replaces parts of what is signed."""
    signed = request(SESSION, "alice", shown, **wrong)  # type: ignore[arg-type]
    return proves(SESSION, "alice", shown.blob, signed, shown.sign(signed))


@pytest.mark.parametrize(
    ("kind", "signer"), [("ed25519", "rsa"), ("ecdsa", "ed25519"), ("rsa", "ecdsa")], ids="by".join
)
def test_what_ssh_keygen_makes(tmp_path: Path, kind: str, signer: str) -> None:
    authority = Authority(tmp_path, signer)
    shown = authority.certify(*VALID, "-z", "7", kind=kind)
    found = Certificate.parse(shown.blob)
    assert (found.serial, found.key_id, found.principals) == (7, "an id", ("alice", "ops"))
    assert found.key == shown.key.public_data
    assert found.authority == authority.key.blob
    assert found.permits == PERMITS
    assert datetime.fromtimestamp(found.valid[1], UTC) == datetime(2026, 11, 23, 15, 1, tzinfo=UTC)
    assert let_in(authority, shown)
    assert proven(shown)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (("-V", "20261123145900:20261123150100"), False),
        (("-n", "bob", "-V", "always:forever"), False),
        (("-n", "alicex,x", "-V", "always:forever"), False),
        (("-n", "alice", "-V", "always:forever"), True),
        (("-n", "alice", "-V", "20261123150000:20261123150001"), True),
        (("-n", "alice", "-V", "20261123150001:20261123150101"), False),
        (("-n", "alice", "-V", "20261123140000:20261123150000"), False),
        (("-h", "-n", "alice", "-V", "always:forever"), False),
        ((*VALID, "-O", "force-command=true"), False),
        ((*VALID, "-O", "critical:made-up@example.org=1"), False),
        ((*VALID, "-O", "extension:made-up@example.org=1"), True),
        ((*VALID, "-O", "source-address=192.0.2.0/24,10.0.0.1"), True),
        ((*VALID, "-O", "source-address=198.51.100.0/24"), False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_whom_when_and_from_where(authority: Authority, options: tuple[str, ...], allowed: bool) -> None:
    assert let_in(authority, authority.certify(*options)) is allowed


def test_what_it_permits(authority: Authority) -> None:
    bare = authority.certify(*VALID, "-O", "clear", "-O", "permit-pty")
    found = credential(ALICE, authority.trust, bare.blob, HERE, NOW)
    assert found is not None
    assert found.permits == ("pty",)


def test_only_of_an_authority_that_is_believed(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    shown = other.certify(*VALID)
    assert not let_in(authority, shown)
    assert proven(shown)
    # It names the right authority, which has not signed it.
    liar = forged(shown, other.key.blob, authority.key.blob)
    assert let_in(authority, liar)
    assert not proven(liar)


@pytest.mark.parametrize(("old", "new"), [(b"an id", b"an it"), (b"permit-pty", b"permit-pts")])
def test_a_changed_certificate_proves_nothing(authority: Authority, old: bytes, new: bytes) -> None:
    assert not proven(forged(authority.certify(*VALID), old, new))


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_id": b"t" * 32},
        {"user": "bob"},
        {"algorithm": b"ssh-ed25519"},
        {"algorithm": b"ssh-rsa-cert-v01@openssh.com"},
        {"key": b""},
        {"after": b"\0"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_signed_must_be_what_is_claimed(authority: Authority, wrong: dict[str, object]) -> None:
    assert not proven(authority.certify(*VALID), **wrong)


def test_another_key_than_the_certified_one_proves_nothing(authority: Authority) -> None:
    shown, other = authority.certify(*VALID), authority.certify(*VALID)
    signed = request(SESSION, "alice", shown)  # type: ignore[arg-type]
    assert not proves(SESSION, "alice", shown.blob, signed, other.sign(signed))
    # A plain key with the certificate's algorithm, and the other way round.
    plain = replace(shown, blob=shown.key.public_data)
    assert not proven(plain)
    assert proven(replace(plain, algorithm=plain.signing))


def test_an_authority_that_signs_with_sha1_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "rsa")
    assert proven(authority.certify(*VALID))
    assert not proven(authority.certify(*VALID, "-t", "ssh-rsa"))


@pytest.mark.parametrize(
    ("kind", "value"), [("serial", "7"), ("id", "an id"), ("key", "")], ids=["serial", "id", "key"]
)
def test_what_is_revoked_lets_nobody_in_and_ends_who_is(authority: Authority, kind: str, value: str) -> None:
    shown = authority.certify(*VALID, "-z", "7")
    used = credential(ALICE, authority.trust, shown.blob, HERE, NOW)
    assert used is not None
    assert refusal(ALICE, authority.trust, used, HERE, NOW) is None
    # A certificate that ran out lets her stay.
    assert refusal(ALICE, authority.trust, used, HERE, NOW.replace(year=2027)) is None
    name = (authority.key.fingerprint, kind, value or used.fingerprint)
    revoked = replace(authority.trust, revoked=frozenset([name]))
    assert credential(ALICE, revoked, shown.blob, HERE, NOW) is None
    assert "revoked" in (refusal(ALICE, revoked, used, HERE, NOW) or "")
    assert "revoked" in (refusal(ALICE, Trust(), used, HERE, NOW) or "")
    others = replace(authority.trust, revoked=frozenset([("SHA256:another", *name[1:])]))
    assert refusal(ALICE, others, used, HERE, NOW) is None


@settings(deadline=None)
@given(data=st.data())
def test_no_bytes_do_worse_than_be_refused(authority: Authority, data: st.DataObject) -> None:
    shown = _certificate(authority)
    whole = shown.blob
    part = bytearray(whole)
    part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for blob in (bytes(part), cut, whole + b"\0", data.draw(st.binary(max_size=99))):
        assert not proven(replace(shown, blob=blob))
        credential(ALICE, authority.trust, blob, HERE, NOW)
    with pytest.raises(PlatformError):
        Certificate.parse(cut)


@cache
def _certificate(authority: Authority) -> Certified:
    """One that every example shares."""
    return authority.certify(*VALID)
