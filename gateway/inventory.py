"""The inventory of GPUs, kept as they are: who is there, how it does, and what uses what nobody holds.

Owns the look. What follows from it is gateway.health's to say and the store's to keep. Must not know SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway import boot, health, procfs
from gateway.devices import Device, Occupation, managed
from gateway.errors import PlatformError
from gateway.journal import note
from gateway.nvml import Look, NvmlProbe
from gateway.occupants import Crowd
from gateway.wiring import Parts, now


class Inventory:
    """The looks at the GPUs of one machine. Each may be repeated at any time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._desk = parts.desk
        self._probe = NvmlProbe()

    async def look_at_gpus(self) -> None:
        """Bring the inventory up to date. Raises UNAVAILABLE when the driver fails, and all GPUs are lost."""
        held = await self._held()
        try:
            seen, occupations, asked = await asyncio.to_thread(self._ask)
        except PlatformError as error:
            # What to do about it stands in the log and in doctor; here there is room for what it is.
            reason = error.message.partition(";")[0].partition(":")[0]
            _tell(await self._desk.ask(lambda store: store.lose_devices(reason, now())))
            raise
        crowd = await self._crowd(occupations, asked)
        describe = None if crowd is None else crowd.describe
        free = [each for each in occupations if each.id not in held]
        told = replace(
            seen.told,
            use={each.id: health.dirty(each, describe) for each in free},
            unmanaged={} if crowd is None else {each.id: crowd.unmanaged(each) for each in occupations},
        )
        ours = managed(seen.devices, self._parts.config.manage)
        _tell(await self._desk.ask(lambda store: store.sync_devices(ours, now(), told)))
        self._parts.broker.inventory = {device.id: device for device in ours}

    def _ask(self) -> tuple[Look, list[Occupation], float]:
        seen = self._probe.look(boot.look().boot)
        occupations = self._probe.occupations()
        return seen, occupations, procfs.boot_time()

    async def _held(self) -> set[str]:
        leases = await self._desk.ask(lambda store: store.held_leases())
        return {device for lease in leases for device in lease.devices}

    async def _crowd(self, occupations: Sequence[Occupation], asked: float) -> Crowd | None:
        """Who the processes are; None when the engine does not say whose containers are whose."""
        pids = [process.pid for each in occupations for process in each.processes]
        if not pids:
            return Crowd({}, {})
        programs = await asyncio.to_thread(procfs.programs, pids, asked)
        try:
            containers = await self._parts.backend.list()
        except PlatformError:
            return None
        names = {user.id: user.name for user in await self._desk.ask(lambda store: store.users())}
        users = {each.container_id: names.get(each.workspace_id, "a removed user") for each in containers}
        return Crowd(programs, users)


def _tell(changed: Iterable[Device]) -> None:
    for device in changed:
        note("gpu_state", gpu=device.id, state=device.state.value, reason=device.reason)
