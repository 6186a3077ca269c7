"""Options before a key: when, from where and how it may be used.

Owns those of sshd's options (sshd(8), AUTHORIZED_KEYS FILE FORMAT) that mean something here, and the
sentence that refuses the others: none is ever ignored. Must not know keys nor the clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NoReturn

from gateway.errors import Code, PlatformError
from gateway.sources import Sources

_OPTION = re.compile(r'([A-Za-z0-9@.-]+)(?:="((?:[^"\\]|\\.)*)")?(,|$)')
_EXPIRY = re.compile(r"([0-9]{8})([0-9]{4}(?:[0-9]{2})?)?(Z?)")
_KNOWN = "from, expiry-time, no-touch-required and verify-required"


def _refuse(sentence: str) -> NoReturn:
    raise PlatformError(Code.INVALID, sentence)


@dataclass(frozen=True)
class KeyOptions:
    """What one key may do. `touch` and `verify` speak of a security key's proof (OpenSSH's PROTOCOL.u2f)."""

    sources: Sources | None = None
    expires_at: datetime | None = None
    touch: bool = True
    verify: bool = False

    def __str__(self) -> str:
        """As sshd would read it, the instant in UTC; empty without any option. `parse` reads it back."""
        parts = []
        if self.sources is not None:
            parts.append(f'from="{self.sources}"')
        if self.expires_at is not None:
            parts.append(f'expiry-time="{self.expires_at.astimezone(UTC):%Y%m%d%H%M%S}Z"')
        parts += ["no-touch-required"] * (not self.touch) + ["verify-required"] * self.verify
        return ",".join(parts)

    @classmethod
    def parse(cls, text: str, zone: tzinfo | None = None) -> KeyOptions:
        """The options of a key line, or none in an empty text. Raises INVALID for what is not honoured here.

        An instant without `Z` is one of `zone`, or of this machine's own as with sshd.
        """
        found: dict[str, str | None] = {}
        position = 0
        while position < len(text):
            match = _OPTION.match(text, position)
            if match is None or (match.end() == len(text) and match[3]):
                _refuse(
                    'The options before the key are malformed; write for example: from="10.0.0.0/8" ssh-...'
                )
            name = match[1].lower()
            if name in found:
                _refuse(f"The option {name} stands there twice; give it once.")
            found[name] = match[2]
            position = match.end()
        return cls._of(found, zone)

    @classmethod
    def _of(cls, found: dict[str, str | None], zone: tzinfo | None) -> KeyOptions:
        flags = {"no-touch-required", "verify-required"}
        for name, value in found.items():
            if name not in flags | {"from", "expiry-time"}:
                _refuse(
                    f"The option {name!r} is not supported, and a key opens a whole workspace; leave it out."
                    f" Supported are {_KNOWN}."
                )
            if (value is None) != (name in flags):
                _refuse(f"The option {name} {'has no' if name in flags else 'needs a'} value in quotes.")
        sources, expiry = found.get("from"), found.get("expiry-time")
        return cls(
            None if sources is None else Sources.parse(sources),
            None if expiry is None else _instant(expiry, zone),
            "no-touch-required" not in found,
            "verify-required" in found,
        )

    def refusal(self, address: str, now: datetime) -> str | None:
        """Why the key may not be used from `address` now: words for its owner; None when it may."""
        if self.expires_at is not None and now >= self.expires_at:
            return "The key that you logged in with has expired; ask your operator."
        if self.sources is not None and not self.sources.allow(address):
            return "The key that you logged in with may not be used from your address; ask your operator."
        return None


PLAIN = KeyOptions()
"""No options."""


def split(line: str) -> tuple[str, str]:
    """A key line as its options and the rest: at the first blank outside quotes."""
    quoted = False
    for index, character in enumerate(line):
        if character == '"' and line[index - 1 : index] != "\\":
            quoted = not quoted
        elif character in " \t" and not quoted:
            return line[:index], line[index:].strip()
    return line, ""


def _instant(text: str, zone: tzinfo | None) -> datetime:
    match = _EXPIRY.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        digits = match[1] + (match[2] or "").ljust(6, "0")
        at = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC if match[3] else zone)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(
            f"{text!r} is no expiry time; write YYYYMMDD or YYYYMMDDHHMM[SS], with a Z behind it for UTC."
        )
