"""What a request comes to, and what is taken before anything is planned.

Owns these derivations: machines, weights, and the times that leases and reservations take. Must not know who
comes first, quotas or the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.devices import Device
from gateway.scheduling.fairness import Span
from gateway.scheduling.kin import Kin
from gateway.scheduling.standing import of_holding, of_reservation
from gateway.scheduling.timetable import Claim, Timetable, later
from gateway.scheduling.waiting import Holding, Profiles, Request, Reservation, sound, weight

# How soon a container that should have stopped is expected to have: never at once, or its GPUs were free.
_SOON = timedelta(minutes=1)


class Need:
    """What `request` comes to: where it could be met, for how long things are taken, and what it counts.

    `suited` are the devices that it is for, `machines` the ids of those that may be granted, machine by
    machine; `length` is with the time that they stay taken after its end, `cost` in GPU-seconds without.
    """

    def __init__(self, request: Request, suited: list[Device], profiles: Profiles, grace: timedelta) -> None:
        self.request = request
        self.suited = suited
        self.ids = frozenset(device.id for device in suited)
        self.length = request.length + grace
        self.weight = weight(request, suited, profiles)
        self.cost = float(self.weight) * request.length.total_seconds()
        nodes = sorted({device.node for device in suited})
        self.machines = [
            [device.id for device in suited if device.node == node and sound(device)] for node in nodes
        ]

    def span(self, begin: datetime) -> Span:
        """The time that is taken when it begins then."""
        return Span(begin, later(begin, self.length))


def time_of(holding: Holding, now: datetime) -> Span:
    """The time that a lease takes. Whatever the clock did: it holds its devices now."""
    return Span(min(holding.since, now), max(holding.until, now + _SOON))


def taken(held: Sequence[Holding], reservations: Sequence[Reservation], now: datetime, kin: Kin) -> Timetable:
    """What leases and reservations take at `now` and after."""
    table = Timetable({})
    for holding in held:
        span = time_of(holding, now)
        claim = of_holding(holding, span.begin, span.end, late=holding.until <= now)
        table = claimed(table, holding.devices, claim, holding.user_id, kin)
    for reservation in reservations:
        table = table.taking(kin.taken(reservation.devices), of_reservation(reservation))
    return table


def claimed(table: Timetable, ids: Sequence[str], claim: Claim, user_id: int, kin: Kin) -> Timetable:
    """The timetable once this user has the devices `ids` for the time of `claim`."""
    alone = replace(claim, who=f"{claim.who} a MIG slice, and nobody has two: not", only=user_id)
    return table.taking(kin.taken(ids), claim).taking(kin.excluded(ids), alone)
