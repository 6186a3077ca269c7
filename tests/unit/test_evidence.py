"""A signature proves who logs in on which connection, and nothing else does."""

from __future__ import annotations

import pytest
from asyncssh.packet import Byte, String, UInt32
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence import proves
from gateway.keyoptions import KeyOptions
from tests.support.keys import AnyKey, Key, SecurityKey, every_kind, request

SESSION = b"s" * 32
KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def shown(key: AnyKey, /, **wrong: object) -> bool:
    """Whether a request of alice's holds; `wrong` replaces parts of what is signed."""
    signed = request(SESSION, "alice", key, **wrong)
    return proves(SESSION, "alice", key.blob, signed, key.sign(signed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_proves_its_owner(kind: str) -> None:
    assert shown(every_kind()[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"session_id": b"t" * 32},
        {"session_id": b""},
        {"user": "bob"},
        {"code": 51},
        {"service": b"ssh-userauth"},
        {"method": b"hostbased"},
        {"has_signature": False},
        {"after": b"\0"},
        {"algorithm": b"ssh-dss"},
        {"key": b""},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_signed_must_be_what_is_claimed(kind: str, wrong: dict[str, object]) -> None:
    assert not shown(every_kind()[kind], **wrong)


def test_the_key_inside_must_be_the_key_beside() -> None:
    key, other = Key("ssh-ed25519"), Key("ssh-ed25519")
    assert not shown(key, key=other.blob)
    signed = request(SESSION, "alice", key)
    assert not proves(SESSION, "alice", other.blob, signed, key.sign(signed))
    assert not proves(SESSION, "alice", key.blob, signed, other.sign(signed))


@pytest.mark.parametrize("algorithm", ["ssh-rsa", "ssh-rsa-sha256@ssh.com", "rsa-sha2-256"])
def test_rsa_signs_with_what_it_names_and_never_with_sha1(algorithm: str) -> None:
    named = every_kind()["rsa-sha2-512"]
    assert isinstance(named, Key)
    signed = request(SESSION, "alice", named)
    assert not proves(SESSION, "alice", named.blob, signed, named.also(algorithm).sign(signed))
    if algorithm != "rsa-sha2-256":
        assert not shown(named.also(algorithm))


@pytest.mark.parametrize("curve", ["ed25519", "nistp256"])
def test_a_security_key_must_have_been_touched(curve: str) -> None:
    assert shown(SecurityKey(curve, flags=1))
    assert not shown(SecurityKey(curve, flags=0))


@pytest.mark.parametrize("curve", ["ed25519", "nistp256"])
@pytest.mark.parametrize(
    ("flags", "options", "enough"),
    [(0, "no-touch-required", True), (1, "verify-required", False), (5, "verify-required", True)],
)
def test_a_security_key_proves_what_is_asked_of_it(
    curve: str, flags: int, options: str, enough: bool
) -> None:
    key = SecurityKey(curve, flags)
    signed = request(SESSION, "alice", key)
    claim = (SESSION, "alice", key.blob, signed, key.sign(signed))
    assert proves(*claim, KeyOptions.parse(options)) is enough


def test_no_other_key_can_say_that_somebody_was_verified() -> None:
    key = Key("ssh-ed25519")
    signed = request(SESSION, "alice", key)
    assert not proves(SESSION, "alice", key.blob, signed, key.sign(signed), KeyOptions(verify=True))


def test_no_session_id_is_nobodys() -> None:
    key = Key("ssh-ed25519")
    signed = request(b"", "alice", key)
    assert not proves(b"", "alice", key.blob, signed, key.sign(signed))


def test_a_name_that_is_not_text_is_refused() -> None:
    key = Key("ssh-ed25519")
    signed = request(SESSION, "alice", key)
    assert not proves(SESSION, "\udc80", key.blob, signed, key.sign(signed))


@given(st.binary(), st.text(), st.binary(), st.binary(), st.binary())
def test_no_bytes_prove_anything(session: bytes, user: str, key: bytes, signed: bytes, sig: bytes) -> None:
    assert proves(session, user, key, signed, sig) is False


@given(st.sampled_from(KINDS), st.data())
def test_a_changed_byte_proves_nothing(kind: str, data: st.DataObject) -> None:
    key = every_kind()[kind]
    signed = request(SESSION, "alice", key)
    parts = [SESSION, key.blob, signed, key.sign(signed)]
    which = data.draw(st.integers(0, 3))
    part = bytearray(parts[which])
    at, change = data.draw(st.integers(0, 2000)), data.draw(st.integers(1, 255))
    part[at % len(part)] ^= change
    parts[which] = bytes(part)
    assert not proves(parts[0], "alice", *parts[1:])


@given(st.sampled_from(KINDS), st.integers(1, 3), st.data())
def test_cut_data_proves_nothing(kind: str, which: int, data: st.DataObject) -> None:
    key = every_kind()[kind]
    signed = request(SESSION, "alice", key)
    parts = [SESSION, key.blob, signed, key.sign(signed)]
    parts[which] = parts[which][: data.draw(st.integers(0, 2000)) % len(parts[which])]
    assert not proves(parts[0], "alice", *parts[1:])


@given(st.sampled_from(KINDS), st.binary(max_size=600), st.booleans())
def test_a_made_up_signature_proves_nothing(kind: str, made_up: bytes, whole: bool) -> None:
    key = every_kind()[kind]
    signature = String(key.algorithm) + String(made_up) + (Byte(1) + UInt32(1) if whole else b"")
    assert not proves(SESSION, "alice", key.blob, request(SESSION, "alice", key), signature)
