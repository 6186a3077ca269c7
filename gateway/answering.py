"""Answers `gpu`, typed on an ssh command line or run inside a workspace.

Owns the order of steps, and how much of the broker one user may keep busy. Who she is the caller knows: her
connection's ticket, or the container that it was asked from. Must not know SSH, sockets or SQL.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial

from gateway import asking, reminders, telling
from gateway.asking import Apply, Extend, Help, History, Later, Question, Release, Request, Status
from gateway.desk import Desk
from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.journal import explain
from gateway.leases import Lease
from gateway.questions import Say
from gateway.scheduling.standing import Standing
from gateway.throttle import Throttle
from gateway.timekeeper import Timekeeper

STATUS = {
    Code.NOT_FOUND: 1,
    Code.CONFLICT: 1,
    Code.QUOTA_EXCEEDED: 1,
    Code.INTERNAL: 1,
    Code.INVALID: 2,
    Code.NO_CAPACITY: 75,
    Code.UNAVAILABLE: 75,
    Code.DENIED: 77,
}
"""1: refused by the state of things; 2: cannot be parsed; 75 and 77 as in sysexits.h."""
HISTORY = timedelta(days=30)
MOST_SHOWN = 200
"""Leases in a history: the newest."""
MOST_AT_ONCE = 8
"""Questions of one user that wait for their turn; only one is being answered."""
MOST_CHANGES = 30
"""Changes that one user may ask for within CHANGES_WITHIN, refused ones too: each writes to the disk."""
CHANGES_WITHIN = timedelta(minutes=1)
FREED_WITHIN = 30.0
"""Seconds that a release waits for its devices to be free; they will be, but nobody waits for that."""
LOOK_EVERY = 0.1
WAIT_LOOK_EVERY = 1.0
"""Seconds between looks at a request that waits."""

Rest = Callable[[], Awaitable[None]]
LookAt = Callable[[int], Awaitable[None]]
"""Looks whether a user's container shows the GPUs that she holds, before she is answered about that."""

_ADVICE = {
    Code.NO_CAPACITY: "ask again later, or wait with gpu request --wait",
    Code.QUOTA_EXCEEDED: "ask for less, give a lease back with gpu release, or ask your operator",
}
"""What she can do herself, where the sentence has advice for operators."""


class Answering:
    """The use case. `running` tells whose containers run."""

    def __init__(self, desk: Desk, timekeeper: Timekeeper, running: Callable[[], set[int]]) -> None:
        self._desk = desk
        self._timekeeper = timekeeper
        self._running = running
        self._turns: dict[int, asyncio.Lock] = {}
        self._asking: Counter[int] = Counter()
        self._changes = Throttle(MOST_CHANGES, CHANGES_WITHIN)
        self._closing = False
        self._leaving: set[asyncio.Task[None]] = set()
        self.look_at: LookAt = _nothing_to_see

    def close(self) -> None:
        """The gateway ends: whoever waits in the queue keeps her place, though nobody tells her of it."""
        self._closing = True

    async def answer(self, user_id: int, words: Sequence[str], say: Say) -> int:
        """Answer user `user_id` who typed `gpu` and these words: the exit status. Raises nothing."""
        try:
            question = asking.parse(words)
            if self._asking[user_id] >= MOST_AT_ONCE:
                raise PlatformError(Code.UNAVAILABLE, "Too much is asked at once; ask again")
            self._asking[user_id] += 1
            try:
                rest = await self._in_turn(user_id, question, say)
                if rest is not None:
                    await rest()
            finally:
                self._asking[user_id] -= 1
        except Exception as error:
            known = explain(error)
            say(f"{asking.PROGRAM}: {_sentence(known)}\n", True)
            return STATUS[known.code]
        return 0

    async def _in_turn(self, user_id: int, question: Question, say: Say) -> Rest | None:
        """Answer when it is her turn: what is left to wait for, while others of her questions have theirs."""
        async with self._turns.setdefault(user_id, asyncio.Lock()):
            match question:
                case Help():
                    say(question.text, False)
                case Status():
                    await self._status(user_id, question.as_json, say)
                case History():
                    await self._history(user_id, question.as_json, say)
                case Request(wait=True):
                    return await self._line_up(user_id, question, say)
                case Request():
                    await self._request(user_id, question, say)
                case Extend():
                    await self._extend(user_id, question, say)
                case Release():
                    return await self._release(user_id, question, say)
                case Apply():
                    await self._apply(user_id, say)
                case Later():
                    await self._put_off(user_id, question, say)
        return None

    async def _status(self, user_id: int, as_json: bool, say: Say) -> None:
        now = await self._timekeeper.now()
        user, held, requests, devices, restart, idlers = await self._desk.ask(
            lambda store: (
                store.person(user_id),
                store.held_leases(),
                store.requests_of(user_id, now),
                store.devices(),
                store.restart_of(user_id),
                store.idlers(),
            )
        )
        idle = idlers.get(user_id)
        records = telling.status(user_id, held, requests, devices, now, restart, idle)
        say(telling.as_json(records) if as_json else telling.status_in_words(user.name, records), False)

    async def _history(self, user_id: int, as_json: bool, say: Say) -> None:
        now = await self._timekeeper.now()
        since = now - HISTORY
        leases, devices = await self._desk.ask(
            lambda store: (store.leases_of(user_id, since, MOST_SHOWN), store.devices())
        )
        records = telling.history(leases, devices, since, now)
        say(telling.as_json(records) if as_json else telling.history_in_words(records), False)

    async def _request(self, user_id: int, question: Request, say: Say) -> None:
        now = await self._changing(user_id)
        request = DeviceRequest(question.count, model=question.model, profile=question.profile)
        lease = await self._desk.ask(lambda store: store.request(user_id, request, question.length, now))
        await self._tell_grant(user_id, lease, say)

    async def _line_up(self, user_id: int, question: Request, say: Say) -> Rest | None:
        now = await self._changing(user_id)
        request = DeviceRequest(question.count, model=question.model, profile=question.profile)
        asked = asyncio.ensure_future(
            self._desk.ask(lambda store: store.line_up(user_id, request, question.length, now))
        )
        try:
            outcome = await asyncio.shield(asked)
        except asyncio.CancelledError:
            # It is being written down all the same.
            await self._finish(self._leave(user_id, asked))
            raise
        if isinstance(outcome, Lease):
            await self._tell_grant(user_id, outcome, say)
            return None
        return partial(self._wait, user_id, outcome, say)

    async def _wait(self, user_id: int, standing: Standing, say: Say) -> None:
        """Wait until a request is granted, telling its place; who hangs up waits no more."""
        outcome: Lease | Standing | None = standing
        told: Standing | None = None
        try:
            while isinstance(outcome, Standing):
                if told is None or telling.is_news(told, outcome):
                    say(telling.place(outcome), True)
                    told = outcome
                await asyncio.sleep(WAIT_LOOK_EVERY)
                outcome = await self._outlook(user_id, standing.request_id)
        except asyncio.CancelledError:
            # A gateway that ends keeps the queue as it is.
            if not self._closing:
                await self._finish(self._step_out(user_id, standing.request_id))
            raise
        if outcome is None:
            raise PlatformError(Code.CONFLICT, f"Request {standing.request_id} was withdrawn")
        await self._tell_grant(user_id, outcome, say)

    async def _outlook(self, user_id: int, request_id: int) -> Lease | Standing | None:
        now = await self._timekeeper.now()
        return await self._desk.ask(lambda store: store.outlook(user_id, request_id, now))

    async def _leave(self, user_id: int, asked: Awaitable[Lease | Standing]) -> None:
        outcome = await asked
        if isinstance(outcome, Standing):
            await self._step_out(user_id, outcome.request_id)

    async def _finish(self, work: Coroutine[None, None, None]) -> None:
        """Wait for work that goes on even if this wait is cancelled: a session ends, then its connection."""
        task = asyncio.get_running_loop().create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        await asyncio.shield(task)

    async def _step_out(self, user_id: int, request_id: int) -> None:
        now = await self._timekeeper.now()
        await self._desk.ask(lambda store: store.step_out(user_id, request_id, now))

    async def _tell_grant(self, user_id: int, lease: Lease, say: Say) -> None:
        devices = await self._desk.ask(lambda store: store.devices())
        say(telling.granted(lease, devices, user_id in self._running()), False)

    async def _extend(self, user_id: int, question: Extend, say: Say) -> None:
        now = await self._changing(user_id)
        lease, length = question.lease, question.length
        try:
            moved = await self._desk.ask(lambda store: store.renew(user_id, lease, length, now))
        except PlatformError as error:
            # As late as it may end already; what is idle may end much earlier, and that she can put off.
            if error.code not in (Code.CONFLICT, Code.QUOTA_EXCEEDED):
                raise
            if not await self._hold_off(user_id, now, say) or length is not None:
                raise
            return
        for each, before in moved:
            say(telling.extended(each, before), False)
        await self._hold_off(user_id, now, say)

    async def _hold_off(self, user_id: int, now: datetime, say: Say) -> bool:
        """Keep what she holds from being stopped for a while, when it is idle; whether there was need."""
        kept = await self._desk.ask(lambda store: store.hold_off(user_id, now))
        if kept is not None:
            say(f"{reminders.kept(kept.until)}\n", False)
        return kept is not None

    async def _release(self, user_id: int, question: Release, say: Say) -> Rest:
        now = await self._changing(user_id)
        given, devices = await self._desk.ask(
            lambda store: (store.give_back(user_id, question.lease, now), store.devices())
        )
        shown = user_id in self._running() and any(lease.shown for lease in given.leases)
        # Before they are free: whoever asked from inside ends with her container.
        say(telling.given_back(given.leases, given.requests, devices, shown), False)
        return partial(self._freed, {lease.id for lease in given.leases})

    async def _apply(self, user_id: int, say: Say) -> None:
        now = await self._changing(user_id)
        await self.look_at(user_id)
        await self._desk.ask(lambda store: store.hasten(user_id, now))
        say(telling.RESTARTS, False)

    async def _put_off(self, user_id: int, question: Later, say: Say) -> None:
        now = await self._changing(user_id)
        await self.look_at(user_id)
        restart, before = await self._desk.ask(lambda store: store.put_off(user_id, question.length, now))
        say(telling.put_off(restart, before), False)

    async def _freed(self, leases: set[int]) -> None:
        """Return when these leases' devices are free, or after FREED_WITHIN."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + FREED_WITHIN
        while clock() < deadline:
            held = await self._desk.ask(lambda store: store.held_leases())
            if not leases & {lease.id for lease in held}:
                return
            await asyncio.sleep(LOOK_EVERY)

    async def _changing(self, user_id: int) -> datetime:
        """The time of a change. Raises UNAVAILABLE for one too many."""
        now = await self._timekeeper.now()
        if self._changes.full(user_id, now):
            raise PlatformError(
                Code.UNAVAILABLE, f"You have asked {MOST_CHANGES} times within a minute; ask again later"
            )
        self._changes.failed(user_id, now)
        return now


async def _nothing_to_see(user_id: int) -> None:
    pass


def _sentence(error: PlatformError) -> str:
    advice = _ADVICE.get(error.code) if error.fact != error.message else None
    text = f"{error.fact}; {advice}" if advice else error.fact
    return telling.line(text)
