"""Containers that show other GPUs than their users hold are made anew: at once, or with notice to who is in.

Owns the looks, and what each decision of gateway.restarts takes. Must not know SQL, Docker or SSH. What takes
long, programs that save their work and containers that start, has tasks of its own and keeps nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime

from gateway import notices, restarts
from gateway.broker import Broker
from gateway.desk import Desk
from gateway.devices import Health
from gateway.errors import PlatformError
from gateway.journal import explain, note
from gateway.leases import Lease
from gateway.ports import Backend
from gateway.restarts import Restart, Step
from gateway.rooms import Room
from gateway.settling import Part, part_at_once
from gateway.timekeeper import Timekeeper


class Restarting:
    """The use case. Raises what the store and the engine raise."""

    def __init__(self, desk: Desk, broker: Broker, backend: Backend, timekeeper: Timekeeper) -> None:
        self._desk = desk
        self._broker = broker
        self._backend = backend
        self._timekeeper = timekeeper
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self.part: Part = part_at_once

    async def look(self) -> None:
        """Look at every container that runs, and begin what is to be done."""
        now = await self._timekeeper.now()
        held, told = await self._desk.ask(lambda store: (store.held_leases(), store.restarts()))
        known = {restart.user_id: restart for restart in told}
        for user_id in sorted(self._broker.running() | known.keys()):
            mine = [lease for lease in held if lease.user_id == user_id]
            try:
                await self._look_at(user_id, mine, known.get(user_id), now)
            except PlatformError as error:
                note("work_failed", work="restart", user=user_id, reason=error.message)

    async def look_at(self, user_id: int) -> None:
        """The same for one user alone, who asks. Raises what the engine raises."""
        now = await self._timekeeper.now()
        held, told = await self._desk.ask(lambda store: (store.held_leases(), store.restart_of(user_id)))
        await self._look_at(user_id, [lease for lease in held if lease.user_id == user_id], told, now)

    def close(self) -> None:
        """Leave everything that is under way; the next gateway goes on."""
        for task in self._under_way.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """After `close`: nothing is under way any more that needs the store or the engine."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _look_at(
        self, user_id: int, leases: Sequence[Lease], told: Restart | None, now: datetime
    ) -> None:
        room = self._broker.room(user_id)
        if user_id in self._under_way or room.lock.locked() or room.parting is not None:
            # Her container is being changed, or about to be: what comes of it a later look sees.
            return
        if told is not None:
            # A gateway that has just begun does not know yet what runs.
            await self._broker.listen(user_id)
        found = self._wanted(room, leases)
        devices = found or ()
        occupied = found is not None and await self._occupied(user_id, room)
        known = told if told is not None and told.devices == devices else None
        match restarts.step(differs=found is not None, occupied=occupied, restart=known, now=now):
            case Step.KEEP:
                await self._keep(room, told)
            case Step.TELL:
                await self._tell(room, restarts.first(user_id, devices, told, now), now)
            case Step.WAIT if known is not None:
                room.coming = self._coming(known)
            case Step.RENEW:
                self._begin(user_id, self._broker.renew(user_id))
            case Step.RESTART:
                self._begin(user_id, self._restart(user_id, room, restarts.reason(self._names(devices))))

    def _wanted(self, room: Room, leases: Sequence[Lease]) -> tuple[str, ...] | None:
        """The devices that a container is to show; None when it is to be left as it is, or there is none."""
        if room.link is None:
            return None
        wanted = restarts.wanted(leases, room.gpus)
        if wanted is None or (set(wanted) == set(room.gpus) and not room.barred):
            return None
        # No container starts with a GPU that is lost: what she has is better than that.
        lost = [id_ for id_ in wanted if self._state(id_) is Health.LOST]
        return None if lost else wanted

    def _state(self, device_id: str) -> Health | None:
        device = self._broker.inventory.get(device_id)
        return None if device is None else device.state

    async def _keep(self, room: Room, told: Restart | None) -> None:
        room.coming = None
        if told is not None:
            await self._desk.ask(lambda store: store.forget_restart(told.user_id))

    async def _occupied(self, user_id: int, room: Room) -> bool:
        if room.entering or self._broker.inside(user_id):
            return True
        # In her room: a look into her container by ourselves is no program of hers.
        async with room.lock:
            return await self._backend.processes(user_id) > 0

    async def _tell(self, room: Room, restart: Restart, now: datetime) -> None:
        await self._desk.ask(lambda store: store.announce_restart(restart, now))
        room.coming = self._coming(restart)
        self._broker.announce(restart.user_id, room.coming)
        note("restart_announced", user=restart.user_id, gpus=len(restart.devices))

    async def _restart(self, user_id: int, room: Room, reason: str) -> None:
        """Have programs save their work, end her sessions, and have the next container running."""
        await self.part(user_id, reason)
        held = await self._desk.ask(lambda store: store.held_leases())
        wanted = self._wanted(room, [lease for lease in held if lease.user_id == user_id])
        if wanted is None:
            # Meanwhile somebody else has ended it, or she gave the new GPUs back.
            return
        await self._broker.end(user_id, reason)
        await self._desk.ask(lambda store: store.forget_restart(user_id))
        await self._broker.renew(user_id)
        note("restarted", user=user_id)

    def _begin(self, user_id: int, work: Coroutine[None, None, None]) -> None:
        self._under_way[user_id] = asyncio.create_task(self._reported(user_id, work))

    async def _reported(self, user_id: int, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:
            note("work_failed", work="restart", user=user_id, reason=explain(error).message)
        finally:
            del self._under_way[user_id]

    def _coming(self, restart: Restart) -> str:
        return restarts.coming(restart, self._names(restart.devices))

    def _names(self, devices: Sequence[str]) -> str:
        return notices.names(self._broker.inventory, devices)
