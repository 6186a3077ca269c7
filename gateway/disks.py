"""The disk space of a workspace: what it may take, what it takes, and what its user is told of that.

Owns the value and the decisions. Must not know file systems, nor how anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.units import format_size

WALK_EVERY = timedelta(hours=1)
"""Between two walks through the files of somebody whose container runs."""
WALK_IDLE = timedelta(days=1)
"""The same while it does not run: an operator may still change what is there."""
USUAL = 100 << 30
"""The bytes that a workspace is made for when nobody says what its user may have; it grows."""
_NEAR = 95
"""Per cent of the limit from which a person is told."""


@dataclass(frozen=True)
class Usage:
    """What a file system says of a workspace: the bytes that it counted, None where it counts nothing for
    people; whether it is `held` to a size; whether it has `failed`, and is to be mended; whether it is
    `starved`, for the machine's own disk is full."""

    counted: int | None
    held: bool
    failed: bool = False
    starved: bool = False


@dataclass(frozen=True)
class Disk:
    """Bytes of a workspace: `limit` is the quota, `used` what was there at `seen_at`; None: not looked yet.

    `held`: the file system itself keeps her at the limit.
    """

    limit: int
    used: int | None = None
    held: bool = False
    seen_at: datetime | None = None


def walk_due(disk: Disk, running: bool, now: datetime) -> bool:
    """Whether to walk through the files again, where the file system does not count them itself.

    A clock that was set back is no reason to wait for it.
    """
    if disk.seen_at is None or disk.seen_at > now:
        return True
    return now - disk.seen_at >= (WALK_EVERY if running else WALK_IDLE)


def warning(disk: Disk) -> str | None:
    """What somebody is told who is at her limit or close to it, one sentence; None: nothing."""
    if disk.used is None or disk.used * 100 < disk.limit * _NEAR:
        return None
    taken = f"Your files take {format_size(disk.used)} of {format_size(disk.limit)}"
    if disk.held:
        return f"{taken}: when it is full nothing more can be written; delete what you do not need."
    if disk.used > disk.limit:
        return f"{taken}, which is more than you may have: delete some, or ask your operator for more."
    return f"{taken}: delete what you do not need."
