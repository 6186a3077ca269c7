"""The plan as it grows: each request, in the order of the queue, is given its time and its devices.

Owns one request's turn: the first moment at which enough of the GPUs that suit it are free together for as
long as it asks and her quota allows it, held to before the next one is looked at (conservative backfill); and
which preemptible leases must end for it. Must not know the order of the queue, SQL or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from gateway.devices import Device, Health
from gateway.scheduling.kin import Kin
from gateway.scheduling.needs import Need, claimed, taken, time_of
from gateway.scheduling.ordering import TERMS, Term
from gateway.scheduling.placement import choose
from gateway.scheduling.preemption import fewest, reclaimable
from gateway.scheduling.purses import Purse
from gateway.scheduling.standing import of_request, shortage, unknown
from gateway.scheduling.timetable import Opening, Timetable, earliest, later
from gateway.scheduling.waiting import (
    Entitlement,
    Holding,
    Request,
    Reservation,
    held_weight,
    links,
    profiles_of,
    suits,
)
from gateway.units import format_instant


@dataclass(frozen=True)
class Policy:
    """What an operator could want otherwise: `terms` make the order; without `backfill` nobody begins before
    somebody who comes before her and could hold it. `grace` is how long GPUs stay taken after a lease's end,
    `notice` how long before its end the holder of a preemptible lease is told."""

    terms: tuple[Term, ...] = TERMS
    backfill: bool = True
    grace: timedelta = timedelta(minutes=10)
    notice: timedelta = timedelta(hours=1)


LAB = Policy()
"""What suits a lab that says nothing."""


@dataclass(frozen=True)
class Grant:
    """Request `request_id` is given `devices` now."""

    request_id: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """The preemptible lease `lease_id` is to end at `at`, for request `request_id`; its GPUs are free the
    grace later, as after any lease."""

    lease_id: int
    request_id: int
    at: datetime


class Book:
    """The plan as it grows: what is taken when, what of each quota is left, and what was decided."""

    def __init__(
        self,
        devices: Sequence[Device],
        held: Sequence[Holding],
        reservations: Sequence[Reservation],
        allowances: Mapping[int, Entitlement],
        now: datetime,
        policy: Policy,
    ) -> None:
        self._devices = sorted(devices, key=lambda device: (device.node, device.index, device.id))
        self._held = held
        self._reservations = reservations
        self._allowances = allowances
        self._now = now
        self._links = links(devices)
        self._profiles = profiles_of(devices)
        self._kin = Kin(devices)
        self._policy = policy
        self._table = taken(held, reservations, now, self._kin)
        self._purses: dict[int, Purse] = {}
        # Without backfill nothing begins before this.
        self._front = now
        self.grants: list[Grant] = []
        self.notices: list[Notice] = []

    def serve(self, request: Request) -> tuple[datetime | None, tuple[str, ...]]:
        """Give the next request in order its time: when it begins, and why not now."""
        suited = [device for device in self._devices if suits(request, device)]
        missing = unknown(request, suited)
        if missing is not None:
            return None, (missing,)
        need = Need(request, suited, self._profiles, self._policy.grace)
        purse = self._purse(request)
        if not request.preemptible:
            refusal = purse.never(need.weight, need.cost)
            if refusal is not None:
                return None, (refusal,)
            self._purses[request.user_id] = purse.promising(need.cost)
            if not purse.affords(need.cost):
                return None, (purse.short(need.cost),)
        opening = self._opening(need, purse, self._table)
        if opening is None:
            return None, (self._shortage(need),)
        if not request.preemptible and not purse.fits(need.weight, need.span(self._now)):
            # Her own quota keeps her, so nothing is kept for her: others are not held up by it.
            self._keep_purse(need, opening.begin)
            return opening.begin, (purse.full(need.weight, self._now),)
        return self._settle(need, purse, opening)

    def _settle(self, need: Need, purse: Purse, opening: Opening) -> tuple[datetime, tuple[str, ...]]:
        """Keep the devices of a request from when it can begin, and grant it when that is now."""
        request, reasons = need.request, []
        if opening.begin > self._now:
            reasons.append(self._shortage(need))
            if not request.preemptible:
                opening = self._reclaim(need, purse, opening)
            reasons += [_told(notice) for notice in self.notices if notice.request_id == request.id]
        chosen = choose(opening.free, request.count, self._links, self._ranks(request))
        span = need.span(opening.begin)
        claim = of_request(request, span.begin, span.end)
        self._table = claimed(self._table, chosen, claim, request.user_id, self._kin)
        self._keep_purse(need, opening.begin)
        if not self._policy.backfill:
            self._front = max(self._front, opening.begin)
        if opening.begin == self._now:
            self.grants.append(Grant(request.id, chosen))
        return opening.begin, tuple(reasons)

    def _ranks(self, request: Request) -> dict[str, int]:
        """Which devices are taken first and last: those that are reserved for her, and those that ail."""
        ailing = {device.id: 1 for device in self._devices if device.state is Health.DEGRADED}
        mine = (kept.devices for kept in self._reservations if kept.user_id == request.user_id)
        return ailing | dict.fromkeys(chain(*mine), -1)

    def _reclaim(self, need: Need, purse: Purse, opening: Opening) -> Opening:
        """An earlier opening where preemptible leases that are told now leave, else the one that there is."""
        at = later(self._now, self._policy.notice)
        free = later(at, self._policy.grace)
        ending = {notice.lease_id for notice in self.notices} | {
            held.id for held in self._held if held.noticed
        }
        leases = reclaimable(self._held, need.ids, ending, self._allowances, self._profiles)

        def without(some: tuple[int, ...]) -> Opening:
            return self._opening(need, purse, self._table.cut(some, free)) or opening

        best = without(leases)
        if best.begin >= opening.begin:
            return opening
        if best.begin <= free:
            leases = fewest(leases, lambda some: without(some).begin <= best.begin)
            self._table = self._table.cut(leases, free)
            self.notices += [Notice(lease, need.request.id, at) for lease in leases]
            best = without(leases)
        # Otherwise others keep it waiting longer than the notice takes: nobody need be told yet.
        return best

    def _opening(self, need: Need, purse: Purse, table: Timetable) -> Opening | None:
        """The first moment at which one machine and her quota have room for it; of several machines the one
        that has the least free besides."""
        moments = sorted({self._front, *table.ends(need.ids, self._front), *purse.ends(self._front)})
        request = need.request

        def allowed(moment: datetime) -> bool:
            return request.preemptible or purse.fits(need.weight, need.span(moment))

        found = [
            earliest(table, ids, request.count, need.length, request.user_id, moments, allowed)
            for ids in need.machines
        ]
        return min(
            (opening for opening in found if opening is not None),
            key=lambda opening: (opening.begin, len(opening.free)),
            default=None,
        )

    def _shortage(self, need: Need) -> str:
        span = need.span(self._now)
        return shortage(need.request, need.suited, self._table, span.begin, span.end)

    def _keep_purse(self, need: Need, begin: datetime) -> None:
        if not need.request.preemptible:
            user = need.request.user_id
            self._purses[user] = self._purses[user].holding(need.weight, need.span(begin))

    def _purse(self, request: Request) -> Purse:
        """The account of the person who asks, with what she holds within her quota."""
        user = request.user_id
        if user not in self._purses:
            purse = Purse(request.user, self._allowances.get(user, Entitlement(0)))
            for holding in self._held:
                if holding.user_id == user and not holding.preemptible:
                    span = time_of(holding, self._now)
                    purse = purse.holding(held_weight(holding, self._profiles), span)
            self._purses[user] = purse
        return self._purses[user]


def _told(notice: Notice) -> str:
    return f"the preemptible lease {notice.lease_id} ends for it at {format_instant(notice.at)}"
