"""OpenSSH user certificates: what an authority says about somebody's key.

Owns their format (OpenSSH's PROTOCOL.certkeys), which of them let somebody in, and what they allow. Must not
check a signature nor know the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from gateway.errors import Code, PlatformError
from gateway.keyoptions import KeyOptions
from gateway.keys import Blob, PublicKey
from gateway.sources import Sources

SUFFIX = b"-cert-v01@openssh.com"
PERMITS = ("X11-forwarding", "agent-forwarding", "port-forwarding", "pty")
"""What an extension `permit-...` allows; a plain key allows all of it."""

_USER = 1
_FIELDS = {
    b"ssh-ed25519": 1,
    b"ssh-rsa": 2,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"sk-ssh-ed25519": 2,
    b"sk-ecdsa-sha2-nistp256": 3,
}
"""How many fields the key inside has, each of which is length-prefixed."""
_CRITICAL = {"source-address", "verify-required"}


def _refuse(sentence: str) -> NoReturn:
    raise PlatformError(Code.INVALID, sentence)


@dataclass(frozen=True)
class Certificate:
    """A certificate as it came: `key` and `authority` are blobs, `valid` Unix seconds, its end not included.

    `signed` is what `signature` is over. Texts are whatever the authority wrote: escape them when shown.
    """

    key: bytes
    serial: int
    kind: int
    key_id: str
    principals: tuple[str, ...]
    valid: tuple[int, int]
    critical: Mapping[str, bytes]
    extensions: Mapping[str, bytes]
    authority: bytes
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, blob: bytes) -> Certificate:
        """Raises INVALID for anything but one whole certificate."""
        reader = Blob(blob)
        base = reader.string().removesuffix(SUFFIX)
        if not is_certificate(blob) or base not in _FIELDS:
            _refuse("This is not a certificate of a kind of key that is accepted.")
        reader.string()
        fields = [reader.string() for _ in range(_FIELDS[base])]
        plain = base + b"@openssh.com" * base.startswith(b"sk-")
        serial, kind = reader.number(8), reader.number(4)
        key_id, principals = _text(reader.string()), _texts(reader.string())
        valid = (reader.number(8), reader.number(8))
        critical, extensions = _options(reader.string()), _options(reader.string())
        reader.string()
        authority = reader.string()
        signed = blob[: len(blob) - reader.left]
        signature = reader.string()
        reader.end()
        key = b"".join(len(each).to_bytes(4, "big") + each for each in (plain, *fields))
        return cls(
            key, serial, kind, key_id, principals, valid, critical, extensions, authority, signed, signature
        )

    @property
    def options(self) -> KeyOptions:
        """What must be true of its use. Raises INVALID for an address list that is none."""
        listed = self.critical.get("source-address")
        sources = None if listed is None else Sources.parse(_alone(listed), wildcards=False)
        touch = "no-touch-required" not in self.extensions
        return KeyOptions(sources, touch=touch, verify="verify-required" in self.critical)

    @property
    def permits(self) -> tuple[str, ...]:
        """Those of PERMITS that it grants."""
        return tuple(name for name in PERMITS if f"permit-{name}" in self.extensions)

    def lets_in(self, user: str, now: datetime) -> bool:
        """Whether it is a user's, names `user`, holds at `now`, and asks for nothing that is not honoured.

        Without principals it names nobody, as with sshd's TrustedUserCAKeys. `force-command` is not
        honoured: a certificate with it says that its holder may not have a workspace.
        """
        if self.kind != _USER or user not in self.principals or not self.critical.keys() <= _CRITICAL:
            return False
        return self.valid[0] <= now.timestamp() < self.valid[1]


@dataclass(frozen=True)
class Authority:
    """An operators' key whose certificates let people in."""

    type: str
    fingerprint: str
    comment: str
    added_at: datetime


@dataclass(frozen=True)
class Revocation:
    """What certificates of one authority do not let anybody in any more: `kind` is serial, id or key."""

    authority: str
    kind: str
    value: str
    revoked_at: datetime


@dataclass(frozen=True)
class Trust:
    """Whose certificates are believed: `authorities` maps key blobs to fingerprints.

    `revoked` has (authority's fingerprint, kind, value) of every revocation.
    """

    authorities: Mapping[bytes, str] = field(default_factory=dict)
    revoked: frozenset[tuple[str, str, str]] = frozenset()

    def believes(self, certificate: Certificate) -> bool:
        """Whether its authority is known and has revoked it in no way."""
        authority = self.authorities.get(certificate.authority)
        if authority is None:
            return False
        fingerprint = PublicKey.of_blob(certificate.key).fingerprint
        names = {("serial", str(certificate.serial)), ("id", certificate.key_id), ("key", fingerprint)}
        return not any((authority, *name) in self.revoked for name in names)


def is_certificate(blob: bytes) -> bool:
    """Whether a key's blob claims to be a certificate."""
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")].endswith(SUFFIX)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        _refuse("The certificate holds text that is not UTF-8.")


def _alone(data: bytes) -> str:
    reader = Blob(data)
    text = _text(reader.string())
    reader.end()
    return text


def _texts(data: bytes) -> tuple[str, ...]:
    reader = Blob(data)
    found: list[str] = []
    while reader.left:
        found.append(_text(reader.string()))
    return tuple(found)


def _options(data: bytes) -> dict[str, bytes]:
    """Names to data; a name twice would leave open which one counts."""
    reader = Blob(data)
    found: dict[str, bytes] = {}
    names: list[str] = []
    while reader.left:
        names.append(_text(reader.string()))
        found[names[-1]] = reader.string()
    if len(found) != len(names):
        _refuse("The certificate says something twice.")
    return found
