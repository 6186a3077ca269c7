"""When each device is taken, and the first moment at which enough of them are free together.

Owns the times. Must not know why a device is taken, who comes first, or the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

FOREVER = datetime.max.replace(tzinfo=UTC)
"""What lies beyond the calendar."""


@dataclass(frozen=True)
class Claim:
    """A device is taken from `begin` up to and without `end`.

    `who` and `when` say so around the device's name ("bob holds" GPU 3 "until 2026-11-23 15:00 UTC"). To the
    user `owner` it is no obstacle, and with `only` it is one to that user alone. `lease` is the lease that it
    comes from, if it does.
    """

    begin: datetime
    end: datetime
    who: str = ""
    when: str = ""
    owner: int | None = None
    lease: int | None = None
    only: int | None = None

    def keeps(self, user_id: int) -> bool:
        """Whether it keeps the device from this user."""
        return self.owner != user_id and self.only in (None, user_id)


@dataclass(frozen=True)
class Timetable:
    """The claims on each device, by its id, in the order of their begins; with none it is free for ever.

    Those of a GPU and its parts overlap: of equal begins the order is of the words, in whatever order they
    were taken.
    """

    claims: Mapping[str, tuple[Claim, ...]]

    def taking(self, devices: Iterable[str], claim: Claim) -> Timetable:
        """This timetable with one more claim on each of `devices`."""
        changed = {
            device: tuple(sorted((*self.claims.get(device, ()), claim), key=_order)) for device in devices
        }
        return Timetable({**self.claims, **changed})

    def cut(self, leases: Collection[int], end: datetime) -> Timetable:
        """This timetable if the claims of `leases` ended at `end`, those that end later."""
        if not leases:
            return self

        def shorter(claim: Claim) -> Claim:
            late = claim.lease in leases and claim.end > end
            return replace(claim, end=end) if late else claim

        return Timetable({device: tuple(map(shorter, claims)) for device, claims in self.claims.items()})

    def obstacles(self, device: str, begin: datetime, end: datetime, user_id: int) -> Iterator[Claim]:
        """The claims that keep `device` from this user within that time."""
        return (
            claim
            for claim in self.claims.get(device, ())
            if claim.begin < end and begin < claim.end and claim.keeps(user_id)
        )

    def free(self, devices: Sequence[str], begin: datetime, end: datetime, user_id: int) -> list[str]:
        """Those of `devices` that nothing keeps from this user within that time, in their order."""
        return [
            device for device in devices if next(self.obstacles(device, begin, end, user_id), None) is None
        ]

    def vacant(self, device: str, begin: datetime, length: timedelta, user_id: int) -> datetime:
        """The first moment, `begin` or later, from which `device` is free for `length`, to this user."""
        end = later(begin, length)
        for claim in self.claims.get(device, ()):
            if claim.begin >= end:
                break
            if begin < claim.end and claim.keeps(user_id):
                begin, end = claim.end, later(claim.end, length)
        return begin

    def ends(self, devices: Iterable[str], after: datetime) -> set[datetime]:
        """The moments after `after` at which one of `devices` becomes free."""
        return {claim.end for device in devices for claim in self.claims.get(device, ()) if claim.end > after}


def _order(claim: Claim) -> tuple[object, ...]:
    return claim.begin, claim.end, claim.who, claim.when


def later(at: datetime, length: timedelta) -> datetime:
    """`at` and `length` more; FOREVER when the calendar ends before that."""
    try:
        return at + length
    except OverflowError:
        return FOREVER


@dataclass(frozen=True)
class Opening:
    """From `begin` on all of `free` are free for as long as was asked."""

    begin: datetime
    free: tuple[str, ...]


def earliest(
    table: Timetable,
    devices: Sequence[str],
    count: int,
    length: timedelta,
    user_id: int,
    moments: Iterable[datetime],
    allowed: Callable[[datetime], bool],
) -> Opening | None:
    """The first of `moments`, which come in order and must be `allowed`, from which `count` of `devices` are
    free together for `length`, to this user; None when there is none.

    The first moment of all is one of those at which a device becomes free (`Timetable.ends`), or the one from
    which one may begin at all: no others need be tried.
    """
    if len(devices) < count:
        return None
    # When each could begin, and before when too few can: most moments of a long queue are passed over so.
    vacant: dict[str, datetime] = {}
    enough: datetime | None = None
    for moment in moments:
        if (enough is not None and moment < enough) or not allowed(moment):
            continue
        for device in devices:
            if device not in vacant or vacant[device] < moment:
                vacant[device] = table.vacant(device, moment, length, user_id)
        enough = sorted(vacant.values())[count - 1]
        if enough <= moment:
            return Opening(moment, tuple(device for device in devices if vacant[device] <= moment))
    return None
