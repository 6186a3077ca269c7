"""Leases move away from GPUs that fail, and their holders are told.

Owns the order: what is recorded first, then the telling. Which GPU takes whose place is gateway.losses's.
Must not know SQL, NVML or how a notice reaches anybody.
"""

from __future__ import annotations

from gateway import losses
from gateway.broker import Broker
from gateway.desk import Desk
from gateway.journal import note
from gateway.timekeeper import Timekeeper


class Replacing:
    """The use case. Raises what the store raises."""

    def __init__(self, desk: Desk, broker: Broker, timekeeper: Timekeeper) -> None:
        self._desk = desk
        self._broker = broker
        self._timekeeper = timekeeper

    async def replace_lost(self) -> None:
        """Give live leases other GPUs of the same kind for those that fail, while there are any.

        The new set applies as every other does; see gateway.restarts.
        """
        now = await self._timekeeper.now()
        for change in await self._desk.ask(lambda store: store.replace_lost(now)):
            self._broker.announce(change.user_id, losses.notice(change))
            note(
                "gpu_replaced",
                lease=change.lease_id,
                user=change.user_id,
                gpu=change.lost.id,
                by=None if change.by is None else change.by.id,
                back=change.back,
            )
