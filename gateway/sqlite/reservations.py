"""Reservations in the database: GPUs kept for a person from a moment on.

Owns the rows, and that a reservation becomes a request when its time comes. Which GPUs are kept is
`gateway.scheduling.reserving`'s choice. Must not grant them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

from gateway import quotas
from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Lease, State
from gateway.scheduling.booking import LAB
from gateway.scheduling.choosing import choose, complete
from gateway.scheduling.fairness import weigh
from gateway.scheduling.reserving import reserve
from gateway.scheduling.waiting import Holding, Request, Reservation, profiles_of
from gateway.sqlite.leases import Leases
from gateway.sqlite.rows import Facts, instant, stamp
from gateway.units import LONGEST, format_instant

_STANDING = """
    select reservation.*, user.name from reservation join user on user.id = user_id
    where cancelled_at is null and user.removed_at is null and ends_at > ?
    order by begins_at, reservation.id
"""


class Reservations(Leases):
    """The reservations' part of the store."""

    def reserve(
        self, name: str, request: DeviceRequest, begin: datetime, length: timedelta, actor: str, now: datetime
    ) -> Reservation:
        """Keep GPUs for user `name` from `begin` on, for `length`.

        Raises NOT_FOUND, CONFLICT for a time that is past or a disabled user, QUOTA_EXCEEDED for more than
        she may ever hold at once, NO_CAPACITY, and what `choose` raises of a request.
        """
        with self._db.write():
            user = self._user(name)
            if not user.enabled:
                raise PlatformError(
                    Code.CONFLICT, f"{name} is disabled; first run: gpuadmin user enable {name}"
                )
            if not now <= begin <= now + LONGEST:
                raise PlatformError(
                    Code.CONFLICT,
                    f"A reservation cannot begin at {format_instant(begin)}; name a time from now on",
                )
            devices = self.devices()
            request = complete(devices, request)
            quotas.check(name, self._effective(user.id), 0, request.count * weigh(request.profile))
            self._check_possible(request)
            wanted = Request(
                0,
                user.id,
                name,
                request.count,
                length,
                now,
                ids=request.ids,
                model=request.model,
                profile=request.profile,
            )
            held = [holding_of(lease) for lease in self.held_leases()]
            kept = reserve(wanted, devices, held, self.reservations(now), begin, now)
            number = self._db.insert(
                "reservation",
                {
                    "user_id": user.id,
                    "devices": json.dumps(kept),
                    "begins_at": stamp(begin),
                    "ends_at": stamp(begin + length),
                    "made_at": stamp(now),
                },
            )
            after: Facts = {"reservation": number, "devices": list(kept), "begins_at": stamp(begin)}
            self._event(now, actor, "reserve", name, after=after)
            return Reservation(number, user.id, name, kept, begin, begin + length)

    def reservations(self, now: datetime) -> list[Reservation]:
        """Those that are not over at `now`, by their begin."""
        return [
            Reservation(
                row["id"],
                row["user_id"],
                row["name"],
                tuple(json.loads(row["devices"])),
                instant(row["begins_at"]),
                instant(row["ends_at"]),
            )
            for row in self._db.rows(_STANDING, stamp(now))
        ]

    def cancel_reservation(self, number: int, actor: str, now: datetime) -> Reservation:
        """Keep these GPUs no longer; a lease that it led to stays. Raises NOT_FOUND when it is over."""
        with self._db.write():
            found = {each.id: each for each in self.reservations(now)}.get(number)
            if found is None:
                raise PlatformError(
                    Code.NOT_FOUND, f"There is no reservation {number}; see: gpuadmin reserve list"
                )
            self._db.change("update reservation set cancelled_at = ? where id = ?", stamp(now), number)
            self._event(now, actor, "reserve cancel", found.user, {"reservation": number})
            return found

    def extend(
        self, lease_id: int, length: timedelta | None, actor: str, now: datetime
    ) -> tuple[Lease, datetime]:
        """See Leases; also CONFLICT when its GPUs are reserved for somebody else before that."""
        with self._db.write():
            lease, before = super().extend(lease_id, length, actor, now)
            self._check_reservations(lease, lease.expires_at, now)
            return lease, before

    def _check_possible(self, request: DeviceRequest) -> None:
        """Raise what `choose` raises of a request, whoever holds what and whatever is out of order now."""
        choose([replace(device, problem=None, drained=None) for device in self.devices()], [], request)

    def _due(self, now: datetime) -> bool:
        """Whether a reservation has begun that nobody has been queued for."""
        return bool(self._begun(now))

    def _begun(self, now: datetime) -> list[tuple[int, Reservation]]:
        rows = {row["id"]: row for row in self._db.rows(_STANDING, stamp(now))}
        return [
            (each.id, each)
            for each in self.reservations(now)
            if each.begin <= now and rows[each.id]["request_id"] is None
        ]

    def _queue_reservations(self, now: datetime) -> None:
        """Put a request into the queue for each that has begun: its GPUs are free for that one alone."""
        profiles = profiles_of(self.devices())
        for number, each in self._begun(now):
            request = self._db.insert(
                "lease",
                {
                    "user_id": each.user_id,
                    "state": State.QUEUED.value,
                    "count": len(each.devices),
                    "length": max(1, int((each.end - now).total_seconds())),
                    "profile": profiles.get(each.devices[0]),
                    "asked_at": stamp(now),
                },
            )
            self._db.change("update reservation set request_id = ? where id = ?", request, number)
            self._event(now, "gateway", "queue", each.user, after={"request": request, "reservation": number})

    def _check_reservations(self, lease: Lease, end: datetime, now: datetime) -> None:
        """Raise CONFLICT when a lease that ends at `end` would keep its GPUs from somebody's reservation."""
        for each in self.reservations(now):
            late = each.begin < end + LAB.grace and each.end > now
            if late and each.user_id != lease.user_id and set(each.devices) & set(lease.devices):
                raise PlatformError(
                    Code.CONFLICT,
                    f"Lease {lease.id} cannot end at {format_instant(end)}: its GPUs are reserved for "
                    f"{each.user} from {format_instant(each.begin)}",
                    "extend it by less",
                )


def holding_of(lease: Lease) -> Holding:
    """A lease as the queue sees it."""
    return Holding(
        lease.id,
        lease.user_id,
        lease.user,
        lease.devices,
        lease.granted_at,
        lease.expires_at,
        lease.preemptible,
        lease.noticed_at is not None,
    )
