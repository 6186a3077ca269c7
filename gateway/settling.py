"""Leases end: at their time or by an operator's word, and only then are their devices free.

Owns the order: the lease is ending, the container that shows its devices stops, the devices are free.
Must not know SSH, Docker or SQL, nor how a container is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from gateway import reconcile
from gateway.broker import Broker
from gateway.desk import Desk
from gateway.journal import explain, note
from gateway.leases import Lease, State
from gateway.ports import Backend
from gateway.timekeeper import Timekeeper

SETTLE_WITHIN = 5.0
"""Seconds that one look at the leases waits for containers that stop."""
ACTOR = "gateway"
Clean = Callable[[Lease], Awaitable[bool]]
"""Whether the devices of a lease whose container has stopped may be granted to others."""


async def _believe(lease: Lease) -> bool:
    return True


class Settling:
    """The use cases. Raises PlatformError: UNAVAILABLE when the engine does not obey."""

    def __init__(self, desk: Desk, broker: Broker, backend: Backend, timekeeper: Timekeeper) -> None:
        self._desk = desk
        self._broker = broker
        self._backend = backend
        self._timekeeper = timekeeper
        self._settling: dict[int, asyncio.Task[None]] = {}
        self.clean: Clean = _believe

    async def settle_leases(self) -> None:
        """End leases whose time has come, stop the containers that show their devices, then free these.

        Returns after SETTLE_WITHIN when a container does not stop: that goes on, and keeps nobody else.
        """
        now = await self._timekeeper.now()
        for due in reconcile.expired(await self._held(), now):
            await self._expire(due.lease, now)
        for user_id in {lease.user_id for lease in await self._held() if lease.state is State.GRACE}:
            if user_id not in self._settling:
                self._settling[user_id] = asyncio.create_task(self._settle_reported(user_id))
        if self._settling:
            await asyncio.wait(self._settling.values(), timeout=SETTLE_WITHIN)

    async def settle(self, user_id: int) -> None:
        """The same for one user's leases that somebody has ended, whose devices are free on return."""
        async with self._broker.room(user_id).lock:
            # Read within the lock: who enters meanwhile may have been told of devices that end now.
            mine = [lease for lease in await self._held() if lease.user_id == user_id]
            container = await self._backend.inspect(user_id)
            actions = reconcile.settle(mine, container)
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

    async def _settle_reported(self, user_id: int) -> None:
        try:
            await self.settle(user_id)
        except Exception as error:
            note("work_failed", work="settle", user=user_id, reason=explain(error).message)
        finally:
            del self._settling[user_id]

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
