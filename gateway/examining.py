"""GPUs that a running container cannot reach any more: noticed and told.

Owns the rhythm's work and the words. Nothing cures such a container but another one: when it is made is
gateway.restarts's. Must not know how a container is asked.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from gateway.broker import Broker
from gateway.desk import Desk
from gateway.journal import note
from gateway.leases import Lease
from gateway.ports import Backend, Now
from gateway.store import BrokerStore

PROBLEM = "programs in its container cannot open its GPUs any more"
NOTICE = (
    "Your programs cannot open your GPUs any more (Failed to initialize NVML): save your work, a new "
    "container has them back."
)


class Examining:
    """The use case. Raises what the store and the engine raise."""

    def __init__(self, desk: Desk, broker: Broker, backend: Backend, now: Now) -> None:
        self._desk = desk
        self._broker = broker
        self._backend = backend
        self._now = now

    async def examine(self) -> None:
        """Look into each running container that shows GPUs, one after the other."""
        leases = [lease for lease in await self._desk.ask(lambda store: store.held_leases()) if lease.live]
        for user_id in sorted({lease.user_id for lease in leases} & self._broker.running()):
            room = self._broker.room(user_id)
            # In her room: the look must not be taken for a program of hers that keeps her container.
            async with room.lock:
                if room.barred or await self._backend.reaches(user_id):
                    continue
                room.barred, room.made_from = True, None
            await self._tell(user_id, [each for each in leases if each.user_id == user_id and each.shown])

    async def _tell(self, user_id: int, leases: list[Lease]) -> None:
        now = self._now()
        for lease in leases:
            await self._desk.ask(partial(_flag, lease.id, now))
        self._broker.announce(user_id, NOTICE)
        note("gpus_barred", user=user_id)


def _flag(lease_id: int, now: datetime, store: BrokerStore) -> None:
    store.flag_lease(lease_id, PROBLEM, now)
