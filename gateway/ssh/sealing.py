"""AES-GCM packets (OpenSSH's PROTOCOL section 1.6) that copy each byte once.

Owns the order of bytes in a sealed packet, and the count that no two packets of one key may share. asyncssh
itself sets the cipher up again for every packet, and copies what it made four times. Must not know of
connections.
"""

from __future__ import annotations

from asyncssh.encryption import Encryption, GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LENGTH = 4
_TAG = 16
_FIXED = 4
_MOST = 1 << 64


class Sealing(Encryption):
    """One direction's key, until the next exchange of keys."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._cipher = AESGCM(key)
        self._fixed, self._count = nonce[:_FIXED], int.from_bytes(nonce[_FIXED:], "big")

    def seal(self, body: bytes) -> bytearray:
        """The packet whose length field, which is signed and not encrypted, stands before `body`."""
        header = len(body).to_bytes(_LENGTH, "big")
        packet = bytearray(_LENGTH + len(body) + _TAG)
        packet[:_LENGTH] = header
        self._cipher.encrypt_into(self._nonce(), body, header, memoryview(packet)[_LENGTH:])
        return packet

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """The same for asyncssh: the tag is at the end of the first, and the second is empty."""
        return header + self._cipher.encrypt(self._nonce(), packet, header), b""

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """The first bytes as they are."""
        return first_block, first_block[:header_len]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        """The body, None when the tag is wrong."""
        sealed = b"".join((memoryview(first)[header_len:], rest, mac))
        try:
            return self._cipher.decrypt(self._nonce(), sealed, first[:header_len])
        except InvalidTag:
            return None

    def _nonce(self) -> bytes:
        """The next one (RFC 5647 section 7.1)."""
        count, self._count = self._count, (self._count + 1) % _MOST
        return self._fixed + count.to_bytes(8, "big")


def sealed(made: Encryption | None) -> Encryption | None:
    """What takes over from `made` at the packet where it is; itself when it is not AES-GCM."""
    if type(made) is not GCMEncryption:
        return made
    return Sealing(made._cipher._key, made._cipher._iv)
