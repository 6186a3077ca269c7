"""A lab in simulated time: its GPUs and people, and the queue as the product plans it.

Whatever `plan` decides is done at once; leases end when their holders stop or their time is over. Owns the
clock of the simulation and the account of who held what. Decides nothing that the product decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction

from gateway.devices import Device
from gateway.quotas import Allowance
from gateway.scheduling import fairness
from gateway.scheduling.booking import LAB, Policy
from gateway.scheduling.fairness import Span, Use
from gateway.scheduling.queueing import Plan, plan
from gateway.scheduling.waiting import Entitlement, Holding, Request, Reservation


@dataclass(frozen=True)
class Quota:
    """What one person may hold."""

    gpus: int
    allowance: Allowance | None = None


@dataclass(frozen=True)
class Run:
    """A request that was granted: it may run until `end`, and does until `stop`."""

    request: Request
    devices: tuple[str, ...]
    begin: datetime
    end: datetime
    stop: datetime
    noticed: bool = False

    @property
    def gpus(self) -> Fraction:
        """What it counts: slices their sevenths."""
        return len(self.devices) * fairness.weigh(self.request.profile)

    def use(self, now: datetime) -> Use:
        """What it held until `now`."""
        span = Span(self.begin, min(self.stop, now))
        return Use(self.request.user_id, self.gpus, span)

    def seconds(self, since: datetime, until: datetime) -> float:
        """GPU-seconds that it held between two moments."""
        span = min(self.stop, until) - max(self.begin, since)
        return max(0.0, span.total_seconds()) * float(self.gpus)


class Lab:
    """`devices` and `quotas` by user id may be changed between two steps; `tick` is the longest time between
    two plans, none when None."""

    def __init__(
        self,
        devices: Sequence[Device],
        quotas: Mapping[int, Quota],
        now: datetime,
        policy: Policy = LAB,
        tick: timedelta | None = None,
        planner: Callable[..., Plan] = plan,
    ) -> None:
        self.devices = list(devices)
        self.quotas = dict(quotas)
        self.now = now
        self.policy = policy
        self.waiting: dict[int, Request] = {}
        self.running: dict[int, Run] = {}
        self.ended: list[Run] = []
        self.reservations: list[Reservation] = []
        self.plan = Plan((), (), ())
        self._tick = tick
        self._planner = planner
        self._lengths: dict[int, timedelta] = {}
        # Of runs that ended: what of them still counts, and since when.
        self._decayed: dict[int, tuple[float, datetime]] = {}

    def ask(self, request: Request, runs: timedelta | None = None) -> None:
        """Somebody asks now; once it is granted she stops after `runs`, or keeps it to the end."""
        self.waiting[request.id] = request
        self._lengths[request.id] = request.length if runs is None else min(runs, request.length)
        self.settle()

    def stop(self, request_id: int) -> None:
        """A holder gives back what she has."""
        self.running[request_id] = replace(self.running[request_id], stop=self.now)
        self.settle()

    def advance(self, until: datetime) -> None:
        """Let time pass; there is a plan whenever something could have changed."""
        while (moment := self._next()) is not None and moment <= until:
            self.now = moment
            self.settle()
        self.now = until

    def settle(self) -> None:
        """End what is over, plan, and do what the plan says."""
        for number in [number for number, run in self.running.items() if run.stop <= self.now]:
            self._end(self.running.pop(number))
        self.reservations = [kept for kept in self.reservations if kept.end > self.now]
        self.plan = self._planner(
            list(self.waiting.values()),
            self.devices,
            self.holdings(),
            self.reservations,
            self.usage(),
            {user_id: self.entitlement(user_id) for user_id in self.quotas},
            self.now,
            policy=self.policy,
        )
        for notice in self.plan.notices:
            run = self.running[notice.lease_id]
            self.running[notice.lease_id] = replace(
                run, end=notice.at, stop=min(run.stop, notice.at), noticed=True
            )
        for grant in self.plan.grants:
            request = self.waiting.pop(grant.request_id)
            end, stop = self.now + request.length, self.now + self._lengths.pop(request.id)
            self.running[request.id] = Run(request, grant.devices, self.now, end, stop)

    def holdings(self) -> list[Holding]:
        """The leases that have devices now."""
        return [
            Holding(
                number,
                run.request.user_id,
                run.request.user,
                run.devices,
                run.begin,
                run.end + self.policy.grace,
                run.request.preemptible,
                run.noticed,
            )
            for number, run in self.running.items()
        ]

    def usage(self) -> dict[int, float]:
        """Everybody's decayed GPU-seconds."""
        sums = fairness.by_user((run.use(self.now) for run in self.running.values()), self.now)
        for user_id, (seconds, since) in self._decayed.items():
            left = seconds * 0.5 ** ((self.now - since) / fairness.HALF_LIFE)
            sums[user_id] = sums.get(user_id, 0.0) + left
        return sums

    def entitlement(self, user_id: int) -> Entitlement:
        """Her quota, and what of it is spent."""
        quota = self.quotas[user_id]
        if quota.allowance is None:
            return Entitlement(quota.gpus)
        since = self.now - quota.allowance.window
        mine = [
            run
            for run in (*self.ended, *self.running.values())
            if run.request.user_id == user_id and not run.request.preemptible
        ]
        held = sum(run.seconds(since, self.now) for run in mine)
        to_come = sum(
            max(0.0, (run.end - self.now).total_seconds()) * float(run.gpus)
            for run in mine
            if run.request.id in self.running
        )
        return Entitlement(quota.gpus, quota.allowance, held + to_come)

    def _end(self, run: Run) -> None:
        self.ended.append(run)
        user_id = run.request.user_id
        seconds, since = self._decayed.get(user_id, (0.0, self.now))
        left = seconds * 0.5 ** ((self.now - since) / fairness.HALF_LIFE)
        self._decayed[user_id] = (left + fairness.decayed(run.use(self.now), self.now), self.now)

    def _next(self) -> datetime | None:
        """When something happens next, by itself."""
        moments = [run.stop for run in self.running.values()]
        moments += [moment for kept in self.reservations for moment in (kept.begin, kept.end)]
        starts = [standing.start for standing in self.plan.standings if standing.start is not None]
        moments += starts
        if any(run.request.preemptible for run in self.running.values()):
            moments += [start - self.policy.notice - self.policy.grace for start in starts]
        if self._tick is not None and self.waiting:
            moments.append(self.now + self._tick)
        return min((moment for moment in moments if moment > self.now), default=None)
