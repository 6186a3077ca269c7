"""Keeps the history: looks every 30 seconds, and writes every five minutes what it saw.

Owns the looks that are not written yet. The GPUs' readings are the sampler's. Must not know how sums are made
(gateway.history), how containers are found (gateway.gauges), nor SQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta

from gateway.cgroups import ControlGroups
from gateway.clock import Clock
from gateway.desk import Desk
from gateway.devices import Reading
from gateway.gauges import Gauges
from gateway.history import KEPT, SPAN, ContainerLook, GpuLook, Look, window
from gateway.workspaces import Container


class Historian:
    """The history of one machine. `running` are the users whose containers are believed to run."""

    def __init__(
        self,
        desk: Desk,
        running: Callable[[], Collection[int]],
        containers: Callable[[], Awaitable[Sequence[Container]]],
        groups: ControlGroups,
        clock: Callable[[], Clock],
    ) -> None:
        self._desk = desk
        self._gauges = Gauges(running, containers, groups)
        self._clock = clock
        self._cpu: dict[str, int] = {}
        self._looks: list[Look] = []
        self._began: Clock | None = None

    async def look(self, readings: Sequence[Reading]) -> None:
        """Look once; write first when a window is full. Raises what the store and the engine raise."""
        clock = self._clock()
        if self._began is not None and clock.uptime - self._began.uptime >= SPAN:
            await self.write()
        if self._began is None:
            self._began = clock
        self._looks.append(Look(await self._gpus(readings), await self._consumption()))

    async def write(self) -> None:
        """Write what was seen since the last time, in one transaction. What cannot be written is given up:
        a store that does not answer must not fill the memory."""
        began, looks = self._began, self._looks
        self._began, self._looks = None, []
        if began is not None and looks:
            lasted: timedelta = self._clock().uptime - began.uptime
            seen = window(began.now, lasted, looks)
            await self._desk.ask(lambda store: store.keep_history(seen, KEPT))

    async def _gpus(self, readings: Sequence[Reading]) -> tuple[GpuLook, ...]:
        leases = await self._desk.ask(lambda store: store.held_leases())
        holders = {device: lease.id for lease in leases for device in lease.devices}
        return tuple(GpuLook(each.id, holders.get(each.id), each.utilization, each.used) for each in readings)

    async def _consumption(self) -> tuple[ContainerLook, ...]:
        read = await self._gauges.read()
        # What it took before it was first seen is nobody's to say: it may be days.
        before, self._cpu = self._cpu, {id_: each.cpu for id_, (_, each) in read.items()}
        return tuple(
            ContainerLook(user_id, max(0, each.cpu - before.get(id_, each.cpu)), each.memory)
            for id_, (user_id, each) in read.items()
        )
