"""The queue: who is granted which GPUs now, and when everybody else may expect hers.

Owns the plan. In the order of the queue (ordering.py) each request is given its time (booking.py): what comes
later may begin earlier, but delays nothing that comes before it. A plan is made anew from what is true, and
remembers nothing. Must not know SQL, containers, NVML or the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.devices import Device
from gateway.scheduling.booking import LAB, Book, Grant, Notice, Policy
from gateway.scheduling.ordering import Queue, lines, order
from gateway.scheduling.standing import Standing
from gateway.scheduling.timetable import FOREVER
from gateway.scheduling.waiting import Entitlement, Holding, Request, Reservation, profiles_of


@dataclass(frozen=True)
class Plan:
    """What is to be done now, and the `standings` of all that wait, the granted ones included, in order."""

    grants: tuple[Grant, ...]
    notices: tuple[Notice, ...]
    standings: tuple[Standing, ...]


def plan(
    waiting: Sequence[Request],
    devices: Sequence[Device],
    held: Sequence[Holding],
    reservations: Sequence[Reservation],
    usage: Mapping[int, float],
    allowances: Mapping[int, Entitlement],
    now: datetime,
    *,
    policy: Policy = LAB,
) -> Plan:
    """Decide what is granted at `now` and when the rest may begin.

    `held` are all leases that have devices, those that should be over included; `usage` the decayed
    GPU-seconds by user id (fairness.py); `allowances` everybody's quota by user id: who has none may
    hold nothing.

    The same input gives the same plan, in whatever order it is listed.
    """
    book = Book(devices, held, reservations, allowances, now, policy)
    queue = Queue(waiting, usage, _reserved(waiting, devices, held, reservations, now), now)
    standings = []
    for place, request in enumerate(order(queue, policy.terms), 1):
        start, reasons = book.serve(request)
        begin = None if start == FOREVER else start
        standings.append(Standing(request.id, place, begin, lines(request, queue, policy.terms), reasons))
    return Plan(tuple(book.grants), tuple(book.notices), tuple(standings))


def _reserved(
    waiting: Sequence[Request],
    devices: Sequence[Device],
    held: Sequence[Holding],
    reservations: Sequence[Reservation],
    now: datetime,
) -> set[int]:
    """The requests that reservations in force are for: of each person's, the oldest with room there.

    A reserved slice makes room for a slice of its profile alone, a GPU for GPUs.
    """
    hers = {(holding.user_id, device) for holding in held for device in holding.devices}
    profiles = profiles_of(devices)
    room = {
        (reservation.user_id, device)
        for reservation in reservations
        if reservation.begin <= now < reservation.end
        for device in reservation.devices
    }
    left = Counter((user, profiles.get(device)) for user, device in room - hers)
    found = set()
    for request in sorted(waiting, key=lambda request: (request.asked_at, request.id)):
        kind = request.user_id, request.profile
        if not request.preemptible and request.count <= left[kind]:
            left[kind] -= request.count
            found.add(request.id)
    return found
