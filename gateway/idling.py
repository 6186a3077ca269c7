"""Takes back what nobody uses: looks, tells, stops, holds and releases, a step at a time.

Owns the traces of what was seen, and the stops that are under way. Must not decide what is idle
(gateway.idleness), nor know how a look is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway import reminders
from gateway.broker import Broker
from gateway.clock import Clock
from gateway.desk import Desk
from gateway.idleness import Act, Idle, Stretch, Terms, advance, seen, stopped
from gateway.idlers import Patience, Place
from gateway.journal import explain, note
from gateway.leases import Lease
from gateway.settling import Settling
from gateway.signs import Look
from gateway.timekeeper import Timekeeper

SLOWEST = 10.0
QUICKEST = 1.0
"""Seconds between two looks: sixty a window, within these."""
_ACTOR = "gateway"

LookAtAll = Callable[[Sequence[Lease]], Awaitable[Mapping[int, Look]]]
"""A look at each workspace that runs or holds one of these leases, by its user."""


async def _see_nothing(leases: Sequence[Lease]) -> Mapping[int, Look]:
    return {}


@dataclass(frozen=True)
class _Case:
    """One user's workspace at one look: its terms, the window that decides, and the leases that it shows."""

    user_id: int
    terms: Terms
    window: timedelta
    leases: tuple[Lease, ...]
    now: datetime


class Idling:
    """The use case. `clock` tells real time beside the wall clock's."""

    def __init__(
        self,
        desk: Desk,
        broker: Broker,
        settling: Settling,
        timekeeper: Timekeeper,
        clock: Callable[[], Clock],
    ) -> None:
        self._desk = desk
        self._broker = broker
        self._settling = settling
        self._timekeeper = timekeeper
        self._clock = clock
        self._traces: dict[Place, tuple[Stretch, ...]] | None = None
        self._kept: dict[Place, datetime] = {}
        self._looked: timedelta | None = None
        self._partings: dict[int, tuple[asyncio.Future[None], Idle]] = {}
        self._stopping: dict[int, asyncio.Task[None]] = {}
        self.every = SLOWEST
        self.look: LookAtAll = _see_nothing

    async def attend(self) -> None:
        """Look once, and do what follows. Raises what the store and the engine raise; then nothing does."""
        held, patience, idle, contended = await self._desk.ask(
            lambda store: (store.held_leases(), store.patience(), store.idle(), store.contended())
        )
        self.every = _rhythm(patience)
        shown = [lease for lease in held if lease.live and lease.shown]
        looks = await self.look(shown)
        now, lasted = await self._timekeeper.now(), self._lasted()
        before, allowed = await self._known(), _terms(looks, patience)
        self._traces = {
            place: seen(before.get(place, ()), looks[place[0]], lasted, terms, now)
            for place, terms in allowed.items()
        }
        for (user_id, gpus), terms in allowed.items():
            look, trace = looks[user_id], self._traces[user_id, gpus]
            if user_id in self._stopping:
                self._reconsider(user_id, look, idle.get(user_id))
                continue
            mine = tuple(lease for lease in shown if lease.user_id == user_id)
            pressed = user_id in contended
            case = _Case(user_id, terms, terms.judged(pressed), mine, now)
            then, act = advance(idle.get(user_id), trace, look.running, pressed, terms, now)
            await self._follow(case, idle.get(user_id), then, act)
        await self._forget(idle, now)
        await self._keep(now)

    def close(self) -> None:
        """Stop nothing any more; the next gateway goes on."""
        for task in self._stopping.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """After `close`: nothing is under way any more that needs the store or the engine."""
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)

    async def _known(self) -> Mapping[Place, Sequence[Stretch]]:
        """What was seen so far: at first what an earlier gateway has kept."""
        if self._traces is None:
            found = await self._desk.ask(lambda store: store.traces())
            self._kept = {place: trace[-1].at for place, trace in found.items()}
            return found
        return self._traces

    def _lasted(self) -> timedelta:
        """The time since the look before, which counts as seen; no more of it than a look may be late."""
        before, self._looked = self._looked, self._clock().uptime
        most = timedelta(seconds=2 * self.every)
        return timedelta() if before is None else min(most, self._looked - before)

    async def _follow(self, case: _Case, idle: Idle | None, then: Idle | None, act: Act) -> None:
        """Do what follows.

        A lease ends before it is forgotten that it was idle: the other way round a gateway that dies in
        between would begin anew.
        """
        if act is Act.RELEASE and idle is not None and not await self._release(case, idle):
            return
        if then != idle:
            await self._desk.ask(lambda store: store.set_idle(case.user_id, then, case.now))
        if then is None:
            return
        if act in (Act.NOTICE, Act.WARN):
            until = then.stops_at(case.terms)
            self._broker.announce(case.user_id, reminders.reminder(act, case.terms.gpus, case.window, until))
            note("idle_told", user=case.user_id, step=then.step.value)
        elif act is Act.STOP:
            self._stopping[case.user_id] = asyncio.create_task(self._stop_reported(case, then))

    async def _release(self, case: _Case, idle: Idle) -> bool:
        """End what was held for her; False when she comes in just now, and nothing ends."""
        room = self._broker.room(case.user_id)
        if room.lock.locked() or room.link is not None:
            return False
        reason = reminders.why_released(case.terms.window, case.terms.hold)
        async with room.lock:
            for lease in case.leases:
                # One that she was granted since then is not what was idle.
                if lease.granted_at <= idle.at:
                    await self._expire(lease, reason, case.now)
        return True

    async def _expire(self, lease: Lease, reason: str, now: datetime) -> None:
        await self._desk.ask(lambda store: store.expire(lease.id, reason, _ACTOR, now))
        note("idle_released", lease=lease.id, user=lease.user_id)

    async def _stop_reported(self, case: _Case, idle: Idle) -> None:
        try:
            await self._stop(case, idle)
        except Exception as error:
            note("work_failed", work="idle", user=case.user_id, reason=explain(error).message)
        finally:
            del self._stopping[case.user_id]

    async def _stop(self, case: _Case, idle: Idle) -> None:
        """Let her programs save their work, and stop her container if it is still the one that was idle."""
        user_id, room = case.user_id, self._broker.room(case.user_id)
        link = room.link
        parting = asyncio.ensure_future(
            self._settling.part(user_id, reminders.why_stopped(case.terms.gpus, case.window))
        )
        self._partings[user_id] = parting, idle
        try:
            await asyncio.wait([parting])
        finally:
            del self._partings[user_id]
            parting.cancel()
        if parting.cancelled():
            return self._broker.announce(user_id, reminders.called_off())
        parting.result()
        async with room.lock:
            if room.link is link and await self._stands(case, idle):
                await self._stop_now(case, idle)

    async def _stands(self, case: _Case, idle: Idle) -> bool:
        """Whether she still holds what was idle, and has not held it off."""
        held, now = await self._desk.ask(lambda store: (store.held_leases(), store.idle()))
        mine = {lease.id for lease in case.leases}
        return mine <= {lease.id for lease in held if lease.live} and now.get(case.user_id) == idle

    async def _stop_now(self, case: _Case, idle: Idle) -> None:
        now = await self._timekeeper.now()
        then = stopped(idle, now)
        until = None if then is None else then.stops_at(case.terms)
        await self._broker.stop(case.user_id, reminders.why_stopped(case.terms.gpus, case.window, until))
        await self._desk.ask(lambda store: store.set_idle(case.user_id, then, now))
        note("idle_stopped", user=case.user_id, gpus=sum(len(lease.devices) for lease in case.leases))

    def _reconsider(self, user_id: int, look: Look, now: Idle | None) -> None:
        """Her programs save their work: when she comes meanwhile, or holds it off, nothing is stopped."""
        parting, idle = self._partings.get(user_id, (None, None))
        if parting is not None and (look.person or now != idle):
            parting.cancel()

    async def _forget(self, idle: Iterable[int], now: datetime) -> None:
        """What is not looked at any more, for nothing runs and nothing is held, is not idle."""
        looked = {user_id for user_id, _ in self._traces or ()}
        for user_id in set(idle) - looked:
            await self._forget_one(user_id, now)

    async def _forget_one(self, user_id: int, now: datetime) -> None:
        await self._desk.ask(lambda store: store.set_idle(user_id, None, now))

    async def _keep(self, now: datetime) -> None:
        """Write down the stretches that are over."""
        more = {}
        for place, trace in (self._traces or {}).items():
            since = self._kept.get(place)
            # A clock that was set back: what it said before is nothing to go by.
            over = [each for each in trace[:-1] if since is None or each.at > since or since > now]
            if over:
                more[place] = over
                self._kept[place] = over[-1].at
        if more:
            await self._desk.ask(lambda store: store.keep_traces(more, now))


def _terms(looks: Mapping[int, Look], patience: Mapping[int, Patience]) -> dict[Place, Terms]:
    """By which terms each workspace is judged that may not be idle for ever."""
    found = {}
    for user_id, look in looks.items():
        terms = patience[user_id].terms(bool(look.gpus)) if user_id in patience else None
        if terms is not None:
            found[user_id, terms.gpus] = terms
    return found


def _rhythm(patience: Mapping[int, Patience]) -> float:
    """Seconds between two looks: sixty in the shortest window."""
    terms = [each for one in patience.values() for each in (one.gpus, one.workspace) if each is not None]
    shortest = min((each.window.total_seconds() / 60 for each in terms), default=SLOWEST)
    return min(SLOWEST, max(QUICKEST, shortest))
