"""The queue while time passes: whatever people do, nothing is given twice, and everybody gets her turn."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.devices import Device, Hardware
from gateway.quotas import Allowance
from gateway.scheduling.booking import Policy
from gateway.scheduling.queueing import plan
from gateway.scheduling.waiting import Request, Reservation
from tests.support.lab import Lab, Quota
from tests.support.queues import HOUR, PEOPLE, gpus, sliced, user_id
from tests.support.stores import NOW

WEEK = timedelta(days=7)
GPUS = 4
SLICES = ("1g.10gb", "1g.10gb", "3g.40gb")
LONGEST = 12
POLICY = Policy(grace=timedelta(minutes=10))
# All may have different things: one GPU, all of them, some with so many GPU-hours a week.
QUOTAS = {
    "alice": Quota(1),
    "bob": Quota(2, Allowance(40 * 3600, WEEK)),
    "carol": Quota(GPUS),
    "dan": Quota(3, Allowance(60 * 3600, WEEK)),
}
HOURS = st.integers(1, LONGEST)
NAMES = st.sampled_from(sorted(QUOTAS))


def machine() -> list[Device]:
    """Four GPUs, and one that is divided, before its slices."""
    return [*gpus(GPUS), *sliced(GPUS, *SLICES)]


class Watched(Lab):
    """A lab in which, from one plan to the next, who is first is not put off: she begins when she was told,
    or earlier, unless her own quota keeps her, or somebody's quota covers again what was to end for her."""

    first: tuple[int, datetime] | None = None

    def settle(self) -> None:
        stopping = {run.request.user_id for run in self.running.values() if run.stop <= self.now}
        if any(run.request.preemptible and run.request.user_id in stopping for run in self.running.values()):
            # Who holds less may keep what is preemptible: nobody can count on its end any more.
            self.first = None
        super().settle()
        standing = next(iter(self.plan.standings), None)
        told, self.first = self.first, None
        if standing is None or standing.request_id not in self.waiting or "may hold" in standing.reasons[0]:
            return
        if told is not None and told[0] == standing.request_id:
            assert standing.start is not None
            assert standing.start <= told[1]
        if standing.start is not None:
            self.first = (standing.request_id, standing.start)


class Queue(RuleBasedStateMachine):
    """Four GPUs, a fifth in slices, and four people, for some days."""

    def __init__(self) -> None:
        super().__init__()
        quotas = {user_id(name): quota for name, quota in QUOTAS.items()}
        self.lab = Watched(machine(), quotas, NOW, POLICY, tick=6 * HOUR)
        self.number = 0

    @rule(name=NAMES, count=st.integers(1, GPUS), length=HOURS, runs=HOURS, priority=st.integers(0, 2))
    def ask(self, name: str, count: int, length: int, runs: int, priority: int) -> None:
        self._ask(name, min(count, QUOTAS[name].gpus), length, runs, priority=priority)

    @rule(name=NAMES, profile=st.sampled_from(SLICES), length=HOURS, runs=HOURS, above=st.booleans())
    def ask_for_a_slice(self, name: str, profile: str, length: int, runs: int, above: bool) -> None:
        self._ask(name, 1, length, runs, profile=profile, preemptible=above)

    @rule(name=NAMES, count=st.integers(1, GPUS), length=HOURS)
    def ask_above_quota(self, name: str, count: int, length: int) -> None:
        self._ask(name, count, length, length, preemptible=True)

    def _ask(self, name: str, count: int, length: int, runs: int, **more: int | str) -> None:
        self.number += 1
        request = Request(
            self.number,
            user_id(name),
            name,
            count,
            length * HOUR,
            self.lab.now,
            **more,  # type: ignore[arg-type]
        )
        self.lab.ask(request, runs * HOUR)

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.lab.advance(self.lab.now + hours * HOUR)

    @precondition(lambda self: self.lab.running)
    @rule(data=st.data())
    def somebody_stops(self, data: st.DataObject) -> None:
        self.lab.stop(data.draw(st.sampled_from(sorted(self.lab.running))))

    @precondition(lambda self: self.lab.waiting)
    @rule(data=st.data())
    def somebody_goes(self, data: st.DataObject) -> None:
        del self.lab.waiting[data.draw(st.sampled_from(sorted(self.lab.waiting)))]
        self.lab.settle()

    @rule(name=NAMES, device=st.integers(0, GPUS - 1), begin=st.integers(0, 40), length=HOURS)
    def reserve(self, name: str, device: int, begin: int, length: int) -> None:
        start = self.lab.now + begin * HOUR
        kept = Reservation(
            len(PEOPLE) + self.number, user_id(name), name, (f"l{device}",), start, start + length * HOUR
        )
        others = [
            *((run.devices, run.begin, run.end + POLICY.grace) for run in self.lab.running.values()),
            *((other.devices, other.begin, other.end) for other in self.lab.reservations),
        ]
        # As the product: what is promised already is not taken back.
        if not any(
            kept.devices[0] in devices and at < kept.end and kept.begin < end for devices, at, end in others
        ):
            self.lab.reservations.append(kept)
            self.lab.first = None
            self.lab.settle()

    @rule(device=st.integers(0, GPUS + len(SLICES)), problem=st.sampled_from([None, "Xid 79"]))
    def ail_or_recover(self, device: int, problem: str | None) -> None:
        self.lab.devices[device] = replace(self.lab.devices[device], problem=problem)
        self.lab.first = None
        self.lab.settle()

    @rule()
    def divide_or_join(self) -> None:
        """An operator switches MIG on or off under whoever holds the GPU, or a slice of it."""
        whole = self.lab.devices[GPUS]
        divided = replace(whole, hardware=Hardware(mig=not whole.hardware.mig))
        self.lab.devices[GPUS] = divided
        self.lab.first = None
        self.lab.settle()

    @invariant()
    def no_gpu_is_held_as_a_whole_and_in_parts(self) -> None:
        held = {device for run in self.lab.running.values() for device in run.devices}
        parents = {device.part.parent for device in self.lab.devices if device.part and device.id in held}
        assert held.isdisjoint(parents)

    @invariant()
    def nobody_has_two_slices(self) -> None:
        holders = [run.request.user_id for run in self.lab.running.values() if run.request.profile]
        assert len(holders) == len(set(holders))

    @invariant()
    def what_is_granted_is_what_was_asked_for(self) -> None:
        profiles = {device.id: device.profile for device in self.lab.devices}
        for run in self.lab.running.values():
            assert {profiles[device] for device in run.devices} == {run.request.profile}

    @invariant()
    def no_device_has_two_holders(self) -> None:
        held = [device for run in self.lab.running.values() for device in run.devices]
        assert len(held) == len(set(held))

    @invariant()
    def what_is_granted_is_sound_complete_and_nobody_elses(self) -> None:
        for grant in self.lab.plan.grants:
            run = self.lab.running.get(grant.request_id)
            if run is None or run.begin != self.lab.now:
                continue
            assert len(set(run.devices)) == run.request.count
            for kept in self.lab.reservations:
                apart = kept.end <= run.begin or run.end + POLICY.grace <= kept.begin
                mine = kept.user_id == run.request.user_id
                assert apart or mine or set(run.devices).isdisjoint(kept.devices)
            problems = {device.id for device in self.lab.devices if device.problem}
            assert problems.isdisjoint(run.devices)

    @invariant()
    def nobody_has_more_than_her_quota(self) -> None:
        for user in self.lab.quotas:
            mine = [
                run
                for run in self.lab.running.values()
                if run.request.user_id == user and not run.request.preemptible
            ]
            assert sum(run.gpus for run in mine) <= self.lab.quotas[user].gpus

    @invariant()
    def no_budget_is_negative(self) -> None:
        for user, quota in self.lab.quotas.items():
            if quota.allowance is not None:
                assert self.lab.entitlement(user).spent <= quota.allowance.gpu_seconds

    @invariant()
    def nobody_is_told_to_end_what_her_quota_gives_her(self) -> None:
        told = {notice.lease_id for notice in self.lab.plan.notices}
        for user, quota in self.lab.quotas.items():
            mine = {n: run for n, run in self.lab.running.items() if run.request.user_id == user}
            left = sum(run.gpus for run in mine.values() if not run.noticed)
            if told & mine.keys():
                assert left >= quota.gpus
        for number in told:
            assert self.lab.running[number].request.preemptible

    @invariant()
    def what_comes_later_delays_nothing_before_it(self) -> None:
        """Each start is the same when all that come after it are not there. Nor does it matter in which order
        anything is listed."""
        lab, standings = self.lab, self.lab.plan.standings
        waiting = [standing for standing in standings if standing.request_id in lab.waiting]
        if not waiting:
            return
        made = plan(*self._state(list(lab.waiting.values())), policy=POLICY)
        assert made == plan(*self._state(list(lab.waiting.values()), backwards=True), policy=POLICY)
        for last, standing in enumerate(made.standings):
            before = [lab.waiting[other.request_id] for other in made.standings[: last + 1]]
            alone = plan(*self._state(before), policy=POLICY).standings[-1]
            assert (alone.request_id, alone.start) == (standing.request_id, standing.start)

    def _state(self, waiting: list[Request], *, backwards: bool = False) -> tuple[Any, ...]:
        lab = self.lab
        quotas = {user: lab.entitlement(user) for user in lab.quotas}
        turn = -1 if backwards else 1
        lists = (some[::turn] for some in (waiting, lab.devices, lab.holdings(), lab.reservations))
        return *lists, lab.usage(), quotas, lab.now

    def teardown(self) -> None:
        """When nobody else comes, everybody who waits gets her turn: after the time that those before her may
        take, and a window for her budget."""
        self.lab.devices, self.lab.first = machine(), None
        turns = len(self.lab.waiting) + len(self.lab.running) + len(self.lab.reservations) + 1
        bound = turns * (LONGEST * HOUR + POLICY.grace + POLICY.notice) + 40 * HOUR
        budgets = len(self.lab.waiting) * (WEEK + LONGEST * HOUR)
        self.lab.advance(self.lab.now + bound + budgets)
        assert self.lab.waiting == {}


Queue.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestQueue = Queue.TestCase
