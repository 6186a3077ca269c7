"""The inventory of GPUs, kept as they are: who is there, how it does, and what uses what nobody holds.

Owns the look. What follows from it is gateway.health's to say and the store's to keep. Must not know SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway import boot, health, procfs
from gateway.devices import Device, Occupation, identified, managed
from gateway.errors import PlatformError
from gateway.journal import note
from gateway.nvml import Look, NvmlProbe
from gateway.occupants import Crowd
from gateway.wiring import Parts, now
from gateway.workspaces import Container

_SHOWN = "its last holder's container still shows it"


class Inventory:
    """The looks at the GPUs of one machine. Each may be repeated at any time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._desk = parts.desk
        self._probe = NvmlProbe()
        self._failure: str | None = None

    async def look_at_gpus(self) -> None:
        """Bring the inventory up to date; when the driver fails all GPUs are lost.

        Raises UNAVAILABLE then, once for each reason.
        """
        held = await self._held()
        try:
            seen, occupations, asked = await asyncio.to_thread(self._ask)
        except PlatformError as error:
            # What to do about it stands in the log and in doctor; here there is room for what it is.
            reason = error.message.partition(";")[0].partition(":")[0]
            _tell(await self._desk.ask(lambda store: store.lose_devices(reason, now())))
            if reason == self._failure:
                return
            self._failure = reason
            raise
        self._failure = None
        left = await self._desk.ask(lambda store: store.leftovers())
        containers = await self._containers() if left or _pids(occupations) else ()
        crowd = None if containers is None else await self._crowd(occupations, containers, asked)
        describe = None if crowd is None else crowd.describe
        shown = {gpu for each in containers or () if each.running for gpu in each.gpus}
        use = {each.id: health.dirty(each, describe) for each in occupations if each.id not in held}
        for id_ in left:
            # Where the engine does not say, the store believes that it is shown.
            if containers is None:
                use.pop(id_, None)
            elif use.get(id_) is None:
                use[id_] = _SHOWN if id_ in shown else None
        told = replace(
            seen.told,
            use=use,
            unmanaged={} if crowd is None else {each.id: crowd.unmanaged(each) for each in occupations},
        )
        ours = managed(seen.devices, self._parts.config.manage)
        _tell(await self._desk.ask(lambda store: store.sync_devices(ours, now(), told)))
        self._parts.broker.inventory = {device.id: device for device in ours}

    def _ask(self) -> tuple[Look, list[Occupation], float]:
        seen = self._probe.look(boot.look().boot)
        occupations = identified(self._probe.occupations(), seen.devices)
        return seen, occupations, procfs.boot_time()

    async def _held(self) -> set[str]:
        leases = await self._desk.ask(lambda store: store.held_leases())
        return {device for lease in leases for device in lease.devices}

    async def _containers(self) -> Sequence[Container] | None:
        """Our containers; None when the engine does not say."""
        try:
            return await self._parts.backend.list()
        except PlatformError:
            return None

    async def _crowd(
        self, occupations: Sequence[Occupation], containers: Sequence[Container], asked: float
    ) -> Crowd:
        """Who the processes on these GPUs are."""
        programs = await asyncio.to_thread(procfs.programs, _pids(occupations), asked)
        names = {user.id: user.name for user in await self._desk.ask(lambda store: store.users())}
        users = {each.container_id: names.get(each.workspace_id, "a removed user") for each in containers}
        return Crowd(programs, users)


def _pids(occupations: Sequence[Occupation]) -> list[int]:
    return [process.pid for each in occupations for process in each.processes]


def _tell(changed: Iterable[Device]) -> None:
    for device in changed:
        note("gpu_state", gpu=device.id, state=device.state.value, reason=device.reason)
