"""SSH public keys as people hand them over.

Owns the parsing of key lines (sshd(8), AUTHORIZED_KEYS FILE FORMAT) and of key blobs (RFC 4253 section
6.6, RFC 5656, RFC 8709, OpenSSH's PROTOCOL.u2f), and which keys are strong enough. Must not import a
cryptographic library: no signature is checked here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NoReturn

from gateway.errors import Code, PlatformError
from gateway.keyoptions import PLAIN, KeyOptions, split

_RSA_BITS = (3072, 8192)
_LONGEST_LINE = 16384
_LONGEST_COMMENT = 256
_ACCEPTED = "ssh-ed25519, ecdsa-sha2-nistp256/384/521, their sk- variants, or ssh-rsa with 3072 to 8192 bits"


def _refuse(sentence: str) -> NoReturn:
    raise PlatformError(Code.INVALID, sentence)


class Blob:
    """Reads the fields of a key blob in order; a short or surplus field is refused (INVALID)."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    @property
    def left(self) -> int:
        """How many bytes were not read yet."""
        return len(self._rest)

    def number(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer."""
        if len(self._rest) < size:
            _refuse("The key is cut off; copy the whole line from the .pub file.")
        field, self._rest = self._rest[:size], self._rest[size:]
        return int.from_bytes(field, "big")

    def string(self) -> bytes:
        """The next length-prefixed string (RFC 4251 section 5)."""
        size = int.from_bytes(self._rest[:4], "big")
        field, rest = self._rest[4 : 4 + size], self._rest[4 + size :]
        if len(self._rest) < 4 or len(field) != size:
            _refuse("The key is cut off; copy the whole line from the .pub file.")
        self._rest = rest
        return field

    def mpint(self) -> int:
        """The next positive integer; only its one shortest spelling is accepted, since blobs are compared."""
        field = self.string()
        value = int.from_bytes(field, "big")
        if value <= 0 or field != value.to_bytes(value.bit_length() // 8 + 1, "big"):
            _refuse("The key holds a malformed number; copy the whole line from the .pub file.")
        return value

    def end(self) -> None:
        """Nothing may follow."""
        if self._rest:
            _refuse("The key has surplus bytes; copy the line from the .pub file again.")


def _ed25519(blob: Blob) -> None:
    if len(blob.string()) != 32:
        _refuse("The Ed25519 key does not have 32 bytes; copy the line from the .pub file again.")


def _nist(curve: str, size: int) -> Callable[[Blob], None]:
    def check(blob: Blob) -> None:
        name, point = blob.string(), blob.string()
        # SEC 1 section 2.3.3: 04, then both coordinates; OpenSSH takes no compressed points either.
        if name != curve.encode() or len(point) != 2 * size + 1 or point[0] != 4:
            _refuse(f"The ECDSA key is not an uncompressed point on {curve}; copy the line again.")

    return check


def _with_application(check: Callable[[Blob], None]) -> Callable[[Blob], None]:
    def checked(blob: Blob) -> None:
        check(blob)
        if not blob.string():
            _refuse("The security key names no application; copy the line from the .pub file again.")

    return checked


def _rsa(blob: Blob) -> None:
    exponent, modulus = blob.mpint(), blob.mpint()
    low, high = _RSA_BITS
    if not low <= modulus.bit_length() <= high:
        _refuse(
            f"The RSA key has {modulus.bit_length()} bits; between {low} and {high} are accepted. "
            "Make a new key with: ssh-keygen -t ed25519"
        )
    # An even exponent or modulus is no RSA key; a huge exponent makes each verification slow.
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 64 or modulus % 2 == 0:
        _refuse("The RSA key is malformed; make a new one with: ssh-keygen -t ed25519")


_TYPES: dict[str, Callable[[Blob], None]] = {
    "ssh-ed25519": _ed25519,
    "sk-ssh-ed25519@openssh.com": _with_application(_ed25519),
    "ecdsa-sha2-nistp256": _nist("nistp256", 32),
    "ecdsa-sha2-nistp384": _nist("nistp384", 48),
    "ecdsa-sha2-nistp521": _nist("nistp521", 66),
    "sk-ecdsa-sha2-nistp256@openssh.com": _with_application(_nist("nistp256", 32)),
    "ssh-rsa": _rsa,
}


@dataclass(frozen=True)
class PublicKey:
    """A key that may be added: `blob` as on the wire, `comment` foreign text to be escaped when shown."""

    type: str
    blob: bytes
    comment: str = ""
    options: KeyOptions = PLAIN

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: SHA256 and unpadded base64."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return "SHA256:" + digest.rstrip("=")

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """One line of a .pub or authorized_keys file. Raises INVALID, never quoting the line."""
        if line.lstrip().startswith("-----BEGIN") or "PRIVATE KEY" in line:
            _refuse("This is a private key; keep it to yourself and give the .pub file beside it.")
        words = line.strip().split(None, 2)
        if len(line) > _LONGEST_LINE or len(words) < 2:
            _refuse(f"This is not a public key line; give one line of a .pub file: {_ACCEPTED}.")
        if words[0] not in _TYPES and any(f" {known} " in f" {line} " for known in _TYPES):
            options, rest = split(line.strip())
            return cls._of(rest.split(None, 2)).with_options(KeyOptions.parse(options))
        return cls._of(words)

    @classmethod
    def of_blob(cls, blob: bytes) -> PublicKey:
        """A key as it is on the wire. Raises INVALID for one that could not be added."""
        reader = Blob(blob)
        kind = reader.string().decode("ascii", "replace")
        if kind not in _TYPES:
            _refuse_type(kind)
        _TYPES[kind](reader)
        reader.end()
        return cls(kind, blob)

    @classmethod
    def _of(cls, words: list[str]) -> PublicKey:
        kind, encoded = words[0] if words else "", words[1] if len(words) > 1 else ""
        if kind not in _TYPES:
            _refuse_type(kind)
        blob = _decode(encoded)
        if Blob(blob).string() != kind.encode():
            _refuse("The key's type and its content disagree; copy the line from the .pub file again.")
        return replace(cls.of_blob(blob), comment=(words[2] if len(words) == 3 else "")[:_LONGEST_COMMENT])

    def with_options(self, options: KeyOptions) -> PublicKey:
        """The same key with options. Raises INVALID for those of security keys on another."""
        if not self.type.startswith("sk-") and (options.verify or not options.touch):
            _refuse("Only a security key (sk-...) knows no-touch-required and verify-required; leave it out.")
        return replace(self, options=options)


def parse_keys(text: str) -> list[PublicKey]:
    """Every key of a file with one a line; blank lines and `#` comments are skipped.

    Raises INVALID naming the line when there are several, and when there is none at all.
    """
    # Not splitlines(): a comment may hold characters that Unicode takes for the end of a line.
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        _refuse("There is no public key in it; give the content of a .pub file.")
    # A private key has many lines; its first one says what it is.
    if len(lines) == 1 or lines[0].startswith("-----BEGIN"):
        return [PublicKey.parse(lines[0])]
    return [_parse_numbered(number, line) for number, line in enumerate(lines, 1)]


def _parse_numbered(number: int, line: str) -> PublicKey:
    try:
        return PublicKey.parse(line)
    except PlatformError as error:
        raise PlatformError(error.code, f"Key {number}: {error.message}") from None


def _refuse_type(kind: str) -> NoReturn:
    if kind.endswith("-cert-v01@openssh.com"):
        _refuse("This is a certificate; give the plain public key (the .pub file without -cert).")
    _refuse(f"This type of key is not accepted; use {_ACCEPTED}.")


def _decode(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        _refuse("The key is not base64; copy the whole line from the .pub file.")


@dataclass(frozen=True)
class StoredKey:
    """A key that user `user` has, as it is listed; without the blob."""

    user: str
    type: str
    fingerprint: str
    comment: str
    added_at: datetime
    options: KeyOptions = PLAIN
