"""Where a request stands, told in sentences: its place, when it may begin, and what it waits for.

Owns those words. Must not know how a plan is made, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from gateway.devices import Device
from gateway.scheduling.timetable import Claim, Timetable
from gateway.scheduling.waiting import Holding, Request, Reservation, sound
from gateway.units import format_instant


@dataclass(frozen=True)
class Standing:
    """Request `request_id` is number `place` of all that wait, counted from 1, and can begin at `start`.

    `start` holds when everybody who holds something keeps it to the end, and nobody with more right comes; it
    is None when there is no such moment: nothing that is known would make it one. `terms` says why it stands
    there, `reasons` why it does not begin now, a line each; there are none for what begins now.
    """

    request_id: int
    place: int
    start: datetime | None
    terms: tuple[str, ...]
    reasons: tuple[str, ...] = ()


def of_holding(holding: Holding, begin: datetime, end: datetime, late: bool) -> Claim:
    """The claim of a lease; `late` when it should be over."""
    when = "until its container has stopped" if late else f"until {format_instant(end)}"
    kind = " (preemptible)" if holding.preemptible else ""
    return Claim(begin, end, f"{holding.user} holds", when + kind, lease=holding.id)


def of_reservation(reservation: Reservation) -> Claim:
    """The claim of a reservation; it keeps nothing from the person that it is for."""
    when = f"from {format_instant(reservation.begin)} until {format_instant(reservation.end)}"
    return Claim(
        reservation.begin,
        reservation.end,
        f"a reservation of {reservation.user} has",
        when,
        owner=reservation.user_id,
    )


def of_request(request: Request, begin: datetime, end: datetime) -> Claim:
    """The claim of a request that comes before others."""
    when = f"from {format_instant(begin)}"
    return Claim(begin, end, f"request {request.id} of {request.user}, which comes before, has", when)


def unknown(request: Request, devices: Sequence[Device]) -> str | None:
    """Why no machine could ever give what is asked for, of the `devices` that suit; None when one could."""
    most = max(_by_machine(devices), default=0)
    if request.count <= most:
        return None
    kind = f" of the model {request.model!r}" if request.model else ""
    kind += f" of the profile {request.profile}" if request.profile else ""
    kind += f" among {', '.join(request.ids)}" if request.ids else ""
    return f"{_wanted(request)} and the largest machine has {most}{kind}"


def shortage(
    request: Request, devices: Sequence[Device], table: Timetable, begin: datetime, end: datetime
) -> str:
    """What keeps the `devices` that suit from `request` between `begin` and `end`; of several things that
    keep one device, the first."""
    free = []
    kept: dict[tuple[str, str], list[Device]] = {}
    broken = []
    for device in devices:
        obstacles = table.obstacles(device.id, begin, end, request.user_id)
        claim = min(obstacles, key=lambda claim: claim.begin, default=None)
        if not sound(device):
            broken.append(_broken(device))
        elif claim is None:
            free.append(device)
        else:
            kept.setdefault((claim.who, claim.when), []).append(device)
    reasons = chain((f"{who} {_names(some)} {when}" for (who, when), some in kept.items()), broken)
    most = max(_by_machine(free), default=0)
    there = " on one machine" if len({device.node for device in devices}) > 1 else ""
    return f"{_wanted(request)} and {most} {'is' if most == 1 else 'are'} free{there}: {'; '.join(reasons)}"


def _wanted(request: Request) -> str:
    return f"{request.count} {'GPU is' if request.count == 1 else 'GPUs are'} wanted"


def _by_machine(devices: Sequence[Device]) -> list[int]:
    nodes = [device.node for device in devices]
    return [nodes.count(node) for node in set(nodes)]


def _names(devices: Sequence[Device]) -> str:
    return " and ".join(device.name for device in devices)


def _broken(device: Device) -> str:
    if device.problem is not None:
        return f"{device.name} is out of order ({device.problem})"
    return f"{device.name} is drained{f' ({device.drained})' if device.drained else ''}"
