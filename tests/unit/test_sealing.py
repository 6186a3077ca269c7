"""Packets sealed here and those sealed by asyncssh are the same bytes, and a changed one is never opened."""

from __future__ import annotations

import pytest
from asyncssh.encryption import Encryption, GCMEncryption, get_encryption
from hypothesis import given
from hypothesis import strategies as st

from gateway.ssh.sealing import Sealing, sealed

KEY = bytes(range(16))
LAST = b"\1\2\3\4" + b"\xff" * 8
"""A nonce whose count begins again after this packet."""


def theirs(name: bytes = b"aes128-gcm@openssh.com", nonce: bytes = LAST) -> Encryption:
    """asyncssh's cipher."""
    return get_encryption(name, KEY * 2 if b"256" in name else KEY, nonce)


def ours() -> Sealing:
    """The same key and nonce here."""
    return Sealing(KEY, LAST)


def opened(cipher: Encryption, packet: bytes) -> bytes | None:
    """What asyncssh's connection would make of the packet."""
    first, header = cipher.decrypt_header(0, packet[:16], 4)
    assert int.from_bytes(header, "big") == len(packet) - 20
    return cipher.decrypt_packet(0, first, packet[16:-16], 4, packet[-16:])


@given(st.lists(st.binary(min_size=16, max_size=200), min_size=1, max_size=4))
def test_both_seal_the_same(bodies: list[bytes]) -> None:
    here, there = ours(), theirs()
    for body in bodies:
        expected = b"".join(there.encrypt_packet(0, len(body).to_bytes(4, "big"), body))
        assert here.seal(body) == expected


@given(st.lists(st.binary(min_size=16, max_size=200), min_size=1, max_size=4))
def test_asyncssh_opens_what_is_sealed_here_and_the_other_way_round(bodies: list[bytes]) -> None:
    sender, receiver, back, forth = ours(), theirs(), theirs(), ours()
    for body in bodies:
        length = len(body).to_bytes(4, "big")
        assert opened(receiver, b"".join(sender.encrypt_packet(0, length, body))) == body
        sealed_there = b"".join(back.encrypt_packet(0, length, body))
        assert opened(forth, sealed_there) == body


@given(st.integers(0, 8 * (4 + 32 + 16) - 1))
def test_one_changed_bit_is_noticed(bit: int) -> None:
    packet = ours().seal(bytes(32))
    packet[bit // 8] ^= 1 << bit % 8
    first = bytes(packet[:16])
    assert ours().decrypt_packet(0, first, bytes(packet[16:-16]), 4, bytes(packet[-16:])) is None


def test_a_packet_is_not_opened_twice() -> None:
    packet, receiver = bytes(ours().seal(bytes(32))), ours()
    assert opened(receiver, packet) == bytes(32)
    assert opened(receiver, packet) is None


@pytest.mark.parametrize("name", [b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com"])
def test_a_cipher_that_is_in_use_is_taken_over_where_it_is(name: bytes) -> None:
    used, other = theirs(name), theirs(name)
    for each in (used, other):
        each.encrypt_packet(0, b"\0\0\0\x10", bytes(16))
    taken = sealed(used)
    assert isinstance(taken, Sealing)
    assert taken.seal(bytes(16)) == b"".join(other.encrypt_packet(0, b"\0\0\0\x10", bytes(16)))


def test_any_other_cipher_is_left_as_it_is() -> None:
    other = get_encryption(b"aes128-ctr", KEY, KEY, b"hmac-sha2-256", KEY * 2)
    assert sealed(other) is other
    assert sealed(None) is None
    assert type(theirs()) is GCMEncryption
