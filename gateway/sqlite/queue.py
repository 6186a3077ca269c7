"""The queue for GPUs in the database: who waits, and what everybody is granted, in one transaction each.

Owns the rows of requests and how a plan of `gateway.scheduling` is carried out. Must not decide who is next,
nor tell anybody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from gateway import quotas, usage
from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Change, Lease, State
from gateway.scheduling.choosing import choose, complete
from gateway.scheduling.fairness import weigh
from gateway.scheduling.queueing import Plan
from gateway.scheduling.standing import Standing
from gateway.scheduling.waiting import Request
from gateway.sqlite.planning import Planning
from gateway.sqlite.rows import Facts, stamp
from gateway.store import Served, Waiting
from gateway.users import User


class Queue(Planning):
    """The queue's part of the store."""

    def grant(
        self, name: str, request: DeviceRequest, length: timedelta | None, actor: str, now: datetime
    ) -> Lease:
        """A lease of devices for user `name`, for `length` or what her quota `lease` says.

        All in one transaction, so that of several at once exactly one gets the last device; nothing is
        changed when it cannot be granted now. Raises NOT_FOUND, CONFLICT for a disabled user,
        QUOTA_EXCEEDED, NO_CAPACITY also when it would delay somebody who waits, and what `choose` raises.
        """
        with self._db.write():
            user, values = self._entitled(name)
            mine = [lease for lease in self.held_leases() if lease.user_id == user.id]
            held = sum((lease.gpus for lease in mine if not lease.preemptible), Fraction(0))
            request = complete(self.devices(), request)
            wanted = request.count * weigh(request.profile)
            quotas.check(name, values, held, wanted)
            time = self._length(values, length)
            self._check_hours(user, wanted, time, now)
            choose(self.devices(), self.held_leases(), request)
            outcome = self._ask(user, request, time, actor, now, preemptible=False)
            if isinstance(outcome, Lease):
                return outcome
            raise PlatformError(
                Code.NO_CAPACITY,
                f"Nobody who comes first may be passed: {'; '.join(outcome.standing.reasons)}",
                "ask again with --queue, or see who waits: gpuadmin leases",
            )

    def queue(
        self,
        name: str,
        request: DeviceRequest,
        length: timedelta | None,
        actor: str,
        now: datetime,
        *,
        preemptible: bool = False,
    ) -> Lease | Waiting:
        """The same, or a place in the queue when it cannot be granted now.

        A `preemptible` lease counts against no quota, and ends with notice when somebody within hers waits.
        Raises what `grant` raises, NO_CAPACITY excepted: what can never be granted is not queued.
        """
        with self._db.write():
            user, values = self._entitled(name)
            time = self._length(values, length)
            request = complete(self.devices(), request)
            wanted = request.count * weigh(request.profile)
            if not preemptible:
                quotas.check(name, values, 0, wanted)
                allowed = quotas.allowance(values["gpu_hours"])
                usage.check(name, allowed, [], wanted, time, now)
            self._check_possible(request)
            return self._ask(user, request, time, actor, now, preemptible=preemptible)

    def serve(self, now: datetime) -> Served:
        """Grant what can be granted now to who waits, in the order of the queue.

        Asking costs one look when nobody waits.
        """
        if not self._somebody_waits() and not self._due(now):
            return Served((), ())
        with self._db.write():
            self._queue_reservations(now)
            return self._carry_out(self._plan(now), now)

    def waiting(self, now: datetime) -> list[Waiting]:
        """Everybody who waits, in the order of the queue."""
        with self._db.read():
            requests = {request.id: request for request in self._requests()}
            return [
                Waiting(requests[standing.request_id], standing) for standing in self._plan(now).standings
            ]

    def prospect(self, name: str, now: datetime) -> Standing:
        """Where user `name` would stand if she asked for one GPU now. Raises NOT_FOUND."""
        with self._db.read():
            user = self._user(name)
            values = self._effective(user.id)
            request = Request(
                0, user.id, name, 1, self._length(values, None), now, priority=values["priority"]
            )
            standings = self._plan(now, [request]).standings
            return next(standing for standing in standings if standing.request_id == request.id)

    def _entitled(self, name: str) -> tuple[User, dict[str, int]]:
        user = self._user(name)
        if not user.enabled:
            raise PlatformError(Code.CONFLICT, f"{name} is disabled; first run: gpuadmin user enable {name}")
        return user, self._effective(user.id)

    def _length(self, values: dict[str, int], length: timedelta | None) -> timedelta:
        return timedelta(seconds=values["lease"]) if length is None else length

    def _ask(
        self,
        user: User,
        request: DeviceRequest,
        length: timedelta,
        actor: str,
        now: datetime,
        *,
        preemptible: bool,
    ) -> Lease | Waiting:
        """Put a request at its place and serve the queue: a lease when it was granted by that."""
        request_id = self._db.insert(
            "lease",
            {
                "user_id": user.id,
                "state": State.QUEUED.value,
                "count": request.count,
                "length": int(length.total_seconds()),
                "ids": json.dumps(request.ids),
                "model": request.model,
                "profile": request.profile,
                "preemptible": int(preemptible),
                "asked_at": stamp(now),
            },
        )
        planned = self._plan(now)
        granted = {lease.id: lease for lease in self._carry_out(planned, now, actor).granted}
        if request_id in granted:
            return granted[request_id]
        asked: Facts = {"request": request_id, "gpus": request.count, "seconds": int(length.total_seconds())}
        self._event(now, actor, "queue", user.name, after=asked)
        standing = next(each for each in planned.standings if each.request_id == request_id)
        return Waiting(next(each for each in self._requests() if each.id == request_id), standing)

    def _carry_out(self, planned: Plan, now: datetime, actor: str = "gateway") -> Served:
        granted = [self._grant(grant.request_id, grant.devices, actor, now) for grant in planned.grants]
        noticed = [
            self._notice(notice.lease_id, notice.request_id, notice.at, now) for notice in planned.notices
        ]
        return Served(tuple(granted), tuple(noticed))

    def _grant(self, request_id: int, devices: Sequence[str], actor: str, now: datetime) -> Lease:
        row = self._db.rows("select length from lease where id = ?", request_id)[0]
        expires_at = now + timedelta(seconds=row["length"])
        times = {"granted_at": stamp(now), "expires_at": stamp(expires_at)}
        self._change(request_id, Change.GRANT, "Its devices are chosen.", actor, now, times)
        self._db.table("lease_device").insert_all(
            {"lease_id": request_id, "device_id": device, "released_at": None} for device in devices
        )
        lease = self.lease(request_id)
        if actor == lease.user:
            # She asked for it, and reads the answer.
            self.told(request_id, False, now)
        after: Facts = {"lease": lease.id, "devices": list(devices), "expires_at": stamp(expires_at)}
        self._event(now, actor, "allocate", lease.user, after=after)
        return lease

    def _notice(self, lease_id: int, request_id: int, at: datetime, now: datetime) -> Lease:
        """End a preemptible lease at `at`, or at its own time when that is earlier, for a request."""
        before = self.lease(lease_id)
        end = min(before.expires_at, at)
        self._db.change(
            "update lease set noticed_at = ?, expires_at = ? where id = ?", stamp(now), stamp(end), lease_id
        )
        was: Facts = {"expires_at": stamp(before.expires_at)}
        self._event(
            now,
            "gateway",
            "preempt",
            f"lease {lease_id} of {before.user}",
            was,
            {"expires_at": stamp(end)},
            f"Request {request_id} waits for its GPUs.",
        )
        return self.lease(lease_id)
