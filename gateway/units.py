"""Durations, sizes and instants as people type and read them.

Owns the spelling: `30m 8h 7d`, `100G` (powers of 1024), `2026-11-23 15:00 UTC`. Must not know the clock
nor what is measured.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gateway.errors import Code, PlatformError

_DURATION = re.compile(r"([0-9]{1,9})([mhd])")
_SIZE = re.compile(r"([0-9]{1,9})([KMGT])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# An expiry date beyond the year 9999 cannot be written down; ten years is longer than any GPU is kept.
LONGEST = timedelta(days=3650)


def parse_duration(text: str) -> timedelta:
    """`30m`, `8h` or `7d`, at least one minute and at most ten years. Raises INVALID."""
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        raise PlatformError(
            Code.INVALID,
            f"{text!r} is not a duration; write minutes, hours or days such as 30m, 8h or 7d, up to 3650d.",
        )
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """The two largest units, rounded down: `7d`, `1d 3h`, `8h`, `5m`, `0m`; negative lengths read `0m`."""
    minutes = max(0, int(length.total_seconds())) // 60
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    words = [f"{count}{unit}" for count, unit in parts[:2] if count]
    return " ".join(words) or "0m"


def parse_size(text: str) -> int:
    """`512M`, `100G`, `2T` in bytes; units are powers of 1024 and must be given. Raises INVALID."""
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _BYTES[match[2]] if match else 0
    if not 0 < size < 1 << 60:
        raise PlatformError(
            Code.INVALID, f"{text!r} is not a size; write a number and K, M, G or T, such as 512M or 100G."
        )
    return size


def format_size(size: int) -> str:
    """Bytes in the largest unit that leaves at least 1, with one decimal where needed: `80G`, `1.5T`."""
    for unit in "TGMK":
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.1f}".removesuffix(".0") + unit
    return str(size)


def format_instant(at: datetime) -> str:
    """An aware instant for people, to the minute, in UTC and saying so."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def parse_instant(text: str) -> datetime:
    """An instant as ISO 8601 writes it, such as `2026-12-01T09:00`: in UTC unless it says otherwise.

    Raises INVALID.
    """
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise PlatformError(
            Code.INVALID,
            f"{text!r} is no moment; write a day and a time, in UTC or with a zone, such as 2026-12-01T09:00 "
            "or 2026-12-01T09:00+01:00.",
        ) from None


def iso(at: datetime) -> str:
    """An aware instant for programs: RFC 3339, UTC with `Z`, whole seconds (all that jq can read)."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
