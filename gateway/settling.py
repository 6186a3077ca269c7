"""Leases end: at their time or by an operator's word, and only then are their devices free.

Owns the order: the lease is over, the programs in the container that shows its devices save their work, it
stops, the devices are free.
Must not know SSH, Docker or SQL, nor how a container is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from gateway import reconcile
from gateway.broker import Broker
from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.journal import explain, note
from gateway.leases import Lease, State
from gateway.ports import Backend
from gateway.timekeeper import Timekeeper

SETTLE_WITHIN = 5.0
"""Seconds that one look at the leases waits for containers that stop."""
ACTOR = "gateway"
Clean = Callable[[Lease], Awaitable[bool]]
"""Whether the devices of a lease whose container has stopped may be granted to others."""


Part = Callable[[int, str], Awaitable[None]]
"""Lets a user's programs save their work, told why, before her container stops; it may take minutes."""


async def _believe(lease: Lease) -> bool:
    return True


async def part_at_once(user_id: int, reason: str) -> None:
    """Give them no time."""


class Settling:
    """The use cases. Raises PlatformError: UNAVAILABLE when the engine does not obey."""

    def __init__(self, desk: Desk, broker: Broker, backend: Backend, timekeeper: Timekeeper) -> None:
        self._desk = desk
        self._broker = broker
        self._backend = backend
        self._timekeeper = timekeeper
        self._settling: dict[int, asyncio.Task[PlatformError | None]] = {}
        self.clean: Clean = _believe
        self.part: Part = part_at_once

    async def settle_leases(self) -> None:
        """End leases whose time has come, stop the containers that show their devices, then free these.

        Returns after SETTLE_WITHIN when a container does not stop, or programs save their work: that goes on,
        and keeps nobody else.
        """
        now = await self._timekeeper.now()
        for due in reconcile.expired(await self._held(), now):
            await self._expire(due.lease, now)
        ending = {lease.user_id for lease in await self._held() if lease.state is State.GRACE}
        begun = [self._begin(user_id) for user_id in ending if user_id not in self._settling]
        if begun:
            await asyncio.wait(begun, timeout=SETTLE_WITHIN)

    async def settle_soon(self, user_id: int) -> None:
        """The same for one user's leases that somebody has ended.

        Raises UNAVAILABLE after SETTLE_WITHIN while her programs save their work, or her container does not
        stop: that goes on.
        """
        task = self._settling.get(user_id) or self._begin(user_id)
        await asyncio.wait([task], timeout=SETTLE_WITHIN)
        if not task.done():
            raise PlatformError(
                Code.UNAVAILABLE,
                "Her programs save their work, or her container does not stop; it goes on, and her GPUs are "
                "free after it",
                "not to wait for programs: gpuadmin release --now",
            )
        error = task.result()
        if error is not None:
            raise error

    async def settle(self, user_id: int, *, at_once: bool = False) -> None:
        """The same for one user's leases that somebody has ended, whose devices are free on return.

        `at_once`: her programs are not asked to save their work.
        """
        if not at_once:
            await self._let_save(user_id)
        async with self._broker.room(user_id).lock:
            # Read within the lock: who enters meanwhile may have been told of devices that end now.
            mine = await self._hers(user_id)
            actions = reconcile.settle(mine, await self._backend.inspect(user_id))
            for action in actions:
                if isinstance(action, reconcile.Stop):
                    await self._broker.stop(user_id, action.reason)
                    actions = reconcile.settle(mine, await self._backend.inspect(user_id))
            for action in actions:
                if isinstance(action, reconcile.Release) and await self.clean(action.lease):
                    await self._release(action.lease)

    def close(self) -> None:
        """Wait for no container any more; the next gateway goes on."""
        for task in self._settling.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """After `close`: nothing is under way any more that needs the store or the engine."""
        await asyncio.gather(*self._settling.values(), return_exceptions=True)

    def _begin(self, user_id: int) -> asyncio.Task[PlatformError | None]:
        task = self._settling[user_id] = asyncio.create_task(self._settle_reported(user_id))
        return task

    async def _settle_reported(self, user_id: int) -> PlatformError | None:
        try:
            await self.settle(user_id)
        except Exception as error:
            known = explain(error)
            note("work_failed", work="settle", user=user_id, reason=known.message)
            return known
        finally:
            del self._settling[user_id]
        return None

    async def _let_save(self, user_id: int) -> None:
        """Without the lock of her room: she may come in meanwhile."""
        container = await self._backend.inspect(user_id)
        for action in reconcile.settle(await self._hers(user_id), container):
            if isinstance(action, reconcile.Stop):
                await self.part(user_id, action.reason)

    async def _hers(self, user_id: int) -> list[Lease]:
        return [lease for lease in await self._held() if lease.user_id == user_id]

    async def _held(self) -> list[Lease]:
        return await self._desk.ask(lambda store: store.held_leases())

    async def _expire(self, lease: Lease, now: datetime) -> None:
        reason = f"Your lease {lease.id} ended at its time."
        await self._desk.ask(lambda store: store.expire(lease.id, reason, ACTOR, now))
        note("lease_expired", lease=lease.id, user=lease.user_id)

    async def _release(self, lease: Lease) -> None:
        now = await self._timekeeper.now()
        await self._desk.ask(lambda store: store.released(lease.id, ACTOR, now))
        note("lease_released", lease=lease.id, user=lease.user_id)
