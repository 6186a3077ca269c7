"""Reservations: which GPUs can be kept for somebody from a moment on, for a time.

Owns that choice. Must not know SQL, the clock, or what becomes of a reservation when its time comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.devices import Device
from gateway.errors import Code, PlatformError
from gateway.scheduling.booking import LAB
from gateway.scheduling.kin import Kin
from gateway.scheduling.needs import taken
from gateway.scheduling.placement import choose
from gateway.scheduling.standing import shortage
from gateway.scheduling.timetable import later
from gateway.scheduling.waiting import Holding, Request, Reservation, links, sound, suits
from gateway.units import format_instant

# Nobody's id: her own earlier reservations keep GPUs from her as well.
_NOBODY = -1


def reserve(
    wanted: Request,
    devices: Sequence[Device],
    held: Sequence[Holding],
    reservations: Sequence[Reservation],
    begin: datetime,
    now: datetime,
) -> tuple[str, ...]:
    """The ids of the GPUs that are kept for `wanted` from `begin` on.

    They are free for as long as it asks, and for the grace before and after that: one that follows another
    begins in time. Raises NO_CAPACITY, naming what keeps them.
    """
    suited = sorted(
        (device for device in devices if suits(wanted, device)),
        key=lambda device: (device.node, device.index, device.id),
    )
    table = taken(held, reservations, now, Kin(devices))
    since, end = begin - LAB.grace, later(begin, wanted.length + LAB.grace)
    anybodys = replace(wanted, user_id=_NOBODY)
    best: tuple[str, ...] = ()
    for node in sorted({device.node for device in suited}):
        ids = [device.id for device in suited if device.node == node and sound(device)]
        free = table.free(ids, since, end, _NOBODY)
        if len(free) >= wanted.count and not best:
            best = choose(free, wanted.count, links(devices))
    if not best:
        raise PlatformError(
            Code.NO_CAPACITY,
            f"From {format_instant(begin)} on, {shortage(anybodys, suited, table, since, end)}",
            "reserve for another time, or see: gpuadmin reserve list",
        )
    return best
