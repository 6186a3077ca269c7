"""Leases begin, and their ends are told: the queue is served, and holders learn what concerns them.

Owns when that is done and who is told. Must not choose who is next, nor how a notice reaches anybody.
"""

from __future__ import annotations

from datetime import datetime

from gateway import notices
from gateway.broker import Broker
from gateway.desk import Desk
from gateway.journal import note
from gateway.leases import Lease
from gateway.timekeeper import Timekeeper


class Granting:
    """The use case. Raises what the store raises."""

    def __init__(self, desk: Desk, broker: Broker, timekeeper: Timekeeper) -> None:
        self._desk = desk
        self._broker = broker
        self._timekeeper = timekeeper

    async def attend(self) -> None:
        """Grant what is free to who waits, and tell everybody whose lease begins, or ends before long."""
        now = await self._timekeeper.now()
        for lease in (await self._desk.ask(lambda store: store.serve(now))).granted:
            note("lease_granted", lease=lease.id, user=lease.user_id, gpus=len(lease.devices))
        # Not what was served just now alone: gpuadmin serves the queue as well, and cannot tell anybody.
        for lease in await self._desk.ask(lambda store: store.held_leases()):
            names = notices.names(self._broker.inventory, lease.devices)
            news = notices.news(lease, names, now)
            if news is not None:
                await self._tell(lease, news, now)

    async def _tell(self, lease: Lease, news: notices.News, now: datetime) -> None:
        await self._desk.ask(lambda store: store.told(lease.id, news.of_end, now))
        self._broker.announce(lease.user_id, news.text)
        note("lease_told", lease=lease.id, user=lease.user_id, of_end=news.of_end)
