"""One-time codes with which a person registers her first key.

Owns their spelling, what is kept of them, and when one is good. Must not know where they are kept, the clock,
nor a source of randomness.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

LIFE = timedelta(days=1)
"""How long a code is good unless an operator says otherwise."""
RANDOM_BYTES = 10
_GROUP = 4
_NOBODYS = bytes(hashlib.sha256().digest_size)


@dataclass(frozen=True)
class Enrolment:
    """A code that waits to be used; only its digest is kept. 80 random bits need no salt, no slow hash."""

    digest: bytes
    expires_at: datetime


def code_of(random: bytes) -> str:
    """The code that RANDOM_BYTES spell: `ABCD-EFGH-IJKL-MNOP`, of letters and digits 2 to 7."""
    text = base64.b32encode(random).decode()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def digest_of(typed: str) -> bytes:
    """What is kept of a code, however it was typed: small letters, blanks, no dashes."""
    plain = "".join(typed.split()).replace("-", "").upper()
    return hashlib.sha256(plain.encode("utf-8", "replace")).digest()


def opens(enrolment: Enrolment | None, digest: bytes, now: datetime) -> bool:
    """Whether a code with this digest is the one that waits and still good. Takes as long when none waits."""
    waiting = _NOBODYS if enrolment is None else enrolment.digest
    return hmac.compare_digest(waiting, digest) and enrolment is not None and now < enrolment.expires_at
