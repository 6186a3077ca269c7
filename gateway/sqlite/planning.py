"""What a plan of the queue is made from, read from the database.

Owns that reading. Must not change anything, nor decide who is next: `gateway.scheduling.queueing` does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from gateway import quotas, usage
from gateway.scheduling import fairness
from gateway.scheduling.queueing import Plan, plan
from gateway.scheduling.waiting import Entitlement, Request
from gateway.sqlite.reservations import Reservations, holding_of
from gateway.sqlite.rows import instant

# What was held longer ago counts less than a thousandth.
_LATELY = 10 * fairness.HALF_LIFE
_WAITING = """
    select lease.*, user.name from lease join user on user.id = user_id
    where state = 'queued' and user.enabled = 1 order by lease.id
"""


class Planning(Reservations):
    """The part of the store that looks ahead."""

    def _plan(self, now: datetime, more: Sequence[Request] = ()) -> Plan:
        waiting = [*self._requests(), *more]
        held, devices = self.held_leases(), self.devices()
        people = {request.user_id for request in waiting} | {lease.user_id for lease in held}
        lately = [use for lease in self.leases(now - _LATELY) for use in usage.uses(lease, now)]
        return plan(
            waiting,
            devices,
            [holding_of(lease) for lease in held],
            self.reservations(now),
            fairness.by_user(lately, now),
            self._entitlements(people, now),
            now,
        )

    def _entitlements(self, people: Collection[int], now: datetime) -> dict[int, Entitlement]:
        found = {}
        for user_id in people:
            values = self._effective(user_id)
            allowed = quotas.allowance(values["gpu_hours"])
            spent = 0
            if allowed is not None:
                since = now - allowed.window
                mine = [
                    lease
                    for lease in self.leases(since)
                    if lease.user_id == user_id and not lease.preemptible
                ]
                spent = sum(
                    usage.gpu_seconds(lease, since, now) + usage.to_come(lease, now) for lease in mine
                )
            found[user_id] = Entitlement(values["gpus"], allowed, spent)
        return found

    def _requests(self) -> list[Request]:
        return [
            Request(
                id=row["id"],
                user_id=row["user_id"],
                user=row["name"],
                count=row["count"],
                length=timedelta(seconds=row["length"]),
                asked_at=instant(row["asked_at"]),
                priority=self._effective(row["user_id"])["priority"],
                ids=tuple(json.loads(row["ids"])),
                model=row["model"],
                profile=row["profile"],
                preemptible=bool(row["preemptible"]),
            )
            for row in self._db.rows(_WAITING)
        ]

    def _somebody_waits(self) -> bool:
        return bool(self._db.rows(_WAITING))
