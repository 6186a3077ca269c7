"""Looks at workspaces: who is there, what her programs take, and what her GPUs do.

Owns how one look is put together, and what was read at the look before. Must not know what follows from it
(gateway.idleness), nor how containers are found (gateway.gauges).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.cgroups import Consumption, ControlGroups
from gateway.devices import identified
from gateway.errors import PlatformError
from gateway.gauges import Gauges
from gateway.leases import Lease
from gateway.nvml import NvmlProbe
from gateway.signs import GpuSign, Look, signs
from gateway.wiring import Parts


class Watching:
    """The looks of one gateway. `active` says who did something over a connection since it said so last."""

    def __init__(self, parts: Parts, active: Callable[[], set[int]]) -> None:
        self._broker = parts.broker
        self._probe = NvmlProbe()
        self._gauges = Gauges(parts.broker.running, parts.backend.list, ControlGroups())
        self._active = active
        self._before: dict[str, tuple[float, Consumption]] = {}

    async def look(self, leases: Sequence[Lease]) -> dict[int, Look]:
        """A look at each workspace that runs, or that holds one of these leases, by its user.

        A GPU or a container that cannot be read is in it as one that tells nothing. Raises UNAVAILABLE when
        the engine does not say what runs.
        """
        use = await self._gpus() if leases else {}
        rates = await self._rates()
        # Last: what cannot be looked at now keeps that somebody was there for the next look.
        active, running = self._active(), self._gauges.running
        holding = {lease.user_id for lease in leases}
        return {
            user_id: Look(
                user_id in active,
                user_id in running,
                *rates.get(user_id, (None, None) if user_id in running else (0.0, 0.0)),
                tuple(
                    use.get(id_, GpuSign(id_))
                    for lease in leases
                    for id_ in lease.devices
                    if lease.user_id == user_id
                ),
            )
            for user_id in running | holding
        }

    async def _gpus(self) -> dict[str, GpuSign]:
        try:
            return await asyncio.to_thread(self._ask)
        except PlatformError:
            # The overseer's own look at the GPUs logs why.
            return {}

    def _ask(self) -> dict[str, GpuSign]:
        known = list(self._broker.inventory.values())
        return signs(identified(self._probe.readings(), known), identified(self._probe.occupations(), known))

    async def _rates(self) -> dict[int, tuple[float | None, float | None]]:
        """Cores, and bytes a second, by user; nothing of a container that is seen for the first time."""
        read = await self._gauges.read()
        now = time.monotonic()
        before, self._before = self._before, {id_: (now, each) for id_, (_, each) in read.items()}
        return {
            user_id: _rate(each, before[id_][1], now - before[id_][0])
            for id_, (user_id, each) in read.items()
            if id_ in before
        }


def _rate(now: Consumption, before: Consumption, seconds: float) -> tuple[float | None, float | None]:
    cpu = max(0, now.cpu - before.cpu) / 1e6 / seconds
    moved = None if now.io is None or before.io is None else max(0, now.io - before.io) / seconds
    return cpu, moved
