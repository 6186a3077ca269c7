"""Takes the snapshots that metrics and the health check are answered from.

Owns the rhythm, and what each part is asked. A part that does not answer is left as it was seen last, or
said to be silent. Must not know how anything is exported.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from gateway import boot
from gateway.cgroups import ControlGroups
from gateway.connections import Connections
from gateway.devices import Health, Reading, identified
from gateway.errors import PlatformError
from gateway.historian import Historian
from gateway.history import EVERY
from gateway.journal import explain
from gateway.leases import HOLDING
from gateway.metrics import Metrics, Snapshot
from gateway.nvml import NvmlProbe
from gateway.reception import KINDS
from gateway.wiring import Parts
from gateway.workers import Workers

LOOK_EVERY = 2.0
ENGINE_EVERY = 15.0
GPUS_EVERY = 10.0
TURNS = round(EVERY.total_seconds() / GPUS_EVERY)
"""Every so many readings of the GPUs one is for the history."""


class Sampler:
    """Keeps `metrics.snapshot` fresh for one gateway."""

    def __init__(self, parts: Parts, connections: Connections, workers: Workers, metrics: Metrics) -> None:
        self._parts = parts
        self._connections = connections
        self._workers = workers
        self._metrics = metrics
        self._probe = NvmlProbe()
        self._turn = 0
        self._historian = Historian(
            parts.desk, parts.broker.running, parts.backend.list, ControlGroups(), boot.look
        )
        self._seen = Snapshot(at=time.monotonic(), workers=0)

    async def run(self) -> None:
        """Look again and again until cancelled; what was seen for the history is written then."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_every(ENGINE_EVERY, self._engine))
                group.create_task(_every(GPUS_EVERY, self._gpus))
                group.create_task(_every(LOOK_EVERY, self._look))
        finally:
            with suppress(PlatformError):
                await self._historian.write()

    async def _look(self) -> None:
        authenticated = list(self._connections)
        kinds = Counter(session.kind for each in authenticated for session in each.channels.values())
        seen = replace(
            self._seen,
            workers=self._workers.count_ready(),
            unproven=self._connections.unproven(),
            connections=len(authenticated),
            sessions={kind: kinds[kind] for kind in KINDS},
        )
        try:
            leases = await self._parts.desk.ask(lambda store: store.held_leases())
            devices = await self._parts.desk.ask(lambda store: store.devices())
        except PlatformError as error:
            seen = replace(seen, store_error=error.message)
        else:
            states = Counter(lease.state for lease in leases)
            health = Counter(device.state for device in devices)
            seen = replace(
                seen,
                leases={state.value: states[state] for state in HOLDING},
                health={state.value: health[state] for state in Health},
                flagged=sum(lease.problem is not None for lease in leases),
                holders={device: lease.user for lease in leases for device in lease.devices},
                store_error=None,
            )
        # What the other two saw meanwhile stays.
        self._seen = replace(
            seen, at=time.monotonic(), engine_at=self._seen.engine_at, readings=self._seen.readings
        )
        self._metrics.snapshot = self._seen

    async def _engine(self) -> None:
        try:
            await self._parts.backend.facts()
        except PlatformError:
            return
        self._seen = replace(self._seen, engine_at=time.monotonic())

    async def _gpus(self) -> None:
        readings: list[Reading] = []
        # The overseer's own look at the GPUs logs what is wrong with them.
        with suppress(PlatformError):
            readings = await asyncio.to_thread(self._probe.readings)
        known, manage = self._parts.broker.inventory, self._parts.config.manage
        named = identified(readings, known.values())
        ours = tuple(each for each in named if manage is None or each.id in known or each.id in manage)
        self._seen = replace(self._seen, readings=ours)
        # Read once for both. A driver that hangs then leaves the history without a look, and it tells so.
        if self._turn % TURNS == 0:
            await self._historian.look(ours)
        self._turn += 1


async def _every(seconds: float, look: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await look()
        except Exception as error:
            # Nobody's session may end because it could not be counted.
            explain(error)
        await asyncio.sleep(seconds)
