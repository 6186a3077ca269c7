"""Usage: GPU time that people held, counted from the times of their leases.

Owns the sums and whether a request fits the quota `gpu_hours`. A GPU counts from the grant until it is
free again, used or not. Must not know SQL or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from gateway.errors import Code, PlatformError
from gateway.leases import Lease
from gateway.losses import lost_seconds
from gateway.quotas import Allowance
from gateway.scheduling.fairness import Span, Use, weigh
from gateway.units import format_duration


@dataclass(frozen=True)
class Held:
    """What one user held in a time: GPU-seconds, of how many leases."""

    user_id: int
    user: str
    gpu_seconds: int
    leases: int


def gpu_seconds(lease: Lease, since: datetime, now: datetime) -> int:
    """GPU-seconds that a lease held from `since` to `now`, but for those in which its GPUs were lost.

    A slice counts its sevenths. Never negative, whatever the clock did.
    """
    begin, end = max(lease.granted_at, since), min(lease.released_at or now, now)
    whole = max(0, int((end - begin).total_seconds())) * len(lease.devices)
    return int(max(0, whole - lost_seconds(lease.losses, begin, end)) * weigh(lease.profile))


def to_come(lease: Lease, now: datetime) -> int:
    """GPU-seconds that a lease may still hold; none once it is over."""
    if not lease.live:
        return 0
    return int(max(0, int((lease.expires_at - now).total_seconds())) * lease.gpus)


def uses(lease: Lease, now: datetime) -> list[Use]:
    """What a lease adds to its user's usage: one `Use` a GPU, without the times in which it was lost."""
    span = Span(lease.granted_at, lease.released_at or now)
    lost: dict[str, list[Span]] = {}
    for loss in lease.losses:
        lost.setdefault(loss.device, []).append(Span(loss.since, loss.until or now))
    refunds: list[list[Span]] = [[] for _ in lease.devices]
    # One that was lost and replaced is not among its devices any more: any place does, each its own.
    for place, spans in enumerate(lost.values()):
        refunds[place % len(refunds)] += spans
    return [Use(lease.user_id, weigh(lease.profile), span, tuple(spans)) for spans in refunds]


def by_user(leases: Iterable[Lease], since: datetime, now: datetime) -> list[Held]:
    """Who held how much since then, the most first; a user who held nothing is left out."""
    sums: dict[int, Held] = {}
    for lease in leases:
        seconds = gpu_seconds(lease, since, now)
        if seconds:
            before = sums.get(lease.user_id, Held(lease.user_id, lease.user, 0, 0))
            total = before.gpu_seconds + seconds
            sums[lease.user_id] = Held(lease.user_id, lease.user, total, before.leases + 1)
    return sorted(sums.values(), key=lambda held: (-held.gpu_seconds, held.user_id))


def check(
    user: str,
    allowed: Allowance | None,
    leases: Iterable[Lease],
    count: Fraction | int,
    length: timedelta,
    now: datetime,
) -> None:
    """Raise QUOTA_EXCEEDED when `count` GPUs for `length` more do not fit `allowed`.

    Counted are what `leases`, all of this user's, held within the window, what they may still hold, and
    the whole request: what is granted can always be used up (Slurm's `safe`, slurm.conf(5)).
    """
    if allowed is None:
        return
    mine = list(leases)
    used = sum(gpu_seconds(lease, now - allowed.window, now) for lease in mine)
    promised = sum(to_come(lease, now) for lease in mine)
    asked = int(count * int(length.total_seconds()))
    if used + promised + asked > allowed.gpu_seconds:
        raise PlatformError(
            Code.QUOTA_EXCEEDED,
            f"{user} may hold {hours(allowed.gpu_seconds)} GPU-hours in {format_duration(allowed.window)}: "
            f"{hours(used)} were held, {hours(promised)} are still granted, and {hours(asked)} more do not "
            "fit",
            "ask for less time, release a lease, or raise the quota gpu_hours.",
        )


def hours(seconds: int) -> str:
    """GPU-seconds in hours with one decimal where needed: `8`, `0.5`."""
    return f"{seconds / 3600:.1f}".removesuffix(".0")
