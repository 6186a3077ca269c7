"""Real keys of every kind that may log in, and real signed requests.

Owns what a client does with its key: the request of RFC 4252 section 7 and a signature over it. The
security key is one in software: its private half is here, the signature is made as in OpenSSH's
PROTOCOL.u2f. Must not know the broker.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache

import asyncssh
from asyncssh.packet import Boolean, Byte, MPInt, String, UInt32
from asyncssh.public_key import decode_ssh_public_key
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from gateway.proofs import Evidence

_PRESENT = 1
_APPLICATION = b"ssh:"


class Key:
    """A key of asyncssh's."""

    def __init__(self, algorithm: str, signature: str = "", bits: int = 3072) -> None:
        more = {"key_size": bits} if algorithm == "ssh-rsa" else {}
        self._key = asyncssh.generate_private_key(algorithm, **more)
        self.blob = self._key.public_data
        self.algorithm = (signature or algorithm).encode()

    def sign(self, data: bytes) -> bytes:
        """The signature blob (RFC 4253 section 6.6)."""
        return self._key.sign(data, self.algorithm)

    def also(self, signature: str) -> Key:
        """The same key with another signature algorithm."""
        other = object.__new__(Key)
        other._key, other.blob, other.algorithm = self._key, self.blob, signature.encode()
        return other


class SecurityKey:
    """A FIDO key in software; `flags` is what it says of the person's presence."""

    def __init__(self, curve: str, flags: int = _PRESENT) -> None:
        self.flags = flags
        if curve == "ed25519":
            self._edwards = ed25519.Ed25519PrivateKey.generate()
            self._nist = None
            raw = self._edwards.public_key().public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw
            )
            self.algorithm = b"sk-ssh-ed25519@openssh.com"
            self.blob = String(self.algorithm) + String(raw) + String(_APPLICATION)
        else:
            self._nist = ec.generate_private_key(ec.SECP256R1())
            point = self._nist.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
            self.algorithm = b"sk-ecdsa-sha2-nistp256@openssh.com"
            self.blob = String(self.algorithm) + String(b"nistp256") + String(point) + String(_APPLICATION)

    def sign(self, data: bytes) -> bytes:
        """The signature blob of OpenSSH's PROTOCOL.u2f."""
        counter = UInt32(7)
        application = hashlib.sha256(_APPLICATION).digest()
        signed = application + Byte(self.flags) + counter + hashlib.sha256(data).digest()
        if self._nist is None:
            signature = self._edwards.sign(signed)
        else:
            numbers = utils.decode_dss_signature(self._nist.sign(signed, ec.ECDSA(hashes.SHA256())))
            signature = b"".join(map(MPInt, numbers))
        return String(self.algorithm) + String(signature) + Byte(self.flags) + counter


AnyKey = Key | SecurityKey


@dataclass(frozen=True)
class Request:
    """A request to log in, as it is signed. Every part may be told wrong."""

    session_id: bytes
    user: str
    key: bytes
    algorithm: bytes
    code: int = 50
    service: bytes = b"ssh-connection"
    method: bytes = b"publickey"
    has_signature: bool = True
    after: bytes = b""

    def signed(self) -> bytes:
        """The bytes that are signed."""
        return (
            String(self.session_id)
            + Byte(self.code)
            + String(self.user)
            + String(self.service)
            + String(self.method)
            + Boolean(self.has_signature)
            + String(self.algorithm)
            + String(self.key)
            + self.after
        )


def request(session_id: bytes, user: str, key: AnyKey, /, **wrong: object) -> bytes:
    """What `key` signs to log `user` in; `wrong` replaces parts of it."""
    return replace(Request(session_id, user, key.blob, key.algorithm), **wrong).signed()  # type: ignore[arg-type]


def evidence(connection: str, session_id: bytes, user: str, key: AnyKey, /, **wrong: object) -> Evidence:
    """What an honest worker sends when `user` has logged in with `key`; `wrong` is what she signed else."""
    signed = request(session_id, user, key, **wrong)
    return Evidence(connection, user, key.blob, signed, key.sign(signed))


def fingerprint(key: AnyKey) -> str:
    """The fingerprint as OpenSSH shows it."""
    return decode_ssh_public_key(key.blob).get_fingerprint()


def fingerprint_of(line: str) -> tuple[bytes, str]:
    """The blob and the fingerprint of a line in a .pub file."""
    key = asyncssh.import_public_key(line)
    return key.public_data, key.get_fingerprint()


@cache
def every_kind() -> dict[str, AnyKey]:
    """One key of each kind that may log in, by the name of its signature. Made once: RSA is slow."""
    rsa = Key("ssh-rsa", "rsa-sha2-256")
    keys: list[AnyKey] = [
        Key("ssh-ed25519"),
        Key("ecdsa-sha2-nistp256"),
        Key("ecdsa-sha2-nistp384"),
        Key("ecdsa-sha2-nistp521"),
        rsa,
        rsa.also("rsa-sha2-512"),
        SecurityKey("ed25519"),
        SecurityKey("nistp256"),
    ]
    return {key.algorithm.decode(): key for key in keys}
