"""Passwords as they are kept: hashed with argon2id (RFC 9106).

Owns the hash, which takes tens of milliseconds and 64 MiB on purpose: never on an event loop, few at a time.
Must not know whose it is.
"""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 256
_HASHER = PasswordHasher()


def hash_of(password: str) -> str:
    """What is kept of a password: the hash with its salt and parameters."""
    return _HASHER.hash(password.encode("utf-8", "surrogateescape"))


def matches(kept: str, password: str) -> bool:
    """Whether it is the password of which `kept` was made; takes as long when nothing is kept."""
    try:
        return _HASHER.verify(kept or _nobodys(), password.encode("utf-8", "surrogateescape")) and bool(kept)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return hash_of("")
