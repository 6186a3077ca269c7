"""GPUs are clean before they are granted again: nothing uses them, and their memory is empty.

Owns how long a GPU may stay dirty after its lease, and what happens then. Must not know NVML or SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from gateway import health
from gateway.desk import Desk
from gateway.devices import Occupation, identified
from gateway.errors import PlatformError
from gateway.journal import note
from gateway.leases import Lease
from gateway.ports import Now
from gateway.store import BrokerStore

Occupations = Callable[[], Sequence[Occupation]]

LINGER = 60.0
"""Seconds that a GPU may stay dirty before it is taken out of use: a driver frees much memory slowly."""


class Hygiene:
    """Looks with `occupations`, which blocks and raises UNAVAILABLE; `clock` is monotonic, in seconds."""

    def __init__(self, desk: Desk, occupations: Occupations, now: Now, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._occupations = occupations
        self._now = now
        self._clock = clock
        self._since: dict[int, float] = {}

    async def clean(self, lease: Lease) -> bool:
        """Whether a lease whose container has stopped may let its devices go.

        One that is dirty keeps them, with a problem for the operator to see, for LINGER; then a device that
        is still dirty is quarantined, and the lease may go. A driver that does not answer keeps nobody: its
        GPUs are lost, and granted to nobody.
        """
        found = await self._dirty(lease.devices)
        now = self._now()
        if not found:
            self._since.pop(lease.id, None)
            return True
        since = self._since.setdefault(lease.id, self._clock())
        if self._clock() - since < LINGER:
            problem = "; ".join(f"{device}: {reason}" for device, reason in found.items())
            await self._desk.ask(lambda store: store.flag_lease(lease.id, problem, now))
            return False
        await self._desk.ask(lambda store: _quarantine(store, found, now))
        for device, reason in found.items():
            note("gpu_dirty", gpu=device, lease=lease.id, user=lease.user_id, reason=reason)
        del self._since[lease.id]
        return True

    async def _dirty(self, devices: Sequence[str]) -> dict[str, str]:
        try:
            seen = await asyncio.to_thread(self._occupations)
        except PlatformError:
            return {}
        known = await self._desk.ask(lambda store: store.devices())
        ours = [each for each in identified(seen, known) if each.id in devices]
        reasons = {each.id: health.dirty(each) for each in ours}
        return {id_: reason for id_, reason in reasons.items() if reason is not None}


def _quarantine(store: BrokerStore, found: Mapping[str, str], now: datetime) -> None:
    for device, reason in found.items():
        store.quarantine_busy(device, reason, now)
